"""Readable texts for sizes of spaces (integers too large for floating point) and for numbers of bytes."""

from __future__ import annotations

import math


def readable_count(count: int) -> str:
    """Format an integer of any size: ``7,371`` below a million, ``2.2e19`` (correctly rounded) from there on."""
    if abs(count) < 10**6:
        return f"{count:,}"
    size = abs(count)
    power = int(math.log10(size)) - 1  # may be off by one because the logarithm is rounded; corrected below
    digits = (size + 10**power // 2) // 10**power
    while digits >= 100:
        power += 1
        digits = (size + 10**power // 2) // 10**power
    while digits < 10:
        power -= 1
        digits = (size + 10**power // 2) // 10**power
    return f"{'-' if count < 0 else ''}{digits // 10}.{digits % 10}e{power + 1}"


def byte_unit(largest: float) -> tuple[float, str]:
    """Divisor and unit in which numbers of bytes up to ``largest`` read well: ``(1e6, "MB")`` for 26,570,000."""
    for size, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if largest >= size:
            return size, name
    return 1.0, "bytes"
