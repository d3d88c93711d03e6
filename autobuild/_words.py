"""Numbers in texts for readers."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """``1 group``, ``2 groups``, ``1 latency``, ``3,000 latencies``."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def signed(value: float, form: str) -> str:
    """A number in the format ``form``; zero, and what is rounded to it, without a sign: ``0.0``, not ``-0.0``."""
    text = format(value, form)
    return text if any(digit in text for digit in "123456789") else text.lstrip("+-")
