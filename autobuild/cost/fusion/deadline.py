"""Time limits: one deadline for a whole call, passed to every step and checked in the inner loops."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager


class TimeUp(Exception):
    """A deadline has passed. Solvers catch it and return the best partition so far."""


class Deadline:
    """A point in time, on the monotonic clock.

    Args:
        seconds: Seconds from now; infinite for no limit.

    Attributes:
        start: Time of creation.
        end: Time at which it passes.
    """

    def __init__(self, seconds: float = math.inf) -> None:
        self.start = time.monotonic()
        self.end = self.start + seconds

    @staticmethod
    def of(limit: float | Deadline) -> Deadline:
        """A time limit in seconds as a deadline. A deadline is returned unchanged."""
        return limit if isinstance(limit, Deadline) else Deadline(limit)

    @property
    def elapsed(self) -> float:
        """Seconds since its creation."""
        return time.monotonic() - self.start

    @property
    def left(self) -> float:
        """Seconds until it passes; zero afterwards."""
        return max(self.end - time.monotonic(), 0.0)

    @property
    def passed(self) -> bool:
        """Whether it has passed."""
        return time.monotonic() >= self.end

    def check(self) -> None:
        """Raise :class:`TimeUp` if it has passed."""
        if time.monotonic() >= self.end:
            raise TimeUp

    def share(self, part: float) -> Deadline:
        """A deadline that passes after the fraction ``part`` of the remaining time."""
        return Deadline(part * self.left)


NEVER = Deadline()


@contextmanager
def within(costs: object, deadline: Deadline) -> Iterator[None]:
    """Set the attribute ``deadline`` of costs, if they have one. They then raise :class:`TimeUp` when it passes."""
    before = getattr(costs, "deadline", None)
    if before is None:
        yield
        return
    costs.deadline = deadline  # type: ignore[attr-defined]
    try:
        yield
    finally:
        costs.deadline = before  # type: ignore[attr-defined]
