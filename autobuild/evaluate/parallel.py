"""Evaluating many architectures in parallel processes, one result at a time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

from autobuild.errors import AutobuildError, ConfigError

if TYPE_CHECKING:
    from autobuild.evaluate.protocol import Evaluator
    from autobuild.spaces import Architecture, SearchSpace

Task = tuple[str, int]


@dataclass(frozen=True)
class Result:
    """One evaluation: either ``metrics``, or the ``reason`` why there are none."""

    arch: str
    seed: int
    metrics: dict[str, float] | None
    reason: str = ""


def evaluate_many(
    space: SearchSpace,
    evaluator: Evaluator,
    archs: Iterable[Architecture | str],
    seeds: Sequence[int] = (0,),
    workers: int = 2,
    on_result: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Evaluate every architecture with every seed.

    Args:
        space: Where the architectures belong; it must pickle, as the spaces that ship do.
        evaluator: Called as ``evaluator(space, arch, seed)`` in the workers; must pickle.
        archs: Architectures or their texts; the same one twice is evaluated once.
        seeds: Seeds for each architecture.
        workers: Parallel processes (spawned, one thread each).
        on_result: Called in this process as each evaluation ends, in order of ending.

    Returns:
        One :class:`Result` for each (architecture, seed), architectures first, in the order given. An evaluation
        that fails, and one whose process dies, is a result with a reason; the others go on.

    Raises:
        ConfigError: For fewer than one worker.
        SpaceError: For an architecture outside the space, before anything is evaluated.
    """
    texts = [str(space.parse(str(arch))) for arch in archs]
    return run_tasks(space, evaluator, [(text, int(seed)) for text in texts for seed in seeds], workers, on_result)


def run_tasks(
    space: SearchSpace,
    evaluator: Evaluator,
    tasks: Iterable[Task],
    workers: int = 2,
    on_result: Callable[[Result], None] | None = None,
) -> list[Result]:
    """As :func:`evaluate_many`, for a list of (canonical text, seed) pairs."""
    if workers < 1:
        raise ConfigError(f"workers={workers}: give at least 1 parallel process")
    order = list(dict.fromkeys(tasks))
    waiting, results = deque(order), dict[Task, Result]()
    pool: list[_Worker] = []
    try:
        while len(results) < len(order):
            while waiting and len(pool) < workers:
                pool.append(_Worker(space, evaluator))
                pool[-1].give(waiting.popleft())
            ready = connection.wait([worker.pipe for worker in pool])
            for worker in [w for w in pool if w.pipe in ready]:
                result = worker.take()
                results[(result.arch, result.seed)] = result
                if worker.alive and waiting:
                    worker.give(waiting.popleft())
                else:
                    worker.kill()  # idle or dead: nothing is lost
                    pool.remove(worker)
                if on_result is not None:
                    on_result(result)
    finally:
        for worker in pool:
            worker.kill()
    return [results[task] for task in order]


class _Worker:
    """One child process and the task it is at."""

    def __init__(self, space: SearchSpace, evaluator: Evaluator) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, space, evaluator), daemon=True)
        self.task: Task = ("", 0)
        self.alive = True
        self.process.start()
        theirs.close()

    def give(self, task: Task) -> None:
        self.task = task
        try:
            self.pipe.send(task)
        except OSError:
            self.alive = False  # it died before its first task; take() reports it

    def take(self) -> Result:
        try:
            metrics, reason = self.pipe.recv()
        except (EOFError, OSError):
            self.alive = False
            self.process.join()
            metrics, reason = None, f"its process ended with exit code {self.process.exitcode}"
        return Result(*self.task, metrics, reason)

    def kill(self) -> None:
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


def _serve(pipe: Any, space: SearchSpace, evaluator: Evaluator) -> None:
    """Life of a worker: evaluate what comes through the pipe until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, and the parent ends its workers
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        while True:
            text, seed = pipe.recv()
            pipe.send(_evaluate(space, evaluator, text, seed))
    except (EOFError, OSError):
        return


def _evaluate(space: SearchSpace, evaluator: Evaluator, text: str, seed: int) -> tuple[dict[str, float] | None, str]:
    try:
        return {name: float(value) for name, value in evaluator(space, text, seed).items()}, ""
    except AutobuildError as error:
        return None, str(error)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return None, f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})"


def _end_with_parent() -> None:
    """A killed parent cannot stop its workers, so each watches the parent and goes with it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
