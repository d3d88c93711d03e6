"""When to stop: one object for a whole call, handed down to whatever may take long and asked in the inner loops."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager


class TimeUp(Exception):
    """A deadline passed in the middle of something; who has a plan by then answers with it. Never leaves a solver."""


class Deadline:
    """Seconds from now, on the monotonic clock.

    Args:
        seconds: How many; infinite for none.

    Attributes:
        start: When it was made.
        end: When it passes.
    """

    def __init__(self, seconds: float = math.inf) -> None:
        self.start = time.monotonic()
        self.end = self.start + seconds

    @staticmethod
    def of(limit: float | Deadline) -> Deadline:
        """Seconds as a deadline; one that runs already stays as it is."""
        return limit if isinstance(limit, Deadline) else Deadline(limit)

    @property
    def elapsed(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self.start

    @property
    def left(self) -> float:
        """Seconds until it passes, zero behind it."""
        return max(self.end - time.monotonic(), 0.0)

    @property
    def passed(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.end

    def check(self) -> None:
        """Raise :class:`TimeUp` where the time is up."""
        if time.monotonic() >= self.end:
            raise TimeUp

    def share(self, part: float) -> Deadline:
        """One that begins now and passes when ``part`` of the time that is left has gone."""
        return Deadline(part * self.left)


NEVER = Deadline()


@contextmanager
def within(costs: object, deadline: Deadline) -> Iterator[None]:
    """Let costs of groups stop at a deadline (raise :class:`TimeUp`), where they can: those with a ``deadline``."""
    before = getattr(costs, "deadline", None)
    if before is None:
        yield
        return
    costs.deadline = deadline  # type: ignore[attr-defined]
    try:
        yield
    finally:
        costs.deadline = before  # type: ignore[attr-defined]
