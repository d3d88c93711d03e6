"""Numbers in texts for readers."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """``1 group``, ``2 groups``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def signed(value: float, form: str) -> str:
    """A number in the format ``form``; zero, and what is rounded to it, without a sign: ``0.0``, not ``-0.0``."""
    text = format(value, form)
    return text if any(digit in text for digit in "123456789") else text.lstrip("+-")
