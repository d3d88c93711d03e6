"""Every feasible assembly whose score lies within a band below the Lagrangian bound, by meeting in the middle.

At the prices of the linear relaxation an assembly's gap to the bound is a sum of losses and of priced slack, none of
them negative (see :class:`~autobuild.construct.instance.Instance`). So whatever lies within a narrow band is made of
candidates with small losses and leaves little slack in every limit with a price. Both halves of the units are
enumerated, pruned by the same bound at other prices, and joined where they fill each other's room: about the square
root of the work of going through the assemblies of the band. Bands are widened until the k best lie in one; what was
searched is then proven, whatever was not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autobuild.construct.instance import TOLERANCE, Instance, IntArray
from autobuild.spaces.additive import FloatArray

Bools = NDArray[np.bool_]

CHUNK = 1 << 18  # rows handled at once
TURNED = 1 << 13  # rows bounded at once, at all turns of the prices: fits the caches
CHEAP = 30_000_000  # rows that an extension of the left half may look at
DIVE = 100_000  # rows of either half that are joined first where there are too many
FACTORS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.1, 1.25, 1.5, 2.0, 4.0)  # other prices of one limit
COMMON = (0.0, 0.5, 0.8, 1.25, 2.0)  # other prices of all limits
BINS = 1024
FIRST, GROWTH = 1e5, 16.0  # assemblies (feasible or not) in the first band, and how many times more in the next


@dataclass(frozen=True, eq=False)
class Found:
    """The best assemblies found.

    Attributes:
        places: Places in ``Instance.kept``, least gap first, ``(n, units)``.
        gaps: Their gaps to the bound, in the instance's scale, ``(n,)``; rounded.
        proven: Every feasible assembly with a smaller gap was looked at.
        complete: Whether the k best are among those found for certain (or all there are, where fewer).
        rows: How many partial assemblies were looked at.
    """

    places: IntArray
    gaps: FloatArray
    proven: float
    complete: bool
    rows: int


@dataclass(frozen=True, eq=False)
class Half:
    """Partial assemblies over some of the units: losses ``(n,)``, usages ``(rows, n)``, places ``(n, units)``."""

    losses: FloatArray
    usages: FloatArray
    places: IntArray

    def take(self, rows: IntArray | slice) -> Half:
        """Some of them."""
        return Half(self.losses[rows], self.usages[:, rows], self.places[rows])


class Bands:
    """One search; it keeps count of its rows and of the time.

    Args:
        problem: The instance.
        k: How many assemblies are wanted.
        max_rows: How many partial assemblies either half may hold, which bounds the memory.
        deadline: When to stop, on the clock of ``time.monotonic``.
    """

    def __init__(self, problem: Instance, k: int, max_rows: int, deadline: float) -> None:
        self.problem, self.k, self.max_rows, self.deadline = problem, k, max_rows, deadline
        self.rows, self.cut_short = 0, False
        self.proven = 0.0  # every assembly with a smaller gap has been looked at
        self.most, self.halves_by, self.diving = max_rows, deadline, False
        spread = [
            float(problem.prices @ usage.max(axis=1)) + 1e-3 * float(usage.max(initial=0.0)) for usage in problem.usages
        ]
        # Coarse units first: what they leave over, the fine ones must be able to fill.
        self.order = [int(unit) for unit in np.argsort(-np.array(spread), kind="stable")]
        sorts = [np.argsort(loss, kind="stable") for loss in problem.losses]
        self.sorts = sorts
        self.losses = [loss[s] for loss, s in zip(problem.losses, sorts, strict=True)]
        self.usages = [usage[:, s] for usage, s in zip(problem.usages, sorts, strict=True)]
        self.turns = _turns(problem.prices)
        self.pool = _Pool(problem, k)

    def run(self) -> Found:
        """Widen the band until the k best are in it, or time or memory ends."""
        greatest = self.problem.greatest_gap
        wanted = FIRST
        while True:
            band = min(max(self._width(wanted, greatest), self.proven * 1.01), self.pool.kth, greatest)
            self.pool.restart()
            self._search(band + TOLERANCE)
            if self.cut_short:
                break
            self.proven = band
            if self.pool.kth <= band + TOLERANCE or band >= greatest:
                return self._found(self.proven, True)
            found = self.pool.gaps.size
            wanted *= min(GROWTH, max(2.0, 1.5 * self.k / found)) if found else GROWTH
        return self._found(self.proven, self._settled())

    def _found(self, proven: float, complete: bool) -> Found:
        places, gaps = self.pool.sorted()
        return Found(places, gaps, proven, complete, self.rows)

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

    def _search(self, band: float) -> None:
        """Look at every assembly whose gap is within the band, or at good ones where there are too many."""
        now = time.monotonic()
        self.halves_by = now + (self.deadline - now) / 2  # so that there is time to join them
        self.most = self.max_rows
        left, right, units = self._halves(band)
        if not self.cut_short:
            self._join(left, right, units, band)
            return
        # Nothing is proven in this band any more: join the halves' best parts, giving more and more slack.
        self.proven = 0.0  # every assembly with a smaller gap has been looked at
        self.most, self.halves_by, self.diving = DIVE, self.deadline, True
        while time.monotonic() < self.deadline:
            left, right, units = self._halves(band)
            slack = band
            while time.monotonic() < self.deadline:
                slack *= 1.5
                self._join(left, right, units, slack)
                if self.pool.gaps.size >= self.k or slack > self.problem.greatest_gap:
                    break
            if self.most >= self.max_rows or self._settled():
                return
            self.most = min(4 * self.most, self.max_rows)

    def _halves(self, band: float) -> tuple[Half, Half, list[int]]:
        """Partial assemblies over the first and over the other units, and the units in the order of their places."""
        core = [int(np.searchsorted(loss, band, side="right")) for loss in self.losses]
        tables = list(zip(self.losses, self.usages, core, strict=True))
        turned = np.array([(loss[:n] + self.turns @ usage[:, :n]).min(axis=1) for loss, usage, n in tables])
        least = np.array([usage[:, :n].min(axis=1) for _, usage, n in tables])
        rows = self.problem.room.size
        nothing = Half(np.zeros(1), np.zeros((rows, 1)), np.zeros((1, 0), dtype=np.int32))
        left, right, first, last = nothing, nothing, 0, len(self.order)
        survive = 1.0  # share of the left half that its last extension left alive
        while first < last:
            work = self._work(left, self.order[first], band), self._work(right, self.order[last - 1], band)
            # Balanced halves are least work where the bound cannot prune, a long left half where it can.
            cheap = work[0] <= CHEAP and work[0] * survive <= self.most
            if work[0] <= work[1] or cheap:
                ahead = self.order[first + 1 :]
                left = self._extend(left, self.order[first], band, turned[ahead].sum(axis=0), least[ahead].sum(axis=0))
                survive = left.losses.size / max(work[0], 1)
                first += 1
            else:
                last -= 1
                ahead = self.order[:last]
                right = self._extend(right, self.order[last], band, turned[ahead].sum(axis=0), least[ahead].sum(axis=0))
        units = [*self.order[:first], *self.order[first:][::-1]]
        return left, right, units

    def _work(self, half: Half, unit: int, band: float) -> int:
        return int(self._children(half, unit, band).sum())

    def _children(self, half: Half, unit: int, band: float) -> IntArray:
        """How many candidates of the unit each partial assembly can take without its losses leaving the band."""
        return np.asarray(np.searchsorted(self.losses[unit], band - half.losses, side="right"))

    def _extend(self, half: Half, unit: int, band: float, turned: FloatArray, least: FloatArray) -> Half:
        """Partial assemblies over one unit more that some completion may bring within the band.

        Args:
            half: Partial assemblies.
            unit: The unit.
            band: The greatest gap.
            turned: Least turned losses of all units still missing, one for each turn of the prices, ``(turns,)``.
            least: Their least usages, ``(rows,)``.
        """
        rows, step = half.usages.shape[0], half.places.shape[1]
        parts = [Half(np.zeros(0), np.zeros((rows, 0)), np.zeros((0, step + 1), dtype=np.int32))]
        size = 0
        for parents, children in _pairs(self._children(half, unit, band)):
            self.rows += parents.size
            usages = half.usages[:, parents] + self.usages[unit][:, children]
            losses = half.losses[parents] + self.losses[unit][children]
            alive = self._alive(losses, usages, turned, least, band)
            places = np.column_stack([half.places[parents[alive]], children[alive].astype(np.int32)])
            parts.append(Half(losses[alive], usages[:, alive], places))
            size += places.shape[0]
            if size > self.most or time.monotonic() > self.halves_by:
                self.cut_short = True
                break
        grown = Half(
            np.concatenate([part.losses for part in parts]),
            np.concatenate([part.usages for part in parts], axis=1),
            np.concatenate([part.places for part in parts]),
        )
        return grown.take(np.argsort(grown.losses, kind="stable")[: self.most])

    def _alive(
        self, losses: FloatArray, usages: FloatArray, turned: FloatArray, floor: FloatArray, band: float
    ) -> Bools:
        """Which partial assemblies may still be completed: room for the least usages, and a bound within the band.

        The bound at other prices, ``prices + turn >= 0``, differs from that at the prices by what the turn makes of
        usages: ``gap >= loss + turned losses still to come - turn . (room - usage)``.
        """
        left = self.problem.room[:, None] - usages
        alive = np.asarray((left >= floor[:, None] - TOLERANCE).all(axis=0))
        for start in range(0, losses.size if not self.diving else 0, TURNED):
            part = slice(start, start + TURNED)
            alive[part] &= losses[part] + (turned[:, None] - self.turns @ left[:, part]).max(axis=0) <= band
        return alive

    def _settled(self) -> bool:
        """Whether k assemblies are known that nothing unseen can beat."""
        return self.pool.kth <= self.proven + TOLERANCE

    def _join(self, left: Half, right: Half, units: Sequence[int], band: float) -> None:
        """Put together what fits: usages within the room, slack no larger than the band pays for."""
        if not left.losses.size or not right.losses.size:
            return
        back, problem = np.argsort(units), self.problem
        for start in range(0, left.losses.size, CHUNK):
            part = left.take(slice(start, start + CHUNK))
            cut = min(self.pool.kth + TOLERANCE, band)
            room = problem.room[:, None] - part.usages
            index = _Index(right, room, part.losses, cut, problem)
            for one, other in index.pairs(room, part.losses, cut):
                self.rows += one.size
                slack = room[:, one] - right.usages[:, other]
                gaps = part.losses[one] + right.losses[other] + problem.prices @ slack
                fits = np.flatnonzero(
                    (gaps <= min(self.pool.kth + TOLERANCE, band)) & (slack >= -TOLERANCE).all(axis=0)
                )
                places = np.column_stack([part.places[one[fits]], right.places[other[fits]]])[:, back]
                for unit, order in enumerate(self.sorts):
                    places[:, unit] = order[places[:, unit]]
                self.pool.add(places, gaps[fits], np.asarray((slack[:, fits] < TOLERANCE).any(axis=0)))
                if time.monotonic() > self.deadline:
                    self.cut_short = True
                if self.cut_short and (not self.diving or self._settled() or time.monotonic() > self.deadline):
                    return


class _Pool:
    """The k best so far, and whatever rounding cannot tell from them."""

    def __init__(self, problem: Instance, k: int) -> None:
        self.problem, self.k = problem, k
        self.kth = np.inf  # no assembly with a larger gap is wanted
        self.places = np.zeros((0, len(problem.kept)), dtype=np.int64)
        self.gaps = np.zeros(0)
        self.before = (self.places, self.gaps)

    def restart(self) -> None:
        """A wider band is searched from its start: what was found is set aside, its k-th gap still holds."""
        self.before = (self.places, self.gaps)
        self.places, self.gaps = self.places[:0], self.gaps[:0]

    def add(self, places: IntArray, gaps: FloatArray, close: Bools) -> None:
        """Take assemblies; those that are close to a limit are decided by exact sums."""
        if close.any():
            rows = np.flatnonzero(close)
            indices = self.problem.indices(places[rows])
            right = np.ones(rows.size, dtype=bool)
            for row in self.problem.rows:
                right &= row.holds(indices)
            keep = ~close
            keep[rows[right]] = True
            places, gaps = places[keep], gaps[keep]
        self.places, self.gaps = np.concatenate([self.places, places]), np.concatenate([self.gaps, gaps])
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

    def sorted(self) -> tuple[IntArray, FloatArray]:
        """Distinct assemblies, least gap first; with those that only rounding may part from the k-th."""
        all_places = np.concatenate([self.places, self.before[0]])
        places, first = np.unique(all_places, axis=0, return_index=True)
        gaps = np.concatenate([self.gaps, self.before[1]])[first]
        near = gaps <= self.kth + TOLERANCE
        order = np.argsort(gaps[near], kind="stable")
        return places[near][order], gaps[near][order]


class _Index:
    """The right half, sorted so that partners of a left row are few runs: by a coarse column, then by a fine one.

    The columns are the two (of the usages and the loss) whose windows let fewest pairs through.
    """

    def __init__(self, right: Half, room: FloatArray, losses: FloatArray, cut: float, problem: Instance) -> None:
        self.problem = problem
        columns = np.vstack([right.usages, right.losses])
        low, high = self._windows(room, losses, cut)
        some = np.linspace(0, losses.size - 1, min(losses.size, 500)).astype(np.int64)
        passed = []
        for column, below, above in zip(columns, low[:, some], high[:, some], strict=True):
            values = np.sort(column)
            passed.append(float((np.searchsorted(values, above, "right") - np.searchsorted(values, below)).mean()))
        chosen = np.argsort(passed, kind="stable")
        self.coarse, self.fine = int(chosen[0]), int(chosen[1 % len(chosen)])
        coarse, fine = columns[self.coarse], columns[self.fine]
        self.start = float(coarse.min())
        width = float((high[self.coarse] - low[self.coarse]).max())
        self.bin = max(width, (float(coarse.max()) - self.start) / 1e5, TOLERANCE)
        self.lowest, self.highest = float(fine.min()), float(fine.max())
        self.stride = 2 * (self.highest - self.lowest) + 1.0
        keys = np.floor((coarse - self.start) / self.bin) * self.stride + (fine - self.lowest)
        self.order = np.argsort(keys, kind="stable")
        self.keys = keys[self.order]
        self.last = int(np.floor((float(coarse.max()) - self.start) / self.bin))

    def _windows(self, room: FloatArray, losses: FloatArray, cut: float) -> tuple[FloatArray, FloatArray]:
        """Between what a partner's usages and loss must lie. Shapes: ``(rows, n), (n,) -> twice (rows + 1, n)``."""
        pay = np.maximum(cut - losses, 0.0) + TOLERANCE
        prices = self.problem.prices[:, None]
        with np.errstate(divide="ignore"):
            slack = np.minimum(pay / prices, self.problem.widest[:, None] + TOLERANCE)
        low = np.vstack([np.maximum(room - slack, 0.0) - TOLERANCE, np.zeros((1, losses.size))])
        return low, np.vstack([room + TOLERANCE, pay])

    def pairs(self, room: FloatArray, losses: FloatArray, cut: float) -> Iterator[tuple[IntArray, IntArray]]:
        """Pairs of row numbers (left, right) that the two columns let through, in chunks."""
        low, high = self._windows(room, losses, cut)
        first = np.floor((low[self.coarse] - self.start) / self.bin)
        final = np.floor((high[self.coarse] - self.start) / self.bin)
        below = np.clip(low[self.fine] - self.lowest, -0.4, self.highest - self.lowest + 0.4)
        above = np.clip(high[self.fine] - self.lowest, -0.4, self.highest - self.lowest + 0.4)
        for step in range(3):
            at = first + step
            inside = (at <= final) & (at >= 0) & (at <= self.last) & (below <= above)
            begin = np.searchsorted(self.keys, at * self.stride + below)
            end = np.searchsorted(self.keys, at * self.stride + above, side="right")
            for one, number in _pairs(np.where(inside, np.maximum(end - begin, 0), 0)):
                yield one, self.order[begin[one] + number]


