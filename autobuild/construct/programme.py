"""The best assembly under limits, to proven optimality; else the best one found, a bound, and the gap between them."""

from __future__ import annotations

import math
import numbers
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from autobuild.construct.bands import Bands, Found
from autobuild.construct.instance import Instance, IntArray, instance, rows_of
from autobuild.errors import ConfigError
from autobuild.expressions.limits import Limit
from autobuild.spaces.additive import Additive, FloatArray

OPTIMAL, TIME_LIMIT, INFEASIBLE = "optimal", "time limit", "infeasible"
MAX_ROWS = 2_000_000  # partial assemblies held at once: about 200 MB
SEARCH_SHARE = 0.7  # of the time; what is left goes to the integer programme where the search did not end


@dataclass(frozen=True)
class Solution:
    """What solving came to.

    Attributes:
        status: ``"optimal"`` (proven), ``"infeasible"`` (proven: no assembly satisfies the limits) or ``"time limit"``.
        indices: Candidate of every unit; None where no feasible assembly was found.
        score: Its score, correctly rounded; NaN where there is none.
        bound: No feasible assembly scores more; the score itself where that is proven best.
        gap: ``bound - score``; infinite where there is no score.
        seconds: Wall time.
        dropped: Candidates left out because another of their unit is as good in score and in every limit.
        candidates: Candidates in all.
        prices: Text of each limit -> its multiplier in the linear relaxation: what the score would gain, about, per
            unit by which the bound is loosened.
    """

    status: str
    indices: tuple[int, ...] | None
    score: float
    bound: float
    gap: float
    seconds: float
    dropped: int
    candidates: int
    prices: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.status == OPTIMAL:
            return f"score {self.score:.6g}, proven best in {self.seconds:.2f} s"
        if self.status == INFEASIBLE:
            return f"no network satisfies the limits (proven in {self.seconds:.2f} s)"
        if self.indices is None:
            return f"no network found in {self.seconds:.1f} s; none scores more than {self.bound:.6g}"
        return (
            f"score {self.score:.6g} after {self.seconds:.1f} s, not proven best: none scores more than "
            f"{self.bound:.6g} (gap {self.gap:.3g})"
        )


def solve(
    score: Additive,
    limits: Sequence[Limit] = (),
    metrics: Mapping[str, Additive] | None = None,
    time_limit: float = 10.0,
    max_rows: int = MAX_ROWS,
) -> Solution:
    """Maximise an additive score subject to linear limits on additive metrics.

    Dominated candidates are dropped; what is left is searched in bands below the Lagrangian bound
    (:mod:`autobuild.construct.bands`). Where that does not end in its share of the time, the rest goes to HiGHS with
    ``mip_rel_gap=0`` on the candidates that may still matter, and the better assembly and bound are returned. Whatever
    comes back satisfies every limit in correctly rounded sums. Of equally good assemblies any may come back, the same
    one every time.

    Args:
        score: What is maximised.
        limits: Limits, all linear.
        metrics: Name -> additive table, for every name in the limits.
        time_limit: Seconds after which the best assembly so far is returned.
        max_rows: Partial assemblies held at once.

    Raises:
        ConfigError: A limit that is not linear, a metric without tables, tables for other units, or a time limit that
            is not above 0.
    """
    started = time.monotonic()
    check_time(time_limit)
    rows = rows_of(score, limits, metrics or {})
    problem = instance(score, rows, only_best=True)
    total = sum(score.sizes)
    if problem is None:
        return Solution(INFEASIBLE, None, math.nan, -math.inf, math.inf, time.monotonic() - started, 0, total)
    prices = {limit.text: 0.0 for limit in limits} | {
        row.limit.text: problem.price(i) for i, row in enumerate(problem.rows)
    }
    found = Bands(problem, 1, max_rows, started + SEARCH_SHARE * time_limit).run()
    best = problem.indices(found.places[:1])
    bound, complete = problem.bound - problem.scale * found.proven, found.complete
    if not complete:
        best, bound, complete = _programme(problem, found, best, bound, started + time_limit)
    value = float(score.totals(best)[0]) if best.size else math.nan
    if complete:
        status, bound = (OPTIMAL, value) if best.size else (INFEASIBLE, -math.inf)
    else:
        status, bound = TIME_LIMIT, max(bound, value) if best.size else bound
    return Solution(
        status=status,
        indices=tuple(best[0].tolist()) if best.size else None,
        score=value,
        bound=bound,
        gap=bound - value if best.size else math.inf,
        seconds=time.monotonic() - started,
        dropped=problem.dropped,
        candidates=total,
        prices=prices,
    )


def check_time(time_limit: float) -> None:
    """Refuse a time limit that is not a number above 0."""
    if not isinstance(time_limit, numbers.Real) or not time_limit > 0:
        raise ConfigError(f"time_limit={time_limit!r}: seconds above 0 are accepted")


def _programme(
    problem: Instance, found: Found, best: IntArray, bound: float, deadline: float
) -> tuple[IntArray, float, bool]:
    """The integer programme over candidates whose loss alone does not rule them out: assembly, bound, proven."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix

    left = deadline - time.monotonic()
    if left < 0.05:
        return best, bound, False
    most = float(found.gaps[0]) + 1e-9 if found.gaps.size else math.inf
    core = [np.flatnonzero(loss <= most) for loss in problem.losses]
    sizes = [places.size for places in core]
    owner = np.repeat(np.arange(len(core)), sizes)
    losses = np.concatenate([loss[places] for loss, places in zip(problem.losses, core, strict=True)])
    usages = np.hstack([usage[:, places] for usage, places in zip(problem.usages, core, strict=True)])
    cost = losses - problem.prices @ usages  # a gap is this sum and prices . room
    constraints = [LinearConstraint(csr_matrix((np.ones(owner.size), (owner, np.arange(owner.size)))), 1, 1)]
    if problem.room.size:
        constraints.append(LinearConstraint(usages, -np.inf, problem.room))
    options = {"mip_rel_gap": 0, "time_limit": left}
    result = milp(cost, integrality=np.ones(owner.size), bounds=Bounds(0, 1), constraints=constraints, options=options)
    if result.status == 2:  # nothing better than the assembly known, if there is one
        return best, bound, True
    offset = float(problem.prices @ problem.room)
    if result.mip_dual_bound is not None and math.isfinite(result.mip_dual_bound):
        bound = min(bound, problem.bound - problem.scale * (result.mip_dual_bound + offset))
    if result.x is None:
        return best, bound, False
    places = _chosen(result.x, core)
    indices = problem.indices(places)
    feasible = all(bool(row.holds(indices)[0]) for row in problem.rows)
    if feasible and (not best.size or problem.score.totals(indices)[0] >= problem.score.totals(best)[0]):
        best = indices
    return best, bound, bool(result.status == 0 and feasible)


def _chosen(x: FloatArray, core: Sequence[IntArray]) -> IntArray:
    """The candidate with the largest share in each unit. Shape ``(1, units)``."""
    parts = np.split(x, np.cumsum([places.size for places in core])[:-1])
    return np.array([[places[part.argmax()] for places, part in zip(core, parts, strict=True)]], dtype=np.int64)
