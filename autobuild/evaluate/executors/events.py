"""Events that executors return about their evaluations."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finished:
    """An evaluation has succeeded.

    Attributes:
        task_id: Number of the evaluation.
        metrics: Its metrics.
        ignored: Descriptions of returned values that are not numbers.
    """

    task_id: int
    metrics: dict[str, float]
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failed:
    """An evaluation has failed.

    Attributes:
        task_id: Number of the evaluation.
        reason: Why it failed, for messages.
        retry: Whether another try may succeed, as after the death of a worker.
        metrics: Measured metrics, if only a needed one is missing.
    """

    task_id: int
    reason: str
    retry: bool = False
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Stopped:
    """An evaluation was pruned."""

    task_id: int


@dataclass(frozen=True)
class Reported:
    """An evaluation has reported intermediate metrics, for example after ``step`` epochs."""

    task_id: int
    step: int
    metrics: dict[str, float]


Event = Finished | Failed | Stopped | Reported
