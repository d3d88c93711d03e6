"""What an executor owes: evaluations go in one by one, events come out."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from autobuild.evaluate.executors.events import Event


@runtime_checkable
class Executor(Protocol):
    """Runs evaluations of one evaluator on one search space, here or elsewhere.

    Every submitted task ends in exactly one of :class:`Finished`, :class:`Failed` and :class:`Stopped`, unless it is
    cancelled. Whatever happens to a worker (killed, preempted, its machine lost) comes back as a :class:`Failed` with
    ``retry=True``; the other tasks go on. An executor is used by one thread.

    Attributes:
        capacity: How many evaluations run at the same time.
    """

    capacity: int

    def submit(self, task_id: int, arch: str, seed: int) -> None:
        """Take an evaluation; beyond ``capacity`` it waits until another has ended.

        Args:
            task_id: Names it in the events; no two at a time are equal.
            arch: Canonical text of the architecture.
            seed: Seed of the evaluation.
        """
        ...

    def wait(self, timeout_s: float) -> list[Event]:
        """What has happened, in order: as soon as there is something, or nothing after ``timeout_s`` seconds.

        With nothing submitted it returns at once.
        """
        ...

    def prune(self, task_id: int) -> None:
        """Ask an evaluation to stop: its next ``report`` raises :class:`autobuild.errors.Pruned`.

        A :class:`Stopped` comes, or what the evaluation ended with before it heard.
        """
        ...

    def cancel(self, task_id: int) -> None:
        """End an evaluation now; nothing more comes of it."""
        ...

    def close(self) -> None:
        """End all evaluations and give everything back; may be called twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        ...
