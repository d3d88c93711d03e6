"""Candidates that another one of the same unit beats in everything that counts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BLOCK = 256


def undominated(values: ArrayLike) -> NDArray[np.int64]:
    """Which rows no other row beats: none is at least as large in every column, equal rows being kept once.

    Args:
        values: Numbers to be *maximised*, shape ``(n, columns)``; finite.

    Returns:
        Ascending row numbers, shape ``(kept,)``; of equal rows the first.
    """
    rows = np.asarray(values, dtype=np.float64)
    if rows.shape[0] == 0:
        return np.zeros(0, dtype=np.int64)
    # After this sort whoever beats a row stands before it, so one pass against those kept so far is enough.
    order = np.lexsort((np.arange(rows.shape[0]), *(-rows.T[::-1])))
    ordered = rows[order].T
    kept: list[NDArray[np.int64]] = []
    front = np.empty((ordered.shape[0], 0))
    for start in range(0, order.size, _BLOCK):
        block = ordered[:, start : start + _BLOCK]
        places = np.flatnonzero(~_beaten(front, block))
        block = block[:, places]
        free = ~_beaten(block, block, earlier=True)
        front = np.hstack([front, block[:, free]])
        kept.append(order[start + places[free]])
    return np.sort(np.concatenate(kept))


def fronts(values: ArrayLike) -> Iterator[NDArray[np.int64]]:
    """Row numbers, front after front: the rows that no row beats, those that only rows of the first beat, and so on.

    Args:
        values: As of :func:`undominated`; of equal rows each comes in a front of its own.
    """
    rows = np.asarray(values, dtype=np.float64)
    left = np.arange(len(rows))
    while len(left):
        front = undominated(rows[left])
        yield left[front]
        left = np.delete(left, front)


def first_fronts(values: ArrayLike, most: int, rng: np.random.Generator) -> list[int]:
    """Up to ``most`` row numbers, front after front, by chance within each: so the last is cut at random."""
    chosen: list[int] = []
    for front in fronts(values):
        chosen += rng.permutation(front).tolist()
        if len(chosen) >= most:
            break
    return chosen[:most]


def _beaten(front: NDArray[np.float64], block: NDArray[np.float64], earlier: bool = False) -> NDArray[np.bool_]:
    """Which columns of ``block`` some column of ``front`` (``earlier``: one further left) equals or exceeds."""
    beats = np.ones((front.shape[1], block.shape[1]), dtype=bool)
    for own, other in zip(front, block, strict=True):
        beats &= own[:, None] >= other[None, :]
    if earlier:
        beats = np.triu(beats, 1)
    return np.asarray(beats.any(axis=0))
