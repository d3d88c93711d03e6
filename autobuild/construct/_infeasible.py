"""Limits that no network satisfies: which one, by how much, and the network that comes nearest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from autobuild.construct._integer_program import OPTIMAL, choose
from autobuild.construct._relaxation import Constraint
from autobuild.construct.dominance import undominated
from autobuild.expressions.limits import Limit
from autobuild.spaces.additive import Additive


@dataclass(frozen=True)
class Broken:
    """One limit.

    Attributes:
        limit: The limit.
        reachable: The best value of it that any network has, whatever the other limits (least for ``<=``).
        alone: Whether some network satisfies it, whatever the others.
        nearest: Its value in the nearest network; NaN where none was found.
        excess: By how much the nearest network breaks it; 0 where it does not.
    """

    limit: Limit
    reachable: float
    alone: bool
    nearest: float
    excess: float


@dataclass(frozen=True)
class Infeasible:
    """Why limits cannot be met.

    Attributes:
        limits: For every limit, what is reachable and what the nearest network has.
        indices: The nearest network: least sum of relative violations, and of those that break no limit by more, the
            best; None where none was found in time.
        score: Its score.
        relaxed: Limits that it satisfies: those that it breaks, moved to its values.
        violation: Sum of relative violations: each excess in parts of the bound's size (of the metric's range where the
            bound is next to 0).
        proven: Whether no network has a smaller sum.
    """

    limits: tuple[Broken, ...]
    indices: tuple[int, ...] | None
    score: float
    relaxed: tuple[Limit, ...]
    violation: float
    proven: bool

    @property
    def message(self) -> str:
        """Which limit, by how much, and what would do: a few lines for people."""
        alone = [item for item in self.limits if not item.alone]
        lines = [
            f"{item.limit.text}: out of reach whatever the other limits, the "
            f"{'least' if item.limit.sign > 0 else 'most'} that a network has is {item.reachable:.6g}"
            for item in alone
        ]
        if not alone:
            lines.append("no network satisfies all limits together, though each of them can be met")
        if self.indices is not None:
            broken = [
                f"{item.limit.expression} = {item.nearest:.6g}, {item.excess:.4g} "
                f"{'above' if item.limit.sign > 0 else 'below'} {item.limit.bound:.6g}"
                for item in self.limits
                if item.excess > 0 or item.nearest == item.limit.bound
            ]
            lines.append("nearest network: " + "; ".join(broken) + ("" if self.proven else " (not proven nearest)"))
            lines.append("feasible would be: " + " and ".join(limit.text for limit in self.relaxed))
        return "\n".join(lines)


def explain_infeasible(
    score: Additive,
    constraints: Sequence[Constraint],
    best: Callable[[Sequence[Limit]], tuple[int, ...] | None],
    time_limit_s: float,
) -> Infeasible:
    """Explain limits that no assembly satisfies.

    Args:
        score: What is maximised among equally near assemblies.
        constraints: The limits.
        best: Limits -> the best assembly within them, None where none was found.
        time_limit_s: Seconds for the integer program.
    """
    nearest, proven = _nearest(constraints, time_limit_s)
    relaxed = tuple(item.limit for item in constraints)
    if nearest is not None:
        nearest = best(tuple(_moved(item, nearest) for item in constraints)) or nearest
        relaxed = tuple(_moved(item, nearest) for item in constraints)
    broken = tuple(_broken(item, nearest) for item in constraints)
    if nearest is None:
        return Infeasible(broken, None, math.nan, relaxed, math.nan, proven)
    violation = sum(item.excess / _size(constraint) for item, constraint in zip(broken, constraints, strict=True))
    return Infeasible(broken, nearest, float(score.totals([nearest])[0]), relaxed, violation, proven)


def _size(constraint: Constraint) -> float:
    """What violations are relative to."""
    size = abs(constraint.bound)
    return size if size > 1e-3 * constraint.range else constraint.range or 1.0


def _value(constraint: Constraint, indices: Sequence[int]) -> float:
    """Value of the limited expression."""
    return constraint.limit.sign * float(constraint.usage.totals([indices])[0])


def _moved(constraint: Constraint, indices: Sequence[int]) -> Limit:
    """The limit, moved to what the assembly has where that breaks it."""
    value, limit = _value(constraint, indices), constraint.limit
    if bool(limit.holds(value)):
        return limit
    if limit.strict:  # the value itself has to be inside
        value = math.nextafter(value, limit.sign * math.inf)
    return limit.with_bound(value)


def _broken(constraint: Constraint, indices: Sequence[int] | None) -> Broken:
    limit, least = constraint.limit, constraint.usage.least
    value = _value(constraint, indices) if indices is not None else math.nan
    excess = limit.excess(value) if indices is not None else math.nan
    return Broken(limit, limit.sign * least, bool(constraint.holds(least)), value, excess)


def _nearest(constraints: Sequence[Constraint], time_limit_s: float) -> tuple[tuple[int, ...] | None, bool]:
    """The assembly with the least sum of relative violations, and whether that is proven.

    Candidates that another one of their unit undercuts in all usages cannot help.
    """
    kept, usages = [], []
    for unit in range(len(constraints[0].usage.tables)):
        usage = np.array([item.shares(unit) / _size(item) for item in constraints])
        kept.append(undominated(-usage.T))
        usages.append(usage[:, kept[-1]])
    room = np.array([(item.bound - item.usage.least) / _size(item) for item in constraints])
    choice = choose([np.zeros(rows.size) for rows in kept], usages, room, time_limit_s, soft=True)
    if choice.places is None:
        return None, False
    return tuple(int(rows[p]) for rows, p in zip(kept, choice.places, strict=True)), choice.status == OPTIMAL
