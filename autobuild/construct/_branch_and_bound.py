"""The k best feasible assemblies by branch and bound, breadth first over the units, with Lagrangian bounds.

At the multipliers of the linear relaxation an assembly's gap to the Lagrangian bound is a sum of losses and of priced
slack, none of them negative (see :class:`~autobuild.construct._relaxation.Relaxation`). So whatever lies within a
narrow band below the bound is made of candidates with small losses. Partial assemblies that cannot end within the band,
by the bounds at several multipliers, are dropped. Bands are widened until the k best lie in one, which proves them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from autobuild.construct._relaxation import TOLERANCE, Relaxation
from autobuild.construct.dominance import IntArray
from autobuild.spaces.additive import FloatArray

CHUNK = 1 << 18  # partial assemblies extended at once
CACHED = 1 << 13  # partial assemblies bounded at once, at all multipliers: fits the caches
FACTORS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.1, 1.25, 1.5, 2.0, 4.0)  # other multipliers of one limit
COMMON = (0.0, 0.5, 0.8, 1.25, 2.0)  # other multipliers of all limits
BEAM = 200  # partial assemblies kept after each unit where the search came to nothing
BINS = 1024
FIRST, GROWTH = 1e5, 16.0  # assemblies (feasible or not) in the first band, and how many times more in the next


@dataclass(frozen=True, eq=False)
class Partial:
    """Assemblies of the first units: losses ``(n,)``, usages ``(limits, n)``, places in ``kept`` ``(n, units)``."""

    losses: FloatArray
    usages: FloatArray
    places: IntArray


class BranchAndBound:
    """One search.

    Args:
        problem: The relaxed problem.
        k: How many assemblies are wanted.
        max_rows: How many partial assemblies are held at once, which bounds the memory.
        deadline: When to stop, on the clock of ``time.monotonic``.

    Attributes:
        places: The best assemblies found, as places in ``Relaxation.kept``, least gap first, ``(n, units)``; with those
            that only rounding may part from the k-th.
        gaps: Their gaps to the bound, in the scale of the relaxation, ``(n,)``; rounded.
        proven: Every feasible assembly with a smaller gap is known.
        complete: Whether the k best are among those found for certain (or all there are, where fewer).
    """

    def __init__(self, problem: Relaxation, k: int, max_rows: int, deadline: float) -> None:
        self.problem, self.k, self.max_rows, self.deadline = problem, k, max_rows, deadline
        self.places, self.gaps = np.zeros((0, len(problem.kept)), dtype=np.int64), np.zeros(0)
        self.kth = np.inf  # no assembly with a larger gap is wanted
        self.proven, self.complete = 0.0, False
        spread = [
            float(problem.prices @ usage.max(axis=1)) + 1e-3 * float(usage.max(initial=0.0)) for usage in problem.usages
        ]
        # Coarse units first: what they leave over, the fine ones must be able to fill.
        self.order = [int(unit) for unit in np.argsort(-np.array(spread), kind="stable")]
        self.sorts = [np.argsort(loss, kind="stable") for loss in problem.losses]
        self.losses = [loss[sort] for loss, sort in zip(problem.losses, self.sorts, strict=True)]
        self.usages = [usage[:, sort] for usage, sort in zip(problem.usages, self.sorts, strict=True)]
        self.shifts = _shifts(problem.prices)
        self._run()
        near = self.gaps <= self.kth + TOLERANCE
        self.places, self.gaps = self.places[near], self.gaps[near]
        order = np.lexsort((*self.places.T[::-1], self.gaps))
        self.places, self.gaps = self.places[order], self.gaps[order]

    def _run(self) -> None:
        """Widen the band until the k best are in it, or time or memory ends."""
        greatest, wanted = self.problem.greatest_gap, FIRST
        while True:
            band = min(max(self._width(wanted, greatest), self.proven * 1.01), self.kth, greatest)
            if not self._search(band + TOLERANCE):
                self.complete = self.kth <= self.proven + TOLERANCE
                break
            self.proven = band
            if self.kth <= band + TOLERANCE or band >= greatest:
                self.complete = True
                return
            count = self.gaps.size
            wanted *= min(GROWTH, max(2.0, 1.5 * self.k / count)) if count else GROWTH
        if not self.gaps.size:  # some assembly is better than none: a short beam search, whatever the time
            self._search(greatest + TOLERANCE, BEAM)

    def _width(self, wanted: float, greatest: float) -> float:
        """About how wide a band holds so many assemblies, by losses alone."""
        low, high = 0.0, greatest
        if self._count(high) <= wanted:
            return high
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (low, middle) if self._count(middle) > wanted else (middle, high)
        return high

    def _count(self, width: float) -> float:
        """About how many assemblies have losses within the width: histograms of the units, convolved."""
        histogram = np.zeros(BINS + 1)
        histogram[0] = 1.0
        for table in self.losses:
            losses = table[: np.searchsorted(table, width, side="right")]
            bins = np.minimum(losses / max(width, 1e-300) * BINS, BINS).astype(np.int64)
            histogram = np.convolve(histogram, np.bincount(bins, minlength=BINS + 1))[: BINS + 1]
        return float(histogram.sum())

    def _search(self, band: float, beam: int | None = None) -> bool:
        """Find the assemblies whose gap is within the band; False where time or memory ends before.

        With ``beam``, only so many partial assemblies with the least bounds are kept after each unit.
        """
        before = self.places, self.gaps
        self.places, self.gaps = self.places[:0], self.gaps[:0]
        tables = [
            (loss[: (n := int(np.searchsorted(loss, band, side="right")))], usage[:, :n])
            for loss, usage in zip(self.losses, self.usages, strict=True)
        ]
        shifted = np.array([(loss + self.shifts @ usage).min(axis=1) for loss, usage in tables])
        least = np.array([usage.min(axis=1) for _, usage in tables])
        part = Partial(np.zeros(1), np.zeros((self.problem.room.size, 1)), np.zeros((1, 0), dtype=np.int32))
        for depth, unit in enumerate(self.order):
            ahead = self.order[depth + 1 :]
            grown = self._extend(part, unit, band, shifted[ahead].sum(axis=0), least[ahead].sum(axis=0), beam)
            if grown is None:  # what was found before may be missing now
                places = np.concatenate([self.places, before[0]])
                self.places, first = np.unique(places, axis=0, return_index=True)
                self.gaps = np.concatenate([self.gaps, before[1]])[first]
                return False
            part = grown
        return True

    def _extend(
        self, part: Partial, unit: int, band: float, shifted: FloatArray, least: FloatArray, beam: int | None
    ) -> Partial | None:
        """Add a unit: partial assemblies that some completion may bring within the band; None: no time or memory left.

        Complete assemblies are taken into the result instead.

        Args:
            part: Partial assemblies.
            unit: The unit.
            band: The greatest gap.
            shifted: Least shifted losses of all units still missing, for each shift of the multipliers, ``(shifts,)``.
            least: Their least usages, ``(limits,)``.
            beam: As of :meth:`_search`.
        """
        complete = part.places.shape[1] + 1 == len(self.order)
        parts = [Partial(part.losses[:0], part.usages[:, :0], np.zeros((0, part.places.shape[1] + 1), dtype=np.int32))]
        keys, size = [np.zeros(0)], 0
        children = np.searchsorted(self.losses[unit], band - part.losses, side="right")
        for parents, numbers in _pairs(children):
            usages = part.usages[:, parents] + self.usages[unit][:, numbers]
            losses = part.losses[parents] + self.losses[unit][numbers]
            bounds = self._bounds(losses, usages, shifted, least)
            alive = np.flatnonzero(bounds <= (min(band, self.kth + TOLERANCE) if complete else band))
            places = np.column_stack([part.places[parents[alive]], numbers[alive].astype(np.int32)])
            if complete:
                self._add(losses[alive], usages[:, alive], places)
            else:
                parts.append(Partial(losses[alive], usages[:, alive], places))
                keys.append(bounds[alive] if beam else losses[alive])
                size += alive.size
            if not beam and (size > self.max_rows or time.monotonic() > self.deadline):
                return None
        order = np.argsort(np.concatenate(keys), kind="stable")[:beam]
        losses = np.concatenate([item.losses for item in parts])
        usages = np.concatenate([item.usages for item in parts], axis=1)
        return Partial(losses[order], usages[:, order], np.concatenate([item.places for item in parts])[order])

    def _bounds(self, losses: FloatArray, usages: FloatArray, shifted: FloatArray, floor: FloatArray) -> FloatArray:
        """The least gap that each partial assembly may end with; infinite where limits leave no room. Shape ``(n,)``.

        The bound at other multipliers, ``prices + shift >= 0``, differs from that at the prices by what the shift makes
        of usages: ``gap >= loss + shifted losses still to come - shift . (room - usage)``.
        """
        left = self.problem.room[:, None] - usages
        bounds = np.full(losses.size, np.inf)
        rows = np.flatnonzero((left >= floor[:, None] - TOLERANCE).all(axis=0))
        for start in range(0, rows.size, CACHED):
            part = rows[start : start + CACHED]
            bounds[part] = losses[part] + (shifted[:, None] - self.shifts @ left[:, part]).max(axis=0)
        return bounds

    def _add(self, losses: FloatArray, usages: FloatArray, ordered: IntArray) -> None:
        """Take complete assemblies; those that are close to a limit are decided by exact sums."""
        slack = self.problem.room[:, None] - usages
        gaps = losses + self.problem.prices @ slack
        places = np.empty(ordered.shape, dtype=np.int64)
        for column, unit in enumerate(self.order):
            places[:, unit] = self.sorts[unit][ordered[:, column]]
        close = np.flatnonzero((slack < TOLERANCE).any(axis=0))
        keep = np.ones(gaps.size, dtype=bool)
        if close.size:
            keep[close] = self.problem.feasible(self.problem.indices(places[close]))
        self.places = np.concatenate([self.places, places[keep]])
        self.gaps = np.concatenate([self.gaps, gaps[keep]])
        if self.gaps.size >= self.k:
            self.kth = min(self.kth, float(np.partition(self.gaps, self.k - 1)[self.k - 1]))
        if self.gaps.size > 2 * self.k + 1000:
            self._trim()

    def _trim(self) -> None:
        near = self.gaps <= self.kth + TOLERANCE
        self.places, self.gaps = self.places[near], self.gaps[near]
        if self.gaps.size > 2 * self.k + 100_000:  # nothing but ties: the first ones by candidate index
            order = np.lexsort((*self.places.T[::-1], np.round(self.gaps / TOLERANCE)))[: self.k + 50_000]
            self.places, self.gaps = self.places[order], self.gaps[order]


def _pairs(counts: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """All (parent, number) with ``number < counts[parent]``, in chunks of about ``CHUNK``."""
    ends = np.cumsum(counts)
    start, done = 0, 0
    while start < counts.size and ends[-1] > done:
        stop = max(start + 1, int(np.searchsorted(ends, done + CHUNK, side="right")))
        some = counts[start:stop]
        parents = np.repeat(np.arange(start, stop), some)
        numbers = np.arange(parents.size) - np.repeat(np.cumsum(some) - some, some)
        if parents.size:
            yield parents, numbers
        start, done = stop, int(ends[stop - 1])


def _shifts(prices: FloatArray) -> FloatArray:
    """Differences between other multipliers, none of them negative, and the prices, ``(shifts, limits)``."""
    shifts = [np.zeros(prices.size), *(factor * prices - prices for factor in COMMON)]
    for row, unit in enumerate(np.eye(prices.size)):
        shifts += [(factor - 1) * prices[row] * unit for factor in FACTORS]
        if prices[row] == 0:  # a limit without a price may still be what a partial assembly runs into
            shifts += [price * unit for price in (0.01, 0.1, 1.0)]
    return np.unique(np.array(shifts), axis=0)
