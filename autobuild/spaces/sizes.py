"""Sizes as people read them: of spaces, which are integers far beyond floating point, and in bytes."""

from __future__ import annotations

import math


def readable_count(count: int) -> str:
    """A whole number for people: ``7,371`` below a million, from there on ``2.2e19``; exact for any size of integer."""
    if abs(count) < 10**6:
        return f"{count:,}"
    size = abs(count)
    power = int(math.log10(size)) - 1  # good to one place even where the logarithm rounds; put right below
    digits = (size + 10**power // 2) // 10**power
    while digits >= 100:
        power += 1
        digits = (size + 10**power // 2) // 10**power
    while digits < 10:
        power -= 1
        digits = (size + 10**power // 2) // 10**power
    return f"{'-' if count < 0 else ''}{digits // 10}.{digits % 10}e{power + 1}"


def byte_unit(largest: float) -> tuple[float, str]:
    """What bytes up to ``largest`` are divided by to read well, and the unit then: ``(1e6, "MB")`` for 26,570,000."""
    for size, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if largest >= size:
            return size, name
    return 1.0, "bytes"
