"""Pareto fronts of two or three additive targets: unit by unit, keeping only partial sums that nothing beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from autobuild._typing import FloatArray, IntArray
from autobuild.construct.dominance import undominated
from autobuild.errors import ConfigError
from autobuild.settings.option import integer
from autobuild.spaces.additive import Additive, same_sizes

CHUNK = 1 << 20  # partial sums compared at once


@dataclass(frozen=True, eq=False)
class Front:
    """Assemblies none of which another one beats in all targets; descending in the first target.

    Attributes:
        indices: Candidate of every unit, ``(n, units)``.
        values: The targets, all maximised, ``(n, targets)``.
        epsilon: 0 where the front is exact; else, for each target, by how much an assembly that is left out may exceed
            all that are there, ``(targets,)``.
    """

    indices: IntArray
    values: FloatArray
    epsilon: FloatArray

    def __len__(self) -> int:
        return len(self.values)

    @property
    def exact(self) -> bool:
        """Whether nothing was left out."""
        return not self.epsilon.any()


def additive_front(targets: Sequence[Additive], max_front: int = 20_000) -> Front:
    """The front of two or three additive targets over the same units; of assemblies with equal values one is kept.

    A partial sum that another one equals or exceeds in every target can be left out, since both are completed alike.
    Where more than ``max_front`` partial sums remain, one is kept in each cell of a grid, the finest that leaves few
    enough; ``epsilon`` adds up what that may lose.

    An additive front bounds the true one only where the targets really are sums: predictions with a remainder have to
    be evaluated in full.

    Args:
        targets: Two or three, all maximised.
        max_front: Partial sums kept after each unit.

    Raises:
        ConfigError: Fewer than two or more than three targets, tables for different units, ``max_front`` below 2.
    """
    if len(targets) not in (2, 3):
        raise ConfigError(f"pareto: given {len(targets)} targets, accepted: two or three")
    max_front = integer("max_front", max_front, 2)
    same_sizes({f"target {number}": target for number, target in enumerate(targets, start=1)})
    sums = np.zeros((1, len(targets)))
    indices = np.zeros((1, 0), dtype=np.int64)
    epsilon = np.zeros(len(targets))
    for unit in range(len(targets[0].tables)):
        table = np.stack([target.tables[unit] for target in targets], axis=1)
        kept = undominated(table)
        sums, indices = _extended(sums, indices, table[kept], kept)
        if len(sums) > max_front:
            sums, indices, lost = _thinned(sums, indices, max_front)
            epsilon += lost
    values = np.stack([target.totals(indices) for target in targets], axis=1)
    best = undominated(values)
    order = best[np.lexsort((*indices[best].T[::-1], *(-values[best].T[::-1])))]
    return Front(indices[order], values[order], epsilon)


def _extended(sums: FloatArray, indices: IntArray, table: FloatArray, kept: IntArray) -> tuple[FloatArray, IntArray]:
    """The front of all sums of a partial sum and a candidate."""
    step = max(1, CHUNK // len(table))
    best, parents, children = np.zeros((0, sums.shape[1])), np.zeros(0, np.int64), np.zeros(0, np.int64)
    for start in range(0, len(sums), step):
        part = (sums[start : start + step, None, :] + table[None]).reshape(-1, sums.shape[1])
        kept_rows = undominated(part)
        best = np.concatenate([best, part[kept_rows]])
        parents = np.concatenate([parents, start + kept_rows // len(table)])
        children = np.concatenate([children, kept_rows % len(table)])
        if start:
            alive = undominated(best)
            best, parents, children = best[alive], parents[alive], children[alive]
    return best, np.column_stack([indices[parents], kept[children]])


def _thinned(sums: FloatArray, indices: IntArray, most: int) -> tuple[FloatArray, IntArray, FloatArray]:
    """One partial sum in each cell of a grid, and the size of its cells."""
    low, span = sums.min(axis=0), np.maximum(np.ptp(sums, axis=0), 1e-300)
    cells = 2 * most
    while True:
        cell = span / cells
        _, first = np.unique(np.floor((sums - low) / cell), axis=0, return_index=True)
        if len(first) <= most or cells == 1:
            return sums[first], indices[first], cell
        cells = max(1, int(cells / 1.25))


def hypervolume(values: ArrayLike, reference: ArrayLike) -> float:
    """The volume that points dominate above a reference point; points are maximised.

    Args:
        values: ``(n, 2)`` or ``(n, 3)``; points that do not exceed the reference in every target add nothing.
        reference: ``(2,)`` or ``(3,)``.

    Raises:
        ConfigError: Another number of targets.

    Source: E. Zitzler and L. Thiele, "Multiobjective optimization using evolutionary algorithms" (PPSN 1998); three
    targets by sweeping the third.
    """
    points, corner = np.asarray(values, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] not in (2, 3) or corner.shape != (points.shape[1],):
        raise ConfigError(
            f"hypervolume: given {points.shape} and {corner.shape}, accepted: (n, 2), (2,) or (n, 3), (3,)"
        )
    points = points[(points > corner).all(axis=1)] - corner
    if points.shape[1] == 2:
        return _area(points)
    levels = np.unique(points[:, 2])
    slices = [_area(points[points[:, 2] >= level, :2]) for level in levels]
    return float(np.dot(slices, np.diff(levels, prepend=0.0)))


def _area(points: FloatArray) -> float:
    """Area that points dominate above the origin."""
    if not len(points):
        return 0.0
    front = points[undominated(points)]
    front = front[np.argsort(-front[:, 0])]
    return float(np.dot(front[:, 0], np.diff(front[:, 1], prepend=0.0)))
