"""Non-dominated sorting: which rows no other row equals or exceeds in every column, and the fronts behind them."""

from __future__ import annotations

import bisect
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from autobuild._typing import BoolArray, FloatArray, IntArray

_BLOCK = 256
_GRID = 512  # cells on each side of the grid that thins out many rows of three columns


def undominated(values: ArrayLike) -> IntArray:
    """Which rows no other row dominates: none is at least as large in every column, equal rows being kept once.

    Two columns take one sort, three a sweep (Kung, Luccio and Preparata, J. ACM 22(4), 1975), more a comparison with
    the front so far, block by block.

    Args:
        values: Numbers to be *maximised*, shape ``(n, columns)``; minus infinity is allowed, NaN is not.

    Returns:
        Ascending row numbers, shape ``(kept,)``; of equal rows the first.
    """
    rows = np.asarray(values, dtype=np.float64)
    if rows.shape[0] == 0:
        return np.zeros(0, dtype=np.int64)
    if rows.shape[1] == 3:
        return _of_three(rows)
    # After this sort whatever dominates a row stands before it, so one pass against those kept so far is enough.
    order = np.lexsort((np.arange(rows.shape[0]), *(-rows.T[::-1])))
    if rows.shape[1] == 2:
        second = rows[order, 1]
        before = np.concatenate([[np.nan], np.maximum.accumulate(second)[:-1]])
        return np.sort(order[~(second <= before)])
    return _of_many(rows, order)


def _of_many(rows: FloatArray, order: IntArray) -> IntArray:
    """The front of any number of columns: blocks in sorted order against all rows kept before."""
    ordered = rows[order].T
    kept: list[IntArray] = []
    front = np.empty((ordered.shape[0], 0))
    for start in range(0, order.size, _BLOCK):
        block = ordered[:, start : start + _BLOCK]
        places = np.flatnonzero(~_dominated(front, block))
        block = block[:, places]
        free = ~_dominated(block, block, earlier=True)
        front = np.hstack([front, block[:, free]])
        kept.append(order[start + places[free]])
    return np.sort(np.concatenate(kept))


def fronts(values: ArrayLike) -> Iterator[IntArray]:
    """Row numbers, front after front: the undominated rows, those that only the first front dominates, and so on.

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


def _dominated(front: FloatArray, block: FloatArray, earlier: bool = False) -> BoolArray:
    """Which columns of ``block`` some column of ``front`` (``earlier``: one further left) equals or exceeds."""
    beats = np.ones((front.shape[1], block.shape[1]), dtype=bool)
    for kept, other in zip(front, block, strict=True):
        beats &= kept[:, None] >= other[None, :]
    if earlier:
        beats = np.triu(beats, 1)
    return np.asarray(beats.any(axis=0))


def _of_three(rows: FloatArray) -> IntArray:
    """Sweep down the first column, keeping the front of the other two among the rows that have passed."""
    places = _few(rows)
    order = places[np.lexsort((places, *(-rows[places].T[::-1])))]
    second: list[float] = []  # ascending, and the third descending
    third: list[float] = []
    kept = []
    for row, y, z in zip(order.tolist(), rows[order, 1].tolist(), rows[order, 2].tolist(), strict=True):
        at = bisect.bisect_left(second, y)
        if at < len(second) and third[at] >= z:
            continue
        kept.append(row)
        stop = at + (at < len(second) and second[at] == y)
        start = at
        while start and third[start - 1] <= z:
            start -= 1
        second[start:stop], third[start:stop] = [y], [z]
    return np.sort(np.array(kept, dtype=np.int64))


def _few(rows: FloatArray) -> IntArray:
    """Candidates for the front: rows that no row in a higher cell of a grid over the first two columns dominates."""
    if len(rows) < 10_000:
        return np.arange(len(rows))
    cells = []
    for column in (rows[:, 0], rows[:, 1]):
        edges = np.quantile(column[:: max(1, len(column) // 20_000)], np.linspace(0, 1, _GRID)[1:-1])
        cells.append(np.searchsorted(edges, column, side="right"))
    best = np.full((_GRID, _GRID), -np.inf)
    np.maximum.at(best, (cells[0], cells[1]), rows[:, 2])
    best = np.maximum.accumulate(np.maximum.accumulate(best[::-1, ::-1], axis=0), axis=1)[::-1, ::-1]
    above = best[cells[0] + 1, cells[1] + 1]
    return np.flatnonzero((rows[:, 2] > above) | np.isneginf(above))
