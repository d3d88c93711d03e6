"""A constrained problem in plain numbers: candidates' losses and usages, scaled, with the best multipliers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autobuild.construct.dominance import undominated
from autobuild.errors import ConfigError
from autobuild.expressions.limits import Limit
from autobuild.spaces.additive import Additive, FloatArray, same_sizes

IntArray = NDArray[np.int64]
TOLERANCE = 1e-9  # of the range of a sum: what rounding may do to it; whatever is nearer is decided exactly


@dataclass(frozen=True, eq=False)
class Row:
    """One limit as ``usage <= bound`` (``<`` where strict); limits from below are turned round.

    Attributes:
        limit: The limit it stands for.
        usage: Its left side, a sum over units.
        bound: Its right side.
    """

    limit: Limit
    usage: Additive
    bound: float

    @classmethod
    def of(cls, limit: Limit, metrics: Mapping[str, Additive]) -> Row:
        """Look up a limit's tables (errors as in :meth:`Limit.additive`)."""
        usage = limit.additive(metrics)
        return cls(limit, usage, limit.bound) if limit.sense == "<=" else cls(limit, usage.scaled(-1), -limit.bound)

    def holds(self, indices: IntArray) -> NDArray[np.bool_]:
        """Which assemblies satisfy it, by correctly rounded sums. Shapes: ``(n, units) -> (n,)``."""
        totals = self.usage.totals(indices)
        return np.asarray(totals < self.bound if self.limit.strict else totals <= self.bound)

    @property
    def range(self) -> float:
        """Greatest less least usage of any assembly."""
        return self.usage.greatest - self.usage.least


def rows_of(score: Additive, limits: Sequence[Limit], metrics: Mapping[str, Additive]) -> list[Row]:
    """The limits as rows, checked to be about the same units as the score.

    Raises:
        ConfigError: A limit that is not linear, a metric without tables, or tables for other units.
    """
    rows = [Row.of(limit, metrics) for limit in limits]
    same_sizes({"score": score, **{row.limit.text: row.usage for row in rows}})
    return rows


@dataclass(frozen=True, eq=False)
class Instance:
    """What the search works on. Everything is relative to the Lagrangian bound of the multipliers:

    ``score = bound - scale * (sum of losses + prices . (room - sum of usages))``, so that an assembly's *gap* to the
    bound is a sum of parts that are never negative, as long as the assembly is feasible.

    Attributes:
        score: The score.
        rows: The limits that some assembly breaks.
        kept: For each unit, the candidates that take part, (kept,).
        losses: For each unit, how much each falls short of the best one at these prices, in ``scale``; (kept,).
        usages: For each unit, usages above the unit's least one, in the range of the row; (rows, kept).
        room: What the limits leave above the sum of the least usages, in the same scale; (rows,).
        prices: Multipliers of the limits, >= 0, in ``scale`` per range of the row; (rows,).
        widest: The most slack that a row can have where another bounds it from the other side; (rows,).
        bound: No feasible assembly scores more.
        scale: Range of the score, the unit of losses.
        dropped: How many candidates were dropped because another one is as good in everything.
    """

    score: Additive
    rows: tuple[Row, ...]
    kept: tuple[IntArray, ...]
    losses: tuple[FloatArray, ...]
    usages: tuple[FloatArray, ...]
    room: FloatArray
    prices: FloatArray
    widest: FloatArray
    bound: float
    scale: float
    dropped: int

    def indices(self, places: IntArray) -> IntArray:
        """Candidate indices of assemblies of kept candidates. Shapes: ``(n, units) -> (n, units)``."""
        return np.stack([kept[places[:, unit]] for unit, kept in enumerate(self.kept)], axis=1)

    def price(self, row: int) -> float:
        """The row's multiplier in units of the score per unit of its usage."""
        return float(self.prices[row] * self.scale / self.rows[row].range)

    @property
    def greatest_gap(self) -> float:
        """No assembly has a larger gap."""
        return math.fsum(float(loss.max()) for loss in self.losses) + float(self.prices @ np.maximum(self.room, 0))


