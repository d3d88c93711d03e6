"""Numbers of architectures that are sums over units, stored as one table of candidate values per unit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from autobuild._typing import FloatArray, IntArray
from autobuild.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Additive:
    """An additive score or cost: ``constant + sum over units u of tables[u][index of the candidate in u]``.

    Args:
        constant: Value added for every architecture.
        tables: For each unit the values of its candidates by index; finite numbers. Shape ``(unit.size,)``.

    Raises:
        ConfigError: There is no unit, a unit is empty, or a value is not finite; the message names the unit and the
            candidate.
    """

    constant: float
    tables: tuple[FloatArray, ...]

    def __post_init__(self) -> None:
        if not math.isfinite(self.constant):
            raise ConfigError(f"additive tables: the constant is {self.constant!r}, accepted: a finite number")
        tables = tuple(np.array(table, dtype=np.float64) for table in self.tables)
        if not tables:
            raise ConfigError("additive tables: given no unit, accepted: one table per unit, at least one")
        for unit, table in enumerate(tables):
            if table.ndim != 1 or table.size == 0:
                raise ConfigError(f"table of unit {unit}: shape {table.shape}, accepted: (candidates,), at least one")
            bad = np.flatnonzero(~np.isfinite(table))
            if bad.size:
                raise ConfigError(
                    f"table of unit {unit}: candidate {bad[0]} has {table[bad[0]]} ({bad.size} such in all), "
                    "accepted: finite numbers"
                )
            table.setflags(write=False)
        object.__setattr__(self, "tables", tables)

    def __repr__(self) -> str:
        return f"Additive({self.constant:g} + {' + '.join(f'[{table.size:,}]' for table in self.tables)})"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of candidates of every unit."""
        return tuple(table.size for table in self.tables)

    def totals(self, indices: ArrayLike) -> FloatArray:
        """Values of architectures from their candidate indices, correctly rounded. Shapes: ``(n, units) -> (n,)``."""
        rows = np.asarray(indices, dtype=np.int64).reshape(-1, len(self.tables))
        columns = [table[rows[:, unit]].tolist() for unit, table in enumerate(self.tables)]
        return np.array([math.fsum((self.constant, *row)) for row in zip(*columns, strict=True)], dtype=np.float64)

    @property
    def least(self) -> float:
        """Smallest value of any architecture."""
        return math.fsum((self.constant, *(float(table.min()) for table in self.tables)))

    @property
    def greatest(self) -> float:
        """Largest value of any architecture."""
        return math.fsum((self.constant, *(float(table.max()) for table in self.tables)))

    def scaled(self, factor: float) -> Additive:
        """Multiply all values by ``factor``."""
        return Additive(factor * self.constant, tuple(factor * table for table in self.tables))


