"""Executors of evaluations by name, and the options of each."""

from __future__ import annotations

from dataclasses import dataclass

from autobuild.settings.option import option

CLUSTERS = ("slurm", "local")


@dataclass(frozen=True)
class Ray:
    """Options of a Ray cluster."""

    address: str | None = option(
        None,
        "auto (the cluster that runs here, or that RAY_ADDRESS names), host:port or ray://host:port (null: one is "
        "started on this machine, and ends with the job)",
    )
    cpus: float = option(1, "processors that one evaluation occupies", ">=0")
    gpus: float = option(0, "GPUs that one evaluation occupies; 0.5 puts two on one", ">=0")


@dataclass(frozen=True)
class Slurm:
    """Options of a Slurm cluster."""

    cluster: str = option("slurm", "local tries it with processes of this machine", choices=CLUSTERS)
    folder: str = option("slurm_jobs", "where the jobs' files lie; they must see it under the same path", kind="path")
    minutes: int = option(240, "Slurm's own limit for a job", ">=1")
    cpus: int = option(1, "processors of a job", ">=1")
    gpus: int = option(0, "GPUs of a job", ">=0")
    memory_gb: float | None = option(None, "memory of a job (null: the partition's default)", ">0")
    partition: str | None = option(None, "as of sbatch")
    account: str | None = option(None, "as of sbatch")
    qos: str | None = option(None, "as of sbatch")
    constraint: str | None = option(None, "as of sbatch")
    extra: str | None = option(
        None, "further options of sbatch, key=value separated by commas, e.g. 'exclude=node7,nice=100'"
    )
    setup: str | None = option(None, "a shell line that jobs run first, e.g. 'module load cuda'")


# Name -> one line of help, options, of those that ship.
SHIPPED: dict[str, tuple[str, type | None]] = {
    "local": ("processes of this machine, started when they are first needed", None),
    "inline": ("this process, one evaluation at a time, whatever n_jobs= says; for trying things out", None),
    "ray": ("a Ray cluster (extra `ray`): each evaluation is a task", Ray),
    "slurm": ("a Slurm cluster, through submitit (extra `slurm`): each evaluation is a job", Slurm),
}
