"""Timing one call: warm-up, a pinned thread, passes that were disturbed told from those that were not.

On a machine that others use, a pass can only take longer than it needs: the thread was preempted, the cache was taken,
the clock was lowered. Of the first kind the operating system tells: wall time that is no processor time of the thread.
Such passes are outliers and left out; where hardly any other is left, as in long passes on a busy machine, all count
with their processor time. How many there were is a part of the result, and so is drift, which they do not explain.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autobuild.errors import CostError

WARM_UP, PASSES = 10, 40
DISTURBED_MS = 0.02  # wall time beyond processor time: more is a preemption, less is the clocks' own cost
DISTURBED_SHARE = 0.02
MAX_DRIFT = 0.1  # relative change of the medians between thirds of the passes that is called drift
MAX_DISTURBED = 0.5  # share of disturbed passes beyond which a result is called noisy
TRIES = 3  # of a call whose passes drift, or were mostly disturbed
UNDISTURBED = 5  # passes that are enough to leave the others out


@dataclass(frozen=True)
class Timing:
    """How long a call takes, in milliseconds, over its undisturbed passes.

    Attributes:
        median: Median.
        q10: 10 % quantile: what the call takes where nothing else wants the machine, on a busy one.
        q90: 90 % quantile.
        passes: How many passes were timed.
        disturbed: How many of them were preempted, and left out.
        drift: Median of the last third of the passes over that of the first third, less 1.
        processor: Whether these are processor times of all passes, for want of undisturbed ones.
    """

    median: float
    q10: float
    q90: float
    passes: int
    disturbed: int
    drift: float
    processor: bool = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the numbers doubtful, in words; empty where nothing does."""
        found = []
        if self.disturbed > MAX_DISTURBED * self.passes:
            found.append(f"{self.disturbed} of {self.passes} passes were disturbed: the machine is busy")
        if abs(self.drift) > MAX_DRIFT:
            found.append(f"drift of {100 * self.drift:+.0f} % between the first and the last passes")
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data."""
        return asdict(self)


def summarise(
    wall_ms: NDArray[np.float64], disturbed: NDArray[np.bool_], busy_ms: NDArray[np.float64] | None = None
) -> Timing:
    """A :class:`Timing` from single passes.

    Args:
        wall_ms: Wall times in the order of time, shape ``(n,)``.
        disturbed: Which passes were disturbed, shape ``(n,)``.
        busy_ms: Processor times, shape ``(n,)``; they count where fewer than :data:`UNDISTURBED` passes are left.
    """
    few = (~disturbed).sum() < min(UNDISTURBED, len(wall_ms))
    processor = bool(few and busy_ms is not None)
    kept = wall_ms[~disturbed] if not few else wall_ms if busy_ms is None else busy_ms
    low, median, high = np.quantile(kept, (0.1, 0.5, 0.9))
    third = max(1, len(kept) // 3)
    drift = float(np.median(kept[-third:]) / np.median(kept[:third]) - 1) if len(kept) >= 3 else 0.0
    return Timing(float(median), float(low), float(high), len(wall_ms), int(disturbed.sum()), drift, processor)


def time_call(
    call: Callable[[], object],
    passes: int = PASSES,
    warmup: int = WARM_UP,
    *,
    single_thread: bool = True,
) -> Timing:
    """Time a call.

    Args:
        call: What is timed; it returns when its work is done (a CUDA call synchronises).
        passes: Timed passes.
        warmup: Passes before the clock runs.
        single_thread: Whether the work is done by the calling thread alone: only then its processor time tells
            disturbed passes. Where it is not, passes beyond the third quartile plus three interquartile ranges count
            as disturbed.

    Raises:
        CostError: For counts that are not positive.
    """
    if passes < 1 or warmup < 0:
        raise CostError(f"passes={passes}, warmup={warmup}: at least 1 and 0 are accepted")
    for _ in range(warmup):
        call()
    wall, busy = np.empty(passes), np.empty(passes)
    for number in range(passes):
        used, started = time.thread_time_ns(), time.perf_counter_ns()
        call()
        wall[number] = (time.perf_counter_ns() - started) / 1e6
        busy[number] = (time.thread_time_ns() - used) / 1e6
    if single_thread:
        return summarise(wall, wall - busy > np.maximum(DISTURBED_MS, DISTURBED_SHARE * wall), busy)
    first, third = np.quantile(wall, (0.25, 0.75))
    return summarise(wall, wall > third + 3 * (third - first))


def steady_call(
    call: Callable[[], object], passes: int = PASSES, warmup: int = WARM_UP, *, single_thread: bool = True
) -> Timing:
    """As :func:`time_call`; what has a warning is timed again, three times in all, and the steadiest counts."""
    found: list[Timing] = []
    while not found or (found[-1].warnings and len(found) < TRIES):
        found.append(time_call(call, passes, warmup, single_thread=single_thread))
    return min(found, key=lambda timing: (len(timing.warnings), timing.disturbed, abs(timing.drift)))


@contextmanager
def pinned(cores: Sequence[int] | None = None) -> Iterator[tuple[int, ...]]:
    """Run on these processor cores only (default: the last one this process may use); nothing where a system cannot.

    Yields:
        The cores; empty where threads cannot be pinned.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield ()
        return
    allowed = os.sched_getaffinity(0)
    wanted = set(cores) if cores is not None else {max(allowed)}
    if not wanted <= allowed:
        raise CostError(f"cores={sorted(wanted)}: this process may use {sorted(allowed)}")
    os.sched_setaffinity(0, wanted)
    try:
        yield tuple(sorted(wanted))
    finally:
        os.sched_setaffinity(0, allowed)
