"""Which rows judge a method: a part that design work may look at, and random splits of all other rows.

A network is a *development* network where the first byte of the SHA-256 of its ``space.key`` is below 64: a quarter,
fixed for ever, the same on every machine. Whatever was looked at while a model was designed lies there; the rest, the
*judged* networks, is for reporting. Equal networks have equal keys, so they lie on one side always.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
DEVELOPMENT_BYTES = 64  # of 256


@dataclass(frozen=True)
class Split:
    """Rows to learn from and rows to be judged on, ascending; no network is in both, nor twice in one.

    Attributes:
        train: Rows whose labels a method is given. Shape ``(n,)``.
        test: Rows it is judged on. Shape ``(m,)``.
    """

    train: Rows
    test: Rows


def development(keys: Sequence[str]) -> NDArray[np.bool_]:
    """True for development networks. Shape ``(len(keys),)``."""
    return np.array([hashlib.sha256(key.encode()).digest()[0] < DEVELOPMENT_BYTES for key in keys], dtype=bool)


def split(keys: Sequence[str], n: int, seed: int, part: str = "judged") -> Split:
    """Draw ``n`` labelled networks; every other network of the part is a test row.

    A network counts once: of rows with equal keys one is drawn.

    Args:
        keys: ``space.key`` of every row.
        n: Networks to learn from.
        seed: The split's number.
        part: ``"judged"``, or ``"development"`` for design work.

    Raises:
        ValueError: The part has no more than ``n`` distinct networks.
    """
    rng = np.random.default_rng([seed, n])
    rows = _distinct(keys, _part(keys, part), rng)
    if not 0 < n < len(rows):
        raise ValueError(f"n={n}: the {part} part has {len(rows):,} distinct networks")
    return Split(np.sort(rows[:n]), np.sort(rows[n:]))


def split_nearly_all(keys: Sequence[str], n: int, seed: int, part: str = "judged") -> Split:
    """Test rows are drawn from the part; all others, the other part's included, are learned from.

    For sets so small that ``n`` labels are not there otherwise (OFA: 2,700 of 3,000). Only judged rows judge.

    Raises:
        ValueError: There are too few rows, or too few in the part.
    """
    rng = np.random.default_rng([seed, n])
    rows = _distinct(keys, np.arange(len(keys)), rng)
    inside = rows[np.isin(rows, _part(keys, part))]
    wanted = len(rows) - n
    if not 0 < n < len(rows) or wanted > len(inside):
        raise ValueError(f"n={n}: {len(rows):,} distinct networks, {len(inside):,} of them in the {part} part")
    test = np.sort(inside[:wanted])
    return Split(np.setdiff1d(rows, test), test)


def _part(keys: Sequence[str], part: str) -> Rows:
    if part not in ("judged", "development"):
        raise ValueError(f"part={part!r}: 'judged' and 'development' are accepted")
    return np.flatnonzero(development(keys) == (part == "development"))


def _distinct(keys: Sequence[str], rows: Rows, rng: np.random.Generator) -> Rows:
    """One row of each network, in random order."""
    first: dict[str, int] = {}
    for row in rng.permutation(rows):
        first.setdefault(keys[row], int(row))
    return np.fromiter(first.values(), dtype=np.int64, count=len(first))
