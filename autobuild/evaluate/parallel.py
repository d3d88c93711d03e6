"""Evaluating many architectures in parallel, one result at a time."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError
from autobuild.evaluate.executors import Event, Executor, Failed, Finished, Reported, make_executor
from autobuild.evaluate.metrics import warn_ignored

if TYPE_CHECKING:
    from autobuild.evaluate.protocol import Evaluator
    from autobuild.spaces import Architecture, SearchSpace

Task = tuple[str, int]
WAIT_S = 60.0  # nothing is done in between, so the length does not matter


@dataclass(frozen=True)
class Result:
    """One evaluation: either ``metrics``, or the ``reason`` why there are none."""

    arch: str
    seed: int
    metrics: dict[str, float] | None
    reason: str = ""


def renamed(old: str, given: dict[str, Any], new: str, value: Any, default: Any) -> Any:
    """The value of an argument that had another name, which is taken out of ``given`` with a warning.

    Raises:
        ConfigError: Both names were given.
    """
    if old not in given:
        return value
    former = given.pop(old)
    if value != default:
        raise ConfigError(f"{old}={former!r}, {new}={value!r}: {old} is the former name of {new}; give one of them")
    warnings.warn(f"{old}= is now called {new}=", DeprecationWarning, stacklevel=3)
    return former


def seeds_of(seeds: int | Sequence[int], first: int = 0) -> list[int]:
    """Seeds of evaluations: so many of them, counted from ``first``, or those listed.

    Raises:
        ConfigError: Neither a number of at least 1 nor a list of integers from 0.
    """
    if isinstance(seeds, Iterable):
        listed = [] if isinstance(seeds, str) else list(seeds)
    elif isinstance(seeds, Integral) and not isinstance(seeds, bool) and seeds >= 1:
        return list(range(first, first + int(seeds)))
    else:
        listed = []
    if not listed or not all(isinstance(s, Integral) and not isinstance(s, bool) and s >= 0 for s in listed):
        raise ConfigError(f"seeds={seeds!r}: accepted: how many, such as 2, or a list of them, such as [0, 1]")
    return list(dict.fromkeys(int(seed) for seed in listed))


@dataclass(frozen=True)
class Place:
    """Where evaluations run, and what happens to those that do not end well.

    Args:
        executor: A name of :data:`autobuild.evaluate.executors.EXECUTORS`.
        n_jobs: How many run at the same time.
        time_limit_s: An evaluation that runs longer is ended, and has failed. None: no limit.
        retries: How often an evaluation whose worker died is tried again.
        options: Further settings of the executor.
        workers: The former name of ``n_jobs``.
    """

    executor: str = "local"
    n_jobs: int = 1
    time_limit_s: float | None = None
    retries: int = 1
    options: Mapping[str, Any] | None = None
    workers: InitVar[int | None] = None

    def __post_init__(self, workers: int | None) -> None:
        if workers is not None:
            object.__setattr__(self, "n_jobs", renamed("workers", {"workers": workers}, "n_jobs", self.n_jobs, 1))


def place_for(
    n_jobs: int,
    executor: str | None,
    time_limit_s: float | None,
    retries: int,
    options: Mapping[str, Any] | None,
) -> Place:
    """Where evaluations run by the words of a search: without ``executor`` in this process where ``n_jobs`` is 1 and
    nothing limits their time, else in processes of this machine."""
    chosen = executor if executor is not None else "inline" if n_jobs == 1 and time_limit_s is None else "local"
    return Place(chosen, n_jobs, time_limit_s, retries, options)


def evaluate_many(
    space: SearchSpace,
    evaluator: Evaluator,
    archs: Iterable[Architecture | str],
    seeds: int | Sequence[int] = 1,
    n_jobs: int = 1,
    on_result: Callable[[Result], None] | None = None,
    *,
    place: Place | None = None,
    **former: Any,
) -> list[Result]:
    """Evaluate every architecture with every seed.

    Args:
        space: Where the architectures belong; it must pickle, as the spaces that ship do.
        evaluator: Called as ``evaluator(space, arch, seed)`` in the workers; must pickle.
        archs: Architectures or their texts; the same one twice is evaluated once.
        seeds: For each architecture so many seeds, 0, 1, ..., or those listed.
        n_jobs: Evaluations at the same time: processes of this machine (spawned, one thread each).
        on_result: Called in this process as each evaluation ends, in order of ending.
        place: Where the evaluations run, instead of ``n_jobs`` processes here.
        former: ``workers``, the former name of ``n_jobs``.

    Returns:
        One :class:`Result` for each (architecture, seed), architectures first, in the order given. An evaluation
        that fails, and one whose process dies again and again, is a result with a reason; the others go on.

    Raises:
        ConfigError: For unusable seeds, fewer than one job, and whatever else no executor can be made of.
        SpaceError: For an architecture outside the space, before anything is evaluated.
    """
    texts = [str(space.parse(str(arch))) for arch in archs]
    n_jobs = renamed("workers", former, "n_jobs", n_jobs, 1)
    tasks = [(text, seed) for text in texts for seed in seeds_of(seeds)]
    return run_tasks(space, evaluator, tasks, place or Place(n_jobs=n_jobs), on_result)


def run_tasks(
    space: SearchSpace,
    evaluator: Evaluator,
    tasks: Iterable[Task],
    place: Place,
    on_result: Callable[[Result], None] | None = None,
) -> list[Result]:
    """As :func:`evaluate_many`, for a list of (canonical text, seed) pairs."""
    order = list(dict.fromkeys(tasks))
    results: dict[Task, Result] = {}
    ignored: dict[str, None] = {}
    with make_executor(
        place.executor,
        space,
        evaluator,
        n_jobs=place.n_jobs,
        time_limit_s=place.time_limit_s,
        reports=False,
        options=place.options,
    ) as executor:
        for number, event in _ends(executor, order, place.retries):
            if isinstance(event, Finished):
                result = Result(*order[number], event.metrics)
                ignored |= dict.fromkeys(told.partition(":")[0] for told in event.ignored)
            else:
                reason = event.reason if isinstance(event, Failed) else "the evaluator gave it up"
                result = Result(*order[number], None, reason)
            results[order[number]] = result
            if on_result is not None:
                on_result(result)
    warn_ignored(ignored)
    return [results[task] for task in order]


def _ends(executor: Executor, order: Sequence[Task], retries: int) -> Iterator[tuple[int, Event]]:
    """How every task ends, by its number; one whose worker dies is submitted again up to ``retries`` times."""
    waiting, tries = deque(range(len(order))), [0] * len(order)
    running = 0
    while waiting or running:
        while waiting and running < executor.capacity:
            number = waiting.popleft()
            executor.submit(number, *order[number])
            running += 1
        for event in executor.wait(WAIT_S):
            if isinstance(event, Reported):
                continue
            running -= 1
            if isinstance(event, Failed) and event.retry and tries[event.task_id] < retries:
                tries[event.task_id] += 1
                waiting.append(event.task_id)
            else:
                yield event.task_id, event
