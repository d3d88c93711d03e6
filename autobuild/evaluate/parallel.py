"""Evaluating many architectures in parallel, one result at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autobuild.evaluate.executors import Event, Executor, Failed, Finished, Reported, make_executor

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


@dataclass(frozen=True)
class Place:
    """Where evaluations run, and what happens to those that do not end well.

    Args:
        executor: A name of :data:`autobuild.evaluate.executors.EXECUTORS`.
        workers: How many run at the same time.
        time_limit_s: An evaluation that runs longer is ended, and has failed. None: no limit.
        retries: How often an evaluation whose worker died is tried again.
        options: Further settings of the executor.
    """

    executor: str = "local"
    workers: int = 2
    time_limit_s: float | None = None
    retries: int = 1
    options: Mapping[str, Any] | None = None


def evaluate_many(
    space: SearchSpace,
    evaluator: Evaluator,
    archs: Iterable[Architecture | str],
    seeds: Sequence[int] = (0,),
    workers: int = 2,
    on_result: Callable[[Result], None] | None = None,
    *,
    place: Place | None = None,
) -> list[Result]:
    """Evaluate every architecture with every seed.

    Args:
        space: Where the architectures belong; it must pickle, as the spaces that ship do.
        evaluator: Called as ``evaluator(space, arch, seed)`` in the workers; must pickle.
        archs: Architectures or their texts; the same one twice is evaluated once.
        seeds: Seeds for each architecture.
        workers: Parallel processes of this machine (spawned, one thread each).
        on_result: Called in this process as each evaluation ends, in order of ending.
        place: Where the evaluations run, instead of ``workers`` processes here.

    Returns:
        One :class:`Result` for each (architecture, seed), architectures first, in the order given. An evaluation
        that fails, and one whose process dies again and again, is a result with a reason; the others go on.

    Raises:
        ConfigError: For fewer than one worker, and whatever else no executor can be made of.
        SpaceError: For an architecture outside the space, before anything is evaluated.
    """
    texts = [str(space.parse(str(arch))) for arch in archs]
    tasks = [(text, int(seed)) for text in texts for seed in seeds]
    return run_tasks(space, evaluator, tasks, place or Place(workers=workers), on_result)


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
    with make_executor(
        place.executor,
        space,
        evaluator,
        workers=place.workers,
        time_limit_s=place.time_limit_s,
        reports=False,
        options=place.options,
    ) as executor:
        for number, event in _ends(executor, order, place.retries):
            if isinstance(event, Finished):
                result = Result(*order[number], event.metrics)
            else:
                reason = event.reason if isinstance(event, Failed) else "the evaluator gave it up"
                result = Result(*order[number], None, reason)
            results[order[number]] = result
            if on_result is not None:
                on_result(result)
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
