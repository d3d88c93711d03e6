"""What executors tell of the evaluations they run."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finished:
    """An evaluation has ended well; ``metrics`` as the evaluator gave them, all numbers; what else it gave is told in
    ``ignored``."""

    task_id: int
    metrics: dict[str, float]
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failed:
    """An evaluation has ended without the metrics that are needed.

    Attributes:
        task_id: Which.
        reason: Why, in words for people.
        retry: Whether another try may well succeed: its worker died, which says nothing about the architecture.
        metrics: What was measured all the same, where only a metric that is needed is missing.
    """

    task_id: int
    reason: str
    retry: bool = False
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Stopped:
    """An evaluation has given up early, since it was pruned."""

    task_id: int


@dataclass(frozen=True)
class Reported:
    """Intermediate values of an evaluation that goes on, e.g. after ``step`` epochs."""

    task_id: int
    step: int
    metrics: dict[str, float]


Event = Finished | Failed | Stopped | Reported
