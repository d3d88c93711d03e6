"""Base class of executors: a queue of evaluations, all of which end with the ``with`` block."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from types import TracebackType
from typing import Self

from autobuild.evaluate.executors.events import Event, Failed, Stopped

Task = tuple[int, str, int]  # its number, the architecture's text, the seed


class QueuedExecutor(ABC):
    """The part of an executor that does not depend on where evaluations run.

    Args:
        capacity: Number of evaluations at the same time.
        time_limit_s: Seconds that one may take; None: no limit.
    """

    def __init__(self, capacity: int, time_limit_s: float | None = None) -> None:
        self.capacity = capacity
        self._limit = math.inf if time_limit_s is None else time_limit_s
        self._waiting: deque[Task] = deque()
        self._pending: list[Event] = []  # of tasks that were pruned before they began

    def submit(self, task_id: int, arch: str, seed: int) -> None:
        """See :class:`~autobuild.evaluate.executors.executor.Executor`."""
        self._waiting.append((task_id, arch, seed))
        self._feed()

    def prune(self, task_id: int) -> None:
        """See :class:`~autobuild.evaluate.executors.executor.Executor`."""
        if self._drop(task_id):
            self._pending.append(Stopped(task_id))
        else:
            self._stop(task_id)

    @abstractmethod
    def wait(self, timeout_s: float) -> list[Event]:
        """See :class:`~autobuild.evaluate.executors.executor.Executor`."""

    @abstractmethod
    def cancel(self, task_id: int) -> None:
        """See :class:`~autobuild.evaluate.executors.executor.Executor`."""

    @abstractmethod
    def close(self) -> None:
        """See :class:`~autobuild.evaluate.executors.executor.Executor`."""

    @abstractmethod
    def _feed(self) -> None:
        """Start waiting tasks up to the capacity."""

    @abstractmethod
    def _stop(self, task_id: int) -> None:
        """Prune a task that has started, and may have ended."""

    def _drop(self, task_id: int) -> bool:
        """Remove a waiting task; returns whether it was waiting."""
        kept = deque(task for task in self._waiting if task[0] != task_id)
        dropped, self._waiting = len(kept) < len(self._waiting), kept
        return dropped

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def too_long(task_id: int, limit_s: float) -> Failed:
    """Event of an evaluation that was ended at its time limit."""
    return Failed(task_id, f"it took longer than time_limit_s={limit_s:g}, and was ended")