def instance(score: Additive, rows: Sequence[Row], only_best: bool) -> Instance | None:
    """Prepare a problem, or None where even fractions of candidates cannot satisfy the limits.

    Args:
        score: What is maximised.
        rows: The limits.
        only_best: Whether one best assembly is enough: then dominated candidates are dropped. For the k best they may
            not be, since the second best may well be a best one with a dominated candidate.
    """
    binding = [row for row in rows if not row.usage.greatest < row.bound - TOLERANCE * row.range]
    if any(_out_of_reach(row) for row in binding):
        return None
    binding = [row for row in binding if row.range > 0]
    scale = score.greatest - score.least or 1.0
    values, usages = [table / scale for table in score.tables], []
    for unit, table in enumerate(score.tables):
        shifted = [(row.usage.tables[unit] - row.usage.tables[unit].min()) / row.range for row in binding]
        usages.append(np.array(shifted, dtype=np.float64).reshape(len(binding), table.size))
    room = np.array([(row.bound - row.usage.least) / row.range for row in binding], dtype=np.float64)
    fits = [np.flatnonzero((usage <= room[:, None] + TOLERANCE).all(axis=0)) for usage in usages]
    if any(kept.size == 0 for kept in fits):
        return None
    best = []
    for unit, kept in enumerate(fits):
        columns = [score.tables[unit][kept], *(-row.usage.tables[unit][kept] for row in binding)]
        best.append(kept[undominated(np.stack(columns, axis=1))])
    # dominated candidates never matter to the relaxation, so the prices are those of all candidates
    prices = _multipliers(
        [value[kept] for value, kept in zip(values, best, strict=True)],
        [usage[:, kept] for usage, kept in zip(usages, best, strict=True)],
        room,
    )
    if prices is None:
        return None
    chosen = best if only_best else fits
    reduced = [v[k] - prices @ u[:, k] for v, u, k in zip(values, usages, chosen, strict=True)]
    tops = [float(r.max()) for r in reduced]
    return Instance(
        score=score,
        rows=tuple(binding),
        kept=tuple(chosen),
        losses=tuple(top - r for top, r in zip(tops, reduced, strict=True)),
        usages=tuple(u[:, k] for u, k in zip(usages, chosen, strict=True)),
        room=room,
        prices=prices,
        widest=_widest(binding, room),
        bound=score.constant + scale * math.fsum((float(prices @ room), *tops)),
        scale=scale,
        dropped=sum(f.size - k.size for f, k in zip(fits, chosen, strict=True)),
    )


def _out_of_reach(row: Row) -> bool:
    least = row.usage.least
    return least >= row.bound if row.limit.strict else least > row.bound


def _multipliers(values: list[FloatArray], usages: list[FloatArray], room: FloatArray) -> FloatArray | None:
    """Multipliers of the limits in the linear relaxation; None where that is infeasible. Shape ``(rows,)``."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix

    if room.size == 0:
        return np.zeros(0)
    sizes = [value.size for value in values]
    choose = csr_matrix((np.ones(sum(sizes)), (np.repeat(np.arange(len(sizes)), sizes), np.arange(sum(sizes)))))
    for slack in (0.0, 1e-6):  # what fits exactly may look infeasible to the solver; the search decides that
        found = linprog(-np.concatenate(values), np.hstack(usages), room + slack, choose, np.ones(len(sizes)))
        if found.status == 0:
            return np.maximum(-np.asarray(found.ineqlin.marginals, dtype=np.float64), 0.0)
    if found.status == 2:
        return None
    raise ConfigError(f"the linear relaxation could not be solved: {found.message}")


def _widest(rows: Sequence[Row], room: FloatArray) -> FloatArray:
    """The most slack of every row: what is left between it and a limit on the same expression from the other side."""
    widest = room.copy()
    for i, one in enumerate(rows):
        for other in rows:
            same = (one.limit.linear, one.limit.offset) == (other.limit.linear, other.limit.offset)
            if same and one.limit.sense != other.limit.sense:
                widest[i] = min(widest[i], (one.bound + other.bound) / one.range)
    return widest
