"""The exact k best assemblies of one candidate per unit by summed score, found best-first and never by the product."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from autobuild._typing import FloatArray
from autobuild.errors import ConfigError
from autobuild.spaces.additive import best_places

Assembly = tuple[float, tuple[int, ...]]

FIRST = 1 << 12  # candidates of a unit that are put in order at first


def k_best(scores: Sequence[NDArray[np.floating]], k: int | None = None) -> Iterator[Assembly]:
    """Assemblies in descending order of their summed score, lazily: one candidate of every unit each.

    The order is that of the exact sums, without rounding; assemblies whose sums are exactly equal come in the
    lexicographic order of their candidate indices, first unit first. It depends on nothing but ``scores``, and is the
    order in which sorting the whole product would put them. Sums that differ by less than rounding shows are still told
    apart, so among equal *returned* sums the one that is truly larger comes first.

    Args:
        scores: For each unit the scores of its candidates, shape (unit size,), finite. At least one unit and one
            candidate in each.
        k: How many assemblies at most; all of them where None. The search only ever looks at what was asked for: its
            memory is about k times the number of units.

    Yields:
        (sum, candidate index in each unit); the sum is correctly rounded (``math.fsum``).

    Raises:
        ConfigError: at the call: no unit, an empty unit, scores that are NaN or infinite, or ``k`` below 0.

    Source: best-first enumeration of the k largest sums; each assembly has one parent (its last lowered unit raised by
    one place), so that none is met twice (the rule of E. Lawler, "A procedure for computing the k best solutions to
    discrete optimization problems", Management Science 18(7), 1972).
    """
    if k is not None and (k != int(k) or k < 0):
        raise ConfigError(f"k: given {k!r}, accepted: a whole number from 0, or None for all")
    values = [_checked(number, unit) for number, unit in enumerate(scores)]
    if not values:
        raise ConfigError("scores: given no unit, accepted: one array of scores per unit, at least one")
    if not math.isfinite(sum(float(np.abs(unit).max()) for unit in values)):
        raise ConfigError("scores: their sum over the units is beyond the range of floating point")
    return itertools.islice(_enumerate(values), None if k is None else int(k))


def _enumerate(values: list[FloatArray]) -> Iterator[Assembly]:
    exponents = [np.frexp(unit) for unit in values]
    lowest = min(int(exponent[mantissa != 0].min(initial=1024)) for mantissa, exponent in exponents)
    orders = [_Order(unit, lowest) for unit in values]
    units = range(len(values))
    # Heap entries: (exact sum below the best one, candidate indices, places, first unit that may still be lowered).
    # An assembly's parent has a larger sum, or an equal one and smaller indices; so it always leaves the heap first,
    # and the order of the heap is the order of the whole product.
    heap = [(0, tuple(order.indices[0] for order in orders), (0,) * len(values), 0)]
    while heap:
        below, indices, places, first = heapq.heappop(heap)
        yield math.fsum([float(values[u][indices[u]]) for u in units]), indices
        for u in range(first, len(values)):
            place = places[u]
            if orders[u].reaches(place + 1):
                heapq.heappush(
                    heap,
                    (
                        below + orders[u].step(place),
                        (*indices[:u], orders[u].indices[place + 1], *indices[u + 1 :]),
                        (*places[:u], place + 1, *places[u + 1 :]),
                        u,
                    ),
                )


class _Order:
    """The candidates of a unit in descending order of their scores, as many as were needed so far.

    Args:
        scores: Shape ``(candidates,)``.
        lowest: Smallest exponent of all scores: they are whole multiples of one power of two, whose sums are exact.
    """

    def __init__(self, scores: FloatArray, lowest: int) -> None:
        self.scores, self.lowest = scores, lowest
        self.indices: list[int] = []
        self._whole: list[int] = []
        self._extend(FIRST)

    def reaches(self, place: int) -> bool:
        """Whether there is a candidate at this place of the order."""
        if place >= len(self.indices) < len(self.scores):
            self._extend(4 * len(self.indices))
        return place < len(self.indices)

    def step(self, place: int) -> int:
        """The exact loss from a place to the next; never negative."""
        return self._whole[place] - self._whole[place + 1]

    def _extend(self, count: int) -> None:
        order = best_places(self.scores, count)
        mantissa, exponent = np.frexp(self.scores[order])
        digits = np.ldexp(mantissa, 53).astype(np.int64).tolist()
        shifts = np.maximum(exponent.astype(np.int64) - self.lowest, 0).tolist()
        self.indices = order.tolist()
        self._whole = [digit << shift for digit, shift in zip(digits, shifts, strict=True)]


def _checked(number: int, unit: NDArray[np.floating]) -> FloatArray:
    array = np.asarray(unit, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ConfigError(f"scores of unit {number}: given shape {array.shape}, accepted: (candidates,), at least one")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise ConfigError(
            f"scores of unit {number}: candidate {bad[0]} has {array[bad[0]]} ({bad.size} such in all), "
            "accepted: finite numbers"
        )
    return array
