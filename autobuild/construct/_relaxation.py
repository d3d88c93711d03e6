"""The linear relaxation of a problem: its multipliers, and candidates' losses and usages in one scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autobuild._typing import BoolArray, FloatArray, IntArray
from autobuild.construct.dominance import undominated
from autobuild.errors import ConfigError
from autobuild.expressions.limits import Limit
from autobuild.spaces.additive import Additive, same_sizes

TOLERANCE = 1e-9  # of the range of a sum: what rounding may do to it; whatever is nearer is decided exactly


@dataclass(frozen=True, eq=False)
class Constraint:
    """One limit as ``usage <= bound`` (``<`` where strict); limits from below are negated.

    Attributes:
        limit: The limit it stands for.
        usage: Its left side, a sum over units.
        bound: Its right side.
    """

    limit: Limit
    usage: Additive
    bound: float

    @classmethod
    def of(cls, limit: Limit, metrics: Mapping[str, Additive]) -> Constraint:
        """Look up a limit's tables (errors as in :meth:`Limit.additive`)."""
        return cls(limit, limit.additive(metrics).scaled(limit.sign), limit.sign * limit.bound)

    def holds(self, usage: FloatArray | float) -> BoolArray:
        """Which usages satisfy it. Shapes: ``(n,) -> (n,)``."""
        return np.asarray(usage < self.bound if self.limit.strict else usage <= self.bound)

    @cached_property
    def range(self) -> float:
        """Greatest less least usage of any assembly."""
        return self.usage.greatest - self.usage.least

    def shares(self, unit: int) -> FloatArray:
        """Usages of a unit's candidates above its least one. Shape ``(candidates,)``."""
        table = self.usage.tables[unit]
        return table - float(table.min())


def constraints_of(score: Additive, limits: Sequence[Limit], metrics: Mapping[str, Additive]) -> list[Constraint]:
    """The limits as constraints, checked to be about the same units as the score.

    Raises:
        ConfigError: A limit that is not linear, a metric without tables, or tables for other units.
    """
    constraints = [Constraint.of(limit, metrics) for limit in limits]
    same_sizes({"score": score, **{constraint.limit.text: constraint.usage for constraint in constraints}})
    return constraints


@dataclass(frozen=True, eq=False)
class Relaxation:
    """What the search works on. Everything is relative to the Lagrangian bound of the multipliers:

    ``score = bound - scale * (sum of losses + prices . (room - sum of usages))``, so that an assembly's *gap* to the
    bound is a sum of parts that are never negative, as long as the assembly is feasible.

    Attributes:
        constraints: The limits that some assembly breaks.
        kept: For each unit, the candidates that take part, (kept,).
        losses: For each unit, how much each falls short of the best one at these prices, in ``scale``; (kept,).
        usages: For each unit, usages above the unit's least one, in the range of the constraint; (constraints, kept).
        room: What the limits leave above the sum of the least usages, in the same scale; (constraints,).
        prices: Multipliers of the limits, >= 0, in ``scale`` per range of the constraint; (constraints,).
        widest: The most slack that a limit leaves where another bounds the same expression from the other side, in the
            same scale; (constraints,).
        bound: No feasible assembly scores more.
        scale: Range of the score, the unit of losses.
        dropped: How many candidates were dropped because another one is as good in everything.
    """

    constraints: tuple[Constraint, ...]
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

    def feasible(self, indices: IntArray) -> BoolArray:
        """Which assemblies satisfy the limits, by correctly rounded sums. Shapes: ``(n, units) -> (n,)``."""
        within = np.ones(len(indices), dtype=bool)
        for constraint in self.constraints:
            within &= constraint.holds(constraint.usage.totals(indices))
        return within

    def unit_prices(self) -> dict[str, float]:
        """Text of each limit -> its multiplier in units of the score per unit of its usage."""
        return {
            constraint.limit.text: float(price * self.scale / constraint.range)
            for constraint, price in zip(self.constraints, self.prices, strict=True)
        }

    @property
    def greatest_gap(self) -> float:
        """No assembly has a larger gap."""
        return math.fsum(float(loss.max()) for loss in self.losses) + float(self.prices @ np.maximum(self.room, 0))


def relax(score: Additive, constraints: Sequence[Constraint], only_best: bool) -> Relaxation | None:
    """Prepare a problem, or None where even fractions of candidates cannot satisfy the limits.

    Args:
        score: What is maximised.
        constraints: The limits.
        only_best: Whether one best assembly is enough: then dominated candidates are dropped. For the k best they may
            not be, since the second best may well be a best one with a dominated candidate.
    """
    binding = [item for item in constraints if not item.usage.greatest < item.bound - TOLERANCE * item.range]
    if not all(item.holds(item.usage.least) for item in binding):
        return None
    binding = [item for item in binding if item.range > 0]
    scale = score.greatest - score.least or 1.0
    values, usages = [table / scale for table in score.tables], []
    for unit, table in enumerate(score.tables):
        shares = [item.shares(unit) / item.range for item in binding]
        usages.append(np.array(shares, dtype=np.float64).reshape(len(binding), table.size))
    room = np.array([(item.bound - item.usage.least) / item.range for item in binding], dtype=np.float64)
    fits = [np.flatnonzero((usage <= room[:, None] + TOLERANCE).all(axis=0)) for usage in usages]
    if any(kept.size == 0 for kept in fits):
        return None
    best = []
    for unit, kept in enumerate(fits):
        columns = [score.tables[unit][kept], *(-item.usage.tables[unit][kept] for item in binding)]
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
    return Relaxation(
        constraints=tuple(binding),
        kept=tuple(chosen),
        losses=tuple(top - r for top, r in zip(tops, reduced, strict=True)),
        usages=tuple(u[:, k] for u, k in zip(usages, chosen, strict=True)),
        room=room,
        prices=prices,
        widest=np.array([_widest(item, binding) for item in binding]),
        bound=score.constant + scale * math.fsum((float(prices @ room), *tops)),
        scale=scale,
        dropped=sum(f.size - k.size for f, k in zip(fits, chosen, strict=True)),
    )


def _widest(constraint: Constraint, others: Sequence[Constraint]) -> float:
    limit = constraint.limit
    opposite = [
        other.bound
        for other in others
        if (other.limit.linear, other.limit.offset) == (limit.linear, limit.offset) and other.limit.sign != limit.sign
    ]
    return (constraint.bound + min(opposite, default=math.inf)) / constraint.range


def _multipliers(values: list[FloatArray], usages: list[FloatArray], room: FloatArray) -> FloatArray | None:
    """Multipliers of the limits in the linear relaxation; None where that is infeasible. Shape ``(constraints,)``."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix

    if room.size == 0:
        return np.zeros(0)
    sizes = [value.size for value in values]
    choose = csr_matrix((np.ones(sum(sizes)), (np.repeat(np.arange(len(sizes)), sizes), np.arange(sum(sizes)))))
    for slack in (0.0, 1e-6):  # what fits exactly may look infeasible to the solver; the search decides that
        solved = linprog(-np.concatenate(values), np.hstack(usages), room + slack, choose, np.ones(len(sizes)))
        if solved.status == 0:
            return np.maximum(-np.asarray(solved.ineqlin.marginals, dtype=np.float64), 0.0)
    if solved.status == 2:
        return None
    raise ConfigError(f"the linear relaxation could not be solved: {solved.message}")
