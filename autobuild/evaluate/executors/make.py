"""Executors by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from autobuild.errors import ConfigError
from autobuild.evaluate.executors.executor import Executor
from autobuild.evaluate.executors.unguarded import end_if_importing
from autobuild.registry import EXECUTORS

if TYPE_CHECKING:
    from autobuild.evaluate.evaluator import Evaluator
    from autobuild.spaces import SearchSpace

Made = TypeVar("Made", bound=Callable[..., Executor])


def register_executor(name: str) -> Callable[[Made], Made]:
    """Decorator that registers an executor, for ``executor=name`` wherever evaluations run.

    It decorates a class with the protocol :class:`~autobuild.evaluate.executors.executor.Executor`, such as a subclass
    of :class:`~autobuild.evaluate.executors.queued.QueuedExecutor`, or a function that returns one. It is called with
    ``space``, ``evaluator``, and those of ``workers`` (how many evaluations at the same time), ``time_limit_s`` (or
    None) and ``reports`` that its signature names; its other arguments are its options and have defaults. A package
    declares its executor as an entry point of the group ``autobuild.executors``.

    Args:
        name: Its name, as for :meth:`autobuild.registry.Registry.register`, which says what errors there are.

    Returns:
        The decorator.
    """
    return EXECUTORS.register(name)


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
            ``slurm``), or a registered one.
        space: Where the architectures belong.
        evaluator: What evaluates them; for all but ``inline`` it must pickle.
        n_jobs: How many evaluations run at the same time.
        time_limit_s: An evaluation that runs longer is ended, and has failed. None: no limit.
        reports: Whether intermediate values are asked for; without, evaluators need not take the trouble.
        options: Further settings of the executor, see its class, such as
            :class:`~autobuild.evaluate.executors.slurm_executor.SlurmExecutor`.

    Raises:
        ConfigError: An unknown name, an option that the executor does not have, fewer than one job, a time limit
            that is not above 0 or that ``inline`` cannot hold, or an evaluator that cannot be sent to other processes.
    """
    end_if_importing()
    EXECUTORS.check(name)
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int) or n_jobs < 1:
        raise ConfigError(f"n_jobs={n_jobs!r}: a whole number of at least 1 is accepted")
    if time_limit_s is not None and not time_limit_s > 0:
        raise ConfigError(f"time_limit_s={time_limit_s}: give seconds above 0, or none")
    if time_limit_s is not None and "time_limit_s" not in EXECUTORS.parameters(name):
        raise ConfigError(
            f"time_limit_s: executor={name} cannot end an evaluation of this process; "
            "use executor=local (n_jobs=1 for one at a time)"
        )
    given = {"space": space, "evaluator": evaluator, "workers": n_jobs, "time_limit_s": time_limit_s,
             "reports": reports}  # fmt: skip
    executor: Executor = EXECUTORS.make(name, given, options)
    return executor
