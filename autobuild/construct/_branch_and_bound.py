"""The k best feasible assemblies by branch and bound, breadth first over the units, with Lagrangian bounds.

At the multipliers of the linear relaxation an assembly's gap to the Lagrangian bound is a sum of losses and of priced
slack, none of them negative (see :class:`~autobuild.construct._relaxation.Relaxation`). So whatever lies within a
narrow band below the bound is made of candidates with small losses. Partial assemblies that cannot end within the band,
by the bounds at several multipliers, are dropped. Of hundreds of units most have only their best candidate within the
band, and are no choice at all. As soon as that is no more work than one unit more, the partial assemblies are joined
with those of all units still missing, sorted by what lets fewest pairs through (as with the two lists of Horowitz and
Sahni, 1974): two limits close to each other leave few of many. Bands are widened until the k best lie in one, which
proves them.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from autobuild._typing import FloatArray, IntArray
from autobuild.construct._relaxation import TOLERANCE, Relaxation

CHUNK = 1 << 18  # partial assemblies extended at once
HELD = 1 << 21  # partial assemblies held at once, of each unit: about 200 MB
JOINED = 1 << 12  # partial assemblies joined at once
REST = 1 << 18  # assemblies of the units still missing, at most, to join with
SAMPLE = 512  # partial assemblies of either side that tell about how many pairs are to be looked at
CACHED = 1 << 13  # partial assemblies bounded at once, at all multipliers: fits the caches
FACTORS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.1, 1.25, 1.5, 2.0, 4.0)  # other multipliers of one limit
COMMON = (0.0, 0.5, 0.8, 1.25, 2.0)  # other multipliers of all limits
BEAM = 200  # partial assemblies kept after each unit where the search came to nothing
BINS = 256
FIRST, GROWTH = 1e5, 16.0  # assemblies (feasible or not) in the first band, and how many times more in the next


@dataclass(frozen=True, eq=False)
class Partial:
    """Assemblies of the first units: losses ``(n,)``, usages ``(limits, n)``, places in ``kept`` ``(n, units)``."""

    losses: FloatArray
    usages: FloatArray
    places: IntArray

    def take(self, rows: slice) -> Partial:
        """Some of them."""
        return Partial(self.losses[rows], self.usages[:, rows], self.places[rows])


@dataclass(frozen=True, eq=False)
class Unit:
    """The candidates of a unit that an assembly within the band may have, least loss first.

    Attributes:
        losses: Ascending, ``(candidates,)``.
        usages: Shape ``(limits, candidates)``.
        shifted: The least losses of all units after this one at other multipliers, for each shift, ``(shifts,)``.
        least: The least usages of all units after this one, ``(limits,)``.
    """

    losses: FloatArray
    usages: FloatArray
    shifted: FloatArray
    least: FloatArray


class BranchAndBound:
    """One search.

    Args:
        problem: The relaxed problem.
        k: How many assemblies are wanted.
        max_work: How many assemblies, partial ones included, are looked at, at most: an end that does not depend on the
            machine.
        deadline: When to stop, on the clock of ``time.monotonic``.

    Attributes:
        places: The best assemblies found, as places in ``Relaxation.kept``, least gap first, ``(n, units)``; with those
            that only rounding may part from the k-th.
        gaps: Their gaps to the bound, in the scale of the relaxation, ``(n,)``; rounded.
        proven: Every feasible assembly with a smaller gap is known.
        complete: Whether the k best are among those found for certain (or all there are, where fewer).
    """

    def __init__(self, problem: Relaxation, k: int, max_work: int, deadline: float) -> None:
        self.problem, self.k, self.work_left, self.deadline = problem, k, max_work, deadline
        self.places, self.gaps = np.zeros((0, len(problem.kept)), dtype=np.int64), np.zeros(0)
        self.kth = np.inf  # no assembly with a larger gap is wanted
        self.proven, self.complete = 0.0, False
        spread = [
            float(problem.prices @ usage.max(axis=1)) + 1e-3 * float(usage.max(initial=0.0)) for usage in problem.usages
        ]
        # Coarse units first: what they leave over, the fine ones must be able to fill.
        self.free: list[int] = []
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
        """Widen the band until the k best are in it, or time or work ends."""
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
        if not self._more(high, wanted):
            return high
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (low, middle) if self._more(middle, wanted) else (middle, high)
        return high

    def _more(self, width: float, wanted: float) -> bool:
        """Whether more assemblies than wanted have losses within the width, about: histograms of units, convolved."""
        histogram = np.zeros(BINS + 1)
        histogram[0] = 1.0
        for table in self.losses:
            losses = table[: np.searchsorted(table, width, side="right")]
            if losses.size > 1:
                bins, counts = np.unique((losses / max(width, 1e-300) * BINS).astype(np.int64), return_counts=True)
                parts = [(histogram[: BINS + 1 - bin], count, bin) for bin, count in zip(bins, counts, strict=True)]
                histogram = np.zeros(BINS + 1)
                for part, count, bin in parts:
                    histogram[bin:] += count * part
                if histogram.sum() > wanted:  # a further unit only adds
                    return True
        return False

    def _search(self, band: float, beam: int | None = None) -> bool:
        """Find the assemblies whose gap is within the band; False where time or work ends before.

        With ``beam``, only so many partial assemblies with the least bounds are kept after each unit.
        """
        before = self.places, self.gaps
        self.places, self.gaps = self.places[:0], self.gaps[:0]
        units: list[Unit] = []
        self.free = []  # units with a choice within the band, in order
        shifted, least = np.zeros(len(self.shifts)), np.zeros(self.problem.room.size)
        fixed = np.zeros_like(least)
        for number in reversed(self.order):
            size = int(np.searchsorted(self.losses[number], band, side="right"))
            losses, usages = self.losses[number][:size], self.usages[number][:, :size]
            if size == 1 and units:
                fixed += usages[:, 0]
                continue
            self.free.append(number)
            units.append(Unit(losses, usages, shifted, least))
            shifted = shifted + (losses + self.shifts @ usages).min(axis=1)
            least = least + usages.min(axis=1)
        self.free.reverse()
        units.reverse()
        start = Partial(np.zeros(1), fixed[:, None], np.zeros((1, 0), dtype=np.int32))
        if self._complete(start, units, band, beam):
            return True
        places = np.concatenate([self.places, before[0]])  # what was found before may be missing now
        self.places, first = np.unique(places, axis=0, return_index=True)
        self.gaps = np.concatenate([self.gaps, before[1]])[first]
        return False

    def _complete(self, part: Partial, missing: list[Unit], band: float, beam: int | None) -> bool:
        """Add the missing units, some partial assemblies at a time; False: time or work ended.

        Args:
            part: Partial assemblies.
            missing: The missing units, in order.
            band: The greatest gap.
            beam: As of :meth:`_search`.
        """
        while (done := self._join(part, missing, band, beam)) is None:
            children = np.cumsum(np.searchsorted(missing[0].losses, band - part.losses, side="right"))
            ends = np.searchsorted(children, np.arange(HELD, children[-1], HELD))
            pieces = list(itertools.pairwise([0, *np.unique(ends[ends > 0]), part.losses.size]))
            for first, last in pieces[:-1]:
                grown = self._extend(part.take(slice(first, last)), missing, band, beam)
                if grown is None or not self._complete(grown, missing[1:], band, beam):
                    return False
            grown = self._extend(part.take(slice(*pieces[-1])), missing, band, beam)
            if grown is None:
                return False
            part, missing = grown, missing[1:]
        return done

    def _join(self, part: Partial, missing: list[Unit], band: float, beam: int | None) -> bool | None:
        """Complete all partial assemblies at once.

        Args:
            part: Partial assemblies.
            missing: The units still missing.
            band: The greatest gap.
            beam: As of :meth:`_search`.

        Returns:
            False where time or work ended before; None where one unit more is less work, and nothing was done.
        """
        if not part.losses.size:
            return True
        if len(missing) > 1 and math.prod(unit.losses.size for unit in missing) > REST:
            return None
        rest = _all(missing)
        columns, problem = np.vstack([rest.usages, rest.losses]), self.problem
        some = (
            slice(None, None, max(1, part.losses.size // SAMPLE)),
            slice(None, None, max(1, rest.losses.size // SAMPLE)),
        )
        low, high = (window[:, some[0], None] for window in self._windows(part, min(band, self.kth + TOLERANCE)))
        shares = ((columns[:, None, some[1]] >= low) & (columns[:, None, some[1]] <= high)).mean(axis=(1, 2))
        column = int(np.argmin(shares))
        children = int(np.searchsorted(missing[0].losses, band - part.losses, side="right").sum())
        if len(missing) > 1 and shares[column] * part.losses.size * rest.losses.size > children:
            return None
        order = np.argsort(columns[column], kind="stable")
        values = columns[column][order]
        for start in range(0, part.losses.size, JOINED):
            cut = min(band, self.kth + TOLERANCE)
            some_part = part.take(slice(start, start + JOINED))
            low, high = self._windows(some_part, cut)
            first = np.searchsorted(values, low[column])
            count = np.maximum(np.searchsorted(values, high[column], side="right") - first, 0)
            for parents, numbers in _pairs(count):
                others = order[first[parents] + numbers]
                usages = some_part.usages[:, parents] + rest.usages[:, others]
                losses = some_part.losses[parents] + rest.losses[others]
                slack = problem.room[:, None] - usages
                fits = np.flatnonzero((losses + problem.prices @ slack <= cut) & (slack >= -TOLERANCE).all(axis=0))
                places = np.hstack([some_part.places[parents[fits]], rest.places[others[fits]]])
                self._add(losses[fits], usages[:, fits], places)
                if not beam and self._ended(losses.size):
                    return False
        return True

    def _ended(self, work: int) -> bool:
        self.work_left -= work
        return self.work_left < 0 or time.monotonic() > self.deadline

    def _windows(self, part: Partial, band: float) -> tuple[FloatArray, FloatArray]:
        """Between what the usages and the losses of all other units must lie, twice ``(limits + 1, n)``."""
        left = self.problem.room[:, None] - part.usages
        pay = np.maximum(band - part.losses, 0.0)  # what slack may cost
        with np.errstate(divide="ignore", invalid="ignore"):
            slack = np.fmin(pay / self.problem.prices[:, None], self.problem.widest[:, None])
        low = np.vstack([left - slack, np.zeros(pay.size)])
        return low - TOLERANCE, np.vstack([left, pay]) + TOLERANCE

    def _extend(self, part: Partial, missing: list[Unit], band: float, beam: int | None) -> Partial | None:
        """Add the first missing unit: partial assemblies that some completion may bring within the band.

        Arguments as of :meth:`_complete`; None: time or work ended.
        """
        unit = missing[0]
        parts = [Partial(part.losses[:0], part.usages[:, :0], np.zeros((0, part.places.shape[1] + 1), dtype=np.int32))]
        keys = [np.zeros(0)]
        children = np.searchsorted(unit.losses, band - part.losses, side="right")
        for parents, numbers in _pairs(children):
            usages = part.usages[:, parents] + unit.usages[:, numbers]
            losses = part.losses[parents] + unit.losses[numbers]
            bounds = self._bounds(losses, usages, unit.shifted, unit.least)
            alive = np.flatnonzero(bounds <= band)
            places = np.column_stack([part.places[parents[alive]], numbers[alive].astype(np.int32)])
            parts.append(Partial(losses[alive], usages[:, alive], places))
            keys.append(bounds[alive] if beam else losses[alive])
            if not beam and self._ended(losses.size):
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
        places = np.tile(np.array([sort[0] for sort in self.sorts], dtype=np.int64), (len(ordered), 1))
        for column, unit in enumerate(self.free):
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


def _all(units: list[Unit]) -> Partial:
    """All assemblies of some units."""
    losses, usages = units[0].losses, units[0].usages
    for unit in units[1:]:
        losses = np.add.outer(losses, unit.losses).ravel()
        usages = (usages[:, :, None] + unit.usages[:, None]).reshape(len(usages), losses.size)
    places = np.indices([unit.losses.size for unit in units], dtype=np.int64).reshape(len(units), losses.size)
    return Partial(losses, usages, places.T)


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
