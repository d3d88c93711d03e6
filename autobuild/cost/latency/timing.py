"""Timing of one call: warm-up, a pinned thread, and detection of disturbed passes.

On a shared machine a pass can take longer than necessary: the thread is preempted, others use the cache, the clock
frequency drops. Preemption can be detected: the wall time is longer than the processor time of the thread. Such passes
are left out. If almost all passes are disturbed, as with long passes on a busy machine, the processor times of all
passes are used. The result contains the number of disturbed passes, and the drift of the others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from autobuild._typing import BoolArray, FloatArray
from autobuild.errors import CostError

WARM_UP, PASSES = 10, 40
DISTURBED_MS = 0.02  # wall time beyond processor time; less than this is the overhead of reading the clocks
DISTURBED_SHARE = 0.02
MAX_DRIFT = 0.1  # relative change of the median from the first to the last third of the passes; beyond, a warning
MAX_DISTURBED = 0.5  # share of disturbed passes; beyond, a warning
TRIES = 3  # number of timings of a call with warnings
UNDISTURBED = 5  # least number of undisturbed passes; with fewer, processor times of all passes are used


@dataclass(frozen=True)
class Timing:
    """Time of a call in milliseconds, over its undisturbed passes.

    Attributes:
        median: Median.
        q10: 10 % quantile: on a busy machine, the time without contention.
        q90: 90 % quantile.
        passes: Number of timed passes.
        disturbed: Number of preempted passes, which are left out.
        drift: Median of the last third of the passes divided by that of the first third, minus 1.
        processor: Whether these are processor times of all passes, because too few were undisturbed.
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
        """Reasons to doubt the numbers; empty if there are none."""
        reasons = []
        if self.disturbed > MAX_DISTURBED * self.passes:
            reasons.append(f"{self.disturbed} of {self.passes} passes were disturbed: the machine is busy")
        if abs(self.drift) > MAX_DRIFT:
            reasons.append(f"drift of {100 * self.drift:+.0f} % between the first and the last passes")
        return tuple(reasons)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data."""
        return asdict(self)


def summarise(wall_ms: FloatArray, disturbed: BoolArray, busy_ms: FloatArray | None = None) -> Timing:
    """Summarise single passes.

    Args:
        wall_ms: Wall times in chronological order, milliseconds, shape ``(n,)``.
        disturbed: Which passes were disturbed, shape ``(n,)``.
        busy_ms: Processor times, milliseconds, shape ``(n,)``; used if fewer than :data:`UNDISTURBED` passes are left.
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
        call: The function to time. It must return when its work is done (a CUDA call synchronises).
        passes: Number of timed passes.
        warmup: Number of passes before the timed ones.
        single_thread: Whether the calling thread does all the work. Then processor times reveal disturbed passes.
            Otherwise passes above the third quartile plus three interquartile ranges count as disturbed.

    Raises:
        CostError: ``passes`` is below 1 or ``warmup`` below 0.
    """
    if passes < 1 or warmup < 0:
        raise CostError(f"passes={passes}, warmup={warmup}: accepted: at least 1 and at least 0")
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
    """Like :func:`time_call`, but up to three timings while there are warnings. The result is the steadiest one."""
    timings: list[Timing] = []
    while not timings or (timings[-1].warnings and len(timings) < TRIES):
        timings.append(time_call(call, passes, warmup, single_thread=single_thread))
    return min(timings, key=lambda timing: (len(timing.warnings), timing.disturbed, abs(timing.drift)))


@contextmanager
def pinned(cores: Sequence[int] | None = None) -> Iterator[tuple[int, ...]]:
    """Pin this process to some cores while the context lasts. Without effect if the system does not support it.

    Args:
        cores: The cores. Default: the last one that this process may use.

    Yields:
        The cores; empty if the system does not support pinning.

    Raises:
        CostError: The process may not use one of the cores.
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
