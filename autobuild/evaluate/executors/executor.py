"""Interface of executors: evaluations are submitted one by one, and events are returned."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from autobuild.evaluate.executors.events import Event


@runtime_checkable
class Executor(Protocol):
    """Runs evaluations of one evaluator on one search space, on this machine or others.

    Every submitted task ends with exactly one of the events :class:`Finished`, :class:`Failed` and :class:`Stopped`,
    unless it is cancelled. If its worker is lost (killed, preempted, or its machine fails), the event is a
    :class:`Failed` with ``retry=True``; the other tasks go on. An executor is used by one thread.

    Attributes:
        capacity: Number of evaluations at the same time.
    """

    capacity: int

    def submit(self, task_id: int, arch: str, seed: int) -> None:
        """Add an evaluation; beyond ``capacity`` it waits until another has ended.

        Args:
            task_id: Its number in the events, which no other submitted task may have.
            arch: Canonical text of the architecture.
            seed: Seed of the evaluation.
        """
        ...

    def wait(self, timeout_s: float) -> list[Event]:
        """Wait for events.

        Returns:
            The events so far, in order, as soon as there is one; empty after ``timeout_s`` seconds, and at once if
            nothing is submitted.
        """
        ...

    def prune(self, task_id: int) -> None:
        """Prune an evaluation: its next ``report`` raises :class:`autobuild.errors.Pruned`.

        The next event of the task is :class:`Stopped`, unless it ended before.
        """
        ...

    def cancel(self, task_id: int) -> None:
        """End an evaluation at once; it causes no further event."""
        ...

    def close(self) -> None:
        """End all evaluations and release all resources; it may be called twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        ...