@dataclass(frozen=True, eq=False)
class Bounds:
    """Lower and upper bounds of a number of architectures; both bounds are sums over units.

    Args:
        lower: Lower bound for every architecture.
        upper: Upper bound for every architecture; the same object as ``lower`` if the sum is the exact number.

    Raises:
        ConfigError: The two sums have different units.
    """

    lower: Additive
    upper: Additive

    def __post_init__(self) -> None:
        same_sizes({"lower": self.lower, "upper": self.upper})

    @property
    def exact(self) -> bool:
        """Whether the bounds are equal, so that the sum is the exact number."""
        return self.lower is self.upper

    def scaled(self, factor: float) -> Bounds:
        """Bounds of the number times ``factor``, which may be negative."""
        lower = self.lower.scaled(factor)
        upper = lower if self.exact else self.upper.scaled(factor)
        return Bounds(lower, upper) if factor >= 0 else Bounds(upper, lower)

    def likely(self, indices: ArrayLike, values: ArrayLike) -> tuple[Additive, float]:
        """Fit the sum between the two bounds that is nearest to known values, by least squares.

        The sum is ``lower + share * (upper - lower)``, with one share from 0 to 1 for the constant and for each unit.

        Args:
            indices: Candidate indices of the known architectures. Shape ``(n, units)``.
            values: Their numbers; NaN is left out. Shape ``(n,)``.

        Returns:
            The sum, and the standard deviation of its errors on the known architectures.
        """
        from scipy.optimize import lsq_linear

        if self.exact:
            return self.lower, 0.0
        known = np.asarray(values, dtype=np.float64)
        there = np.isfinite(known)
        rows = np.asarray(indices, dtype=np.int64).reshape(len(known), -1)[there]
        widths = [up - low for up, low in zip(self.upper.tables, self.lower.tables, strict=True)]
        gap = self.upper.constant - self.lower.constant
        columns = [np.full(len(rows), gap), *(width[rows[:, unit]] for unit, width in enumerate(widths))]
        above = known[there] - self.lower.totals(rows)
        shares = np.full(len(columns), 0.5)
        if len(rows):
            scale = float(np.abs(columns).max()) or 1.0
            shares = np.clip(lsq_linear(np.stack(columns, axis=1) / scale, above / scale, bounds=(0, 1)).x, 0, 1)
        left = above - shares @ np.array(columns)
        tables = tuple(
            low + share * width for low, width, share in zip(self.lower.tables, widths, shares[1:], strict=True)
        )
        off = float(np.sqrt((left**2).sum() / max(len(left) - len(shares), 1))) if len(left) else 0.0
        return Additive(self.lower.constant + float(shares[0]) * gap, tables), off


def bounded_sum(terms: Sequence[tuple[float, Bounds]], constant: float = 0.0) -> Bounds:
    """Bounds of ``constant + sum of weight * number``.

    Raises:
        ConfigError: As for :func:`weighted_sum`.
    """
    scaled = [bounds.scaled(weight) for weight, bounds in terms]
    lower = weighted_sum([(1.0, bounds.lower) for bounds in scaled], constant)
    if all(bounds.exact for bounds in scaled):
        return Bounds(lower, lower)
    return Bounds(lower, weighted_sum([(1.0, bounds.upper) for bounds in scaled], constant))


def weighted_sum(terms: Sequence[tuple[float, Additive]], constant: float = 0.0) -> Additive:
    """Compute ``constant + sum of weight * additive``, which is additive again.

    Raises:
        ConfigError: There is no term, or the terms have different units.
    """
    if not terms:
        raise ConfigError("a weighted sum needs at least one additive number")
    same_sizes({str(number): term for number, (_, term) in enumerate(terms)})
    if len(terms) == 1 and terms[0][0] == 1 and constant == 0:
        return terms[0][1]
    total = math.fsum((constant, *(weight * term.constant for weight, term in terms)))
    units = range(len(terms[0][1].tables))
    tables = tuple(np.sum([weight * term.tables[unit] for weight, term in terms], axis=0) for unit in units)
    return Additive(total, tables)


def same_sizes(named: Mapping[str, Additive]) -> None:
    """Check that additive numbers have units of the same sizes.

    Raises:
        ConfigError: They have not; the message names one that differs.
    """
    first: tuple[str, Additive] | None = None
    for name, item in named.items():
        if first is None:
            first = (name, item)
        elif item.sizes != first[1].sizes:
            raise ConfigError(
                f"tables of {name!r} are for units of {item.sizes} candidates, those of {first[0]!r} "
                f"for {first[1].sizes}; accepted: the same units"
            )


def best_places(scores: FloatArray, count: int) -> IntArray:
    """Places of at least ``count`` of the largest scores, in descending order; equal ones in the order of places."""
    if count >= len(scores):
        return np.argsort(-scores, kind="stable")
    least = -np.partition(-scores, count - 1)[count - 1]
    chosen = np.flatnonzero(scores >= least)
    return chosen[np.argsort(-scores[chosen], kind="stable")]
