"""Limits that no network satisfies: which one, by how much, and the network that comes nearest."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autobuild.construct.dominance import undominated
from autobuild.construct.instance import Row, rows_of
from autobuild.construct.programme import check_time, solve
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
            f"{'least' if item.limit.sense == '<=' else 'most'} that a network has is {item.reachable:.6g}"
            for item in alone
        ]
        if not alone:
            lines.append("no network satisfies all limits together, though each of them can be met")
        if self.indices is not None:
            broken = [
                f"{item.limit.expression} = {item.nearest:.6g}, {item.excess:.4g} "
                f"{'above' if item.limit.sense == '<=' else 'below'} {item.limit.bound:.6g}"
                for item in self.limits
                if item.excess > 0 or item.nearest == item.limit.bound
            ]
            lines.append("nearest network: " + "; ".join(broken) + ("" if self.proven else " (not proven nearest)"))
            lines.append("feasible would be: " + " and ".join(limit.text for limit in self.relaxed))
        return "\n".join(lines)


def why_infeasible(
    score: Additive, limits: Sequence[Limit], metrics: Mapping[str, Additive], time_limit: float = 10.0
) -> Infeasible | None:
    """Explain limits that no assembly satisfies; None where some assembly does.

    Args:
        score: What is maximised among equally near assemblies.
        limits: Limits, all linear.
        metrics: Name -> additive table.
        time_limit: Seconds for the integer programme, and again for the best score under the relaxed limits.

    Raises:
        ConfigError: As :func:`autobuild.construct.programme.solve`.
    """
    check_time(time_limit)
    rows = rows_of(score, limits, metrics)
    if solve(score, limits, metrics, time_limit).indices is not None:
        return None
    nearest, proven = _nearest(rows, time_limit)
    relaxed = tuple(limits)
    if nearest is not None:
        relaxed = tuple(_reached(row, nearest) for row in rows)
        better = solve(score, relaxed, metrics, time_limit)
        nearest = better.indices or nearest
        relaxed = tuple(_reached(row, nearest) for row in rows)
    broken = tuple(_broken(row, nearest) for row in rows)
    violation = sum(item.excess / _size(row) for item, row in zip(broken, rows, strict=True))
    value = float(score.totals([nearest])[0]) if nearest is not None else math.nan
    return Infeasible(broken, nearest, value, relaxed, violation if nearest is not None else math.nan, proven)


def _size(row: Row) -> float:
    """What violations are relative to."""
    size = abs(row.bound)
    return size if size > 1e-3 * row.range else row.range or 1.0


def _value(row: Row, indices: Sequence[int]) -> float:
    """Value of the limited expression."""
    usage = float(row.usage.totals([indices])[0])
    return usage if row.limit.sense == "<=" else -usage


def _reached(row: Row, indices: Sequence[int]) -> Limit:
    """The limit, moved to what the assembly has where that breaks it."""
    value = _value(row, indices)
    if bool(row.limit.holds(value)):
        return row.limit
    if row.limit.strict:  # the value itself has to be inside
        value = math.nextafter(value, math.inf if row.limit.sense == "<=" else -math.inf)
    return row.limit.with_bound(value)


def _broken(row: Row, indices: Sequence[int] | None) -> Broken:
    reachable = row.usage.least if row.limit.sense == "<=" else -row.usage.least
    value = _value(row, indices) if indices is not None else math.nan
    excess = row.limit.excess(value) if indices is not None else math.nan
    return Broken(row.limit, reachable, bool(row.limit.holds(reachable)), value, excess)


def _nearest(rows: Sequence[Row], time_limit: float) -> tuple[tuple[int, ...] | None, bool]:
    """The assembly with the least sum of relative violations, and whether that is proven.

    A mixed-integer programme: one binary number per candidate, one violation >= 0 per limit. Candidates that another
    one of their unit undercuts in all usages cannot help.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix, hstack, identity

    deadline = time.monotonic() + time_limit
    kept, usages = [], []
    for unit in range(len(rows[0].usage.tables)):
        tables = [(row, row.usage.tables[unit]) for row in rows]
        usage = np.array([(table - table.min()) / _size(row) for row, table in tables])
        places = undominated(-usage.T)
        kept.append(places)
        usages.append(usage[:, places])
    count = sum(places.size for places in kept)
    owner = np.repeat(np.arange(len(kept)), [places.size for places in kept])
    choose = csr_matrix((np.ones(count), (owner, np.arange(count))), shape=(len(kept), count + len(rows)))
    spend = hstack([csr_matrix(np.hstack(usages)), -identity(len(rows))], format="csr")
    room = np.array([(row.bound - row.usage.least) / _size(row) for row in rows])
    result = milp(
        np.concatenate([np.zeros(count), np.ones(len(rows))]),
        integrality=np.concatenate([np.ones(count), np.zeros(len(rows))]),
        bounds=Bounds(0, np.concatenate([np.ones(count), np.full(len(rows), np.inf)])),
        constraints=[LinearConstraint(choose, 1, 1), LinearConstraint(spend, -np.inf, room)],
        options={"mip_rel_gap": 0, "time_limit": max(deadline - time.monotonic(), 0.1)},
    )
    if result.x is None:
        return None, False
    parts = np.split(np.asarray(result.x)[:count], np.cumsum([places.size for places in kept])[:-1])
    return tuple(int(places[part.argmax()]) for places, part in zip(kept, parts, strict=True)), bool(result.status == 0)
