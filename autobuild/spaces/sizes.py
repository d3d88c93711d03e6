"""Sizes of spaces as people read them; they are integers far beyond floating point."""

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
