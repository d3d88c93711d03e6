"""Label architectures: train and measure them.

Each architecture is evaluated once for each seed, in parallel processes, or on a cluster: executor=ray, executor=slurm.
The latency is measured afterwards on this machine, in a phase of its own with nothing else running. If the job is
killed, the same command continues it; no row is lost or repeated.

Examples:
    autobuild label n=20
    autobuild label n=400 seeds=2 n_jobs=2 out=my_labels
    autobuild label archs=to_train/sample.csv latency=false
    autobuild label space=quant:digits_dit n=50 design=guided by=avg_bits by_least=3.4
    autobuild label space=my_space.yaml n=100 evaluator='command:python train.py' executor=slurm n_jobs=50 time_limit_s=7200

Writes:
    labels.csv  arch and the metrics, one row an architecture: what labels= takes
    trained.csv  arch, seed and the metrics of every single training, written as soon as it ends
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autobuild.jobs._console import heading, say, table
from autobuild.jobs._files import input_files
from autobuild.jobs.keys import DesignKeys, ExecutorKeys, RunKeys, SeedKeys
from autobuild.settings.option import option

if TYPE_CHECKING:
    import pandas as pd

    from autobuild.spaces import Architecture, SearchSpace


@dataclass
class Keys(RunKeys, SeedKeys, ExecutorKeys, DesignKeys):
    """Its keys."""

    space: str = option("tiny_mbconv", "the space of the architectures", kind="name")
    archs: str | None = option(
        None,
        "architectures: a table with a column arch, a text file with one a line, or one architecture (null: draw n)",
        kind="path",
    )
    n: int | None = option(None, "how many are drawn (null: 20), or the first n of archs (null: all)", ">=1")
    latency: bool | None = option(None, "measure the latency after training (null: with evaluator=train)")


def run(config: Mapping[str, Any]) -> int:
    """Choose the architectures, train each with each seed, measure latencies, write the labels."""
    import autobuild as ab
    from autobuild.evaluate import seeds_of
    from autobuild.jobs import _evaluation as evaluation
    from autobuild.jobs._measuring import train
    from autobuild.jobs.run import Run, use_threads

    space = ab.space(config["space"])
    with Run.open("label", config, input_files(config)) as folder:
        if not folder.finished:
            use_threads(config["threads"])
            archs, seeds = _chosen(config, space), seeds_of(evaluation.seeds_of(config))
            space_trains = (
                config["evaluator"] == "train"
            )  # with the space's own training, which also allows to measure latency
            latency = config["latency"] if config["latency"] is not None else space_trains
            evaluator = None if space_trains else evaluation.evaluator_of(config, space)
            settings = evaluation.executor_settings(config)
            trained = train(folder, space, archs, seeds, settings, latency=latency, evaluator=evaluator)
            frame = means(trained)
            folder.write_frame("labels.csv", frame)
            folder.record(n=len(frame), trainings=len(trained), spread=spread(frame))
        frame = folder.read_frame("labels.csv")
        heading(f"{len(frame):,} labelled architectures of {space.name}")
        table(frame.sort_values("acc", ascending=False) if "acc" in frame else frame)
        say(f"\n{folder.dir / 'labels.csv'}")
    return 0


def _chosen(config: Mapping[str, Any], space: SearchSpace) -> list[Architecture]:
    """The architectures of ``archs``, or newly drawn ones; distinct networks, the first ``n``."""
    from autobuild.jobs._archs import check_design, drawn_archs, read_archs

    if config["archs"] is not None:
        check_design(config)
        _, archs = read_archs(config["archs"], space)
        distinct: dict[str, Architecture] = {}
        for arch in archs:
            distinct.setdefault(space.key(arch), arch)
        return list(distinct.values())[: config["n"]]
    return drawn_archs(config, space, config["n"] or _DRAWN)


_DRAWN = 20


def means(trained: pd.DataFrame) -> pd.DataFrame:
    """One row an architecture, in order: the mean of every metric over the seeds."""
    return trained.drop(columns="seed").groupby("arch", sort=False).mean().reset_index()


def spread(frame: pd.DataFrame) -> dict[str, dict[str, float]]:
    """5th percentile, median and 95th percentile of every metric."""
    numbers = frame.drop(columns="arch").quantile([0.05, 0.5, 0.95])
    return {str(name): dict(zip(("p05", "median", "p95"), numbers[name], strict=True)) for name in numbers}