def _pairs(counts: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """All (parent, number) with ``number < counts[parent]``, in chunks of about ``CHUNK``."""
    ends = np.cumsum(counts)
    start, done = 0, 0
    while start < counts.size and ends[-1] > done:
        stop = max(start + 1, int(np.searchsorted(ends, done + CHUNK, side="right")))
        own = counts[start:stop]
        parents = np.repeat(np.arange(start, stop), own)
        numbers = np.arange(parents.size) - np.repeat(np.cumsum(own) - own, own)
        if parents.size:
            yield parents, numbers
        start, done = stop, int(ends[stop - 1])


def _turns(prices: FloatArray) -> FloatArray:
    """Differences to the prices, of other prices that are none negative, ``(turns, rows)``."""
    turns = [np.zeros(prices.size)]
    turns += [factor * prices - prices for factor in COMMON]
    for row in range(prices.size):
        for factor in FACTORS:
            turn = np.zeros(prices.size)
            turn[row] = (factor - 1) * prices[row]
            turns.append(turn)
        if prices[row] == 0:  # a limit without a price may still be what a partial assembly runs into
            for price in (0.01, 0.1, 1.0):
                turn = np.zeros(prices.size)
                turn[row] = price
                turns.append(turn)
    return np.unique(np.array(turns), axis=0)
