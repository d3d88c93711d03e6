"""Evaluating many architectures in parallel, one result at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

from autobuild._moved import renamed_arguments
from autobuild.errors import ConfigError
from autobuild.evaluate.executors import Event, Executor, Failed, Finished, Reported, make_executor
from autobuild.evaluate.metrics import warn_ignored

if TYPE_CHECKING:
    from autobuild.evaluate.evaluator import Evaluator
    from autobuild.spaces import Architecture, SearchSpace

Task = tuple[str, int]
WAIT_S = 60.0  # of one wait for events; nothing else is done meanwhile


@dataclass(frozen=True)
class Result:
    """Result of one evaluation: ``metrics``, or the ``reason`` why there are none."""

    arch: str
    seed: int
    metrics: dict[str, float] | None
    reason: str = ""


def seeds_of(seeds: int | Sequence[int], first: int = 0) -> list[int]:
    """A list of seeds.

    Args:
        seeds: The number of seeds, which count from ``first``, or a list of them.
        first: The first seed.

    Raises:
        ConfigError: ``seeds`` is neither a number of at least 1 nor a list of integers from 0.
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
class ExecutorSettings:
    """Settings of an executor.

    Args:
        executor: A name of :data:`autobuild.evaluate.executors.EXECUTORS`.
        n_jobs: Number of evaluations at the same time.
        time_limit_s: Seconds after which an evaluation is stopped and counts as failed. None: no limit.
        retries: How often an evaluation is repeated if its worker died.
        options: Further options of the executor.
    """

    executor: str = "local"
    n_jobs: int = 1
    time_limit_s: float | None = None
    retries: int = 1
    options: Mapping[str, Any] | None = None


def choose_executor(
    n_jobs: int,
    executor: str | None,
    time_limit_s: float | None,
    retries: int,
    options: Mapping[str, Any] | None,
) -> ExecutorSettings:
    """Settings of an executor: by default this process if ``n_jobs`` is 1 and there is no time limit, else processes of
    this machine."""
    chosen = executor if executor is not None else "inline" if n_jobs == 1 and time_limit_s is None else "local"
    return ExecutorSettings(chosen, n_jobs, time_limit_s, retries, options)


@renamed_arguments({"workers": "n_jobs", "place": "settings"})
def evaluate_many(
    space: SearchSpace,
    evaluator: Evaluator,
    archs: Iterable[Architecture | str],
    seeds: int | Sequence[int] = 1,
    n_jobs: int = 1,
    on_result: Callable[[Result], None] | None = None,
    *,
    settings: ExecutorSettings | None = None,
) -> list[Result]:
    """Evaluate every architecture with every seed.

    Args:
        space: The search space; it must be possible to pickle it, as all spaces of the library.
        evaluator: Called as ``evaluator(space, arch, seed)`` in the workers; it must be possible to pickle it.
        archs: Architectures or their texts; duplicates are evaluated once.
        seeds: Number of seeds (0, 1, ...) for each architecture, or a list of them.
        n_jobs: Number of evaluations at the same time, each in a process of this machine with one thread.
        on_result: Called in this process when an evaluation has ended.
        settings: Settings of another executor than ``n_jobs`` processes.

    Returns:
        One :class:`Result` for each (architecture, seed), in the order given, with all seeds of an architecture one
        after the other. An evaluation that fails, or whose process dies repeatedly, has a reason; the others go on.

    Raises:
        ConfigError: Seeds or settings of the executor are not usable.
        SpaceError: An architecture is not in the space; nothing is evaluated then.
    """
    texts = [str(space.parse(str(arch))) for arch in archs]
    tasks = [(text, seed) for text in texts for seed in seeds_of(seeds)]
    return run_tasks(space, evaluator, tasks, settings or ExecutorSettings(n_jobs=n_jobs), on_result)


def run_tasks(
    space: SearchSpace,
    evaluator: Evaluator,
    tasks: Iterable[Task],
    settings: ExecutorSettings,
    on_result: Callable[[Result], None] | None = None,
) -> list[Result]:
    """As :func:`evaluate_many`, for a list of (canonical text, seed) pairs."""
    order = list(dict.fromkeys(tasks))
    results: dict[Task, Result] = {}
    ignored: dict[str, None] = {}
    with make_executor(
        settings.executor,
        space,
        evaluator,
        n_jobs=settings.n_jobs,
        time_limit_s=settings.time_limit_s,
        reports=False,
        options=settings.options,
    ) as executor:
        for number, event in _ends(executor, order, settings.retries):
            if isinstance(event, Finished):
                result = Result(*order[number], event.metrics)
                ignored |= dict.fromkeys(text.partition(":")[0] for text in event.ignored)
            else:
                reason = event.reason if isinstance(event, Failed) else "the evaluator gave it up"
                result = Result(*order[number], None, reason)
            results[order[number]] = result
            if on_result is not None:
                on_result(result)
    warn_ignored(ignored)
    return [results[task] for task in order]


def _ends(executor: Executor, order: Sequence[Task], retries: int) -> Iterator[tuple[int, Event]]:
    """Number and last event of each task; one whose worker dies is submitted again up to ``retries`` times."""
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
