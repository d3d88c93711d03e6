"""Executors by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError, nearest
from autobuild.evaluate.executors.inline import InlineExecutor
from autobuild.evaluate.executors.local import LocalExecutor
from autobuild.evaluate.executors.protocol import Executor
from autobuild.evaluate.executors.unguarded import end_if_importing

if TYPE_CHECKING:
    from autobuild.evaluate.protocol import Evaluator
    from autobuild.spaces import SearchSpace

EXECUTORS = ("inline", "local", "ray", "slurm")
_SLURM = ("cluster", "folder", "minutes", "cpus", "gpus", "memory_gb", "partition", "account", "qos", "constraint")
_OPTIONS = {"ray": ("address", "cpus", "gpus"), "slurm": (*_SLURM, "extra", "setup")}


def make_executor(
    name: str,
    space: SearchSpace,
    evaluator: Evaluator,
    *,
    n_jobs: int = 1,
    time_limit_s: float | None = None,
    reports: bool = True,
    options: Mapping[str, Any] | None = None,
) -> Executor:
    """The executor called ``name``; close it, or use it in a ``with`` block.

    Args:
        name: ``inline`` (this process, one evaluation at a time; ``n_jobs`` counts for nothing), ``local``
            (processes of this machine), ``ray`` (a Ray cluster; extra ``ray``) or ``slurm`` (a Slurm cluster; extra
            ``slurm``).
        space: Where the architectures belong.
        evaluator: What evaluates them; for all but ``inline`` it must pickle.
        n_jobs: How many evaluations run at the same time.
        time_limit_s: An evaluation that runs longer is ended, and has failed. None: no limit.
        reports: Whether intermediate values are asked for; without, evaluators need not take the trouble.
        options: Further settings of the executor: see :class:`~autobuild.evaluate.executors.on_ray.RayExecutor` and
            :class:`~autobuild.evaluate.executors.on_slurm.SlurmExecutor`.

    Raises:
        ConfigError: An unknown name, an option that the executor does not have, fewer than one job, a time limit
            that is not above 0 or that ``inline`` cannot hold, or an evaluator that cannot be sent to other processes.
    """
    end_if_importing()
    if name not in EXECUTORS:
        raise ConfigError(f"executor={name}: unknown executor {nearest(name, EXECUTORS)}")
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int) or n_jobs < 1:
        raise ConfigError(f"n_jobs={n_jobs!r}: a whole number of at least 1 is accepted")
    if time_limit_s is not None and not time_limit_s > 0:
        raise ConfigError(f"time_limit_s={time_limit_s}: give seconds above 0, or none")
    for given in options or {}:
        if given not in _OPTIONS.get(name, ()):
            raise ConfigError(f"executor={name} has no option {given!r} {nearest(given, _OPTIONS.get(name, ()))}")
    if name == "inline":
        if time_limit_s is not None:
            raise ConfigError(
                "time_limit_s: executor=inline cannot end an evaluation of this process; "
                "use executor=local (n_jobs=1 for one at a time)"
            )
        return InlineExecutor(space, evaluator, reports=reports)
    how: dict[str, Any] = {"workers": n_jobs, "time_limit_s": time_limit_s, "reports": reports, **(options or {})}
    if name == "ray":
        from autobuild.evaluate.executors.on_ray import RayExecutor

        return RayExecutor(space, evaluator, **how)
    if name == "slurm":
        from autobuild.evaluate.executors.on_slurm import SlurmExecutor

        return SlurmExecutor(space, evaluator, **how)
    return LocalExecutor(space, evaluator, **how)
