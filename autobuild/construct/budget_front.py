"""The best network for every budget of a cost, and what each step of the budget buys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from autobuild.construct.limits import NoNetworkError
from autobuild.construct.problem import Problem
from autobuild.cost.space_costs import SpaceCosts
from autobuild.errors import ConfigError
from autobuild.expressions import Names
from autobuild.importance import AdditiveScores, Scores
from autobuild.spaces import Architecture
from autobuild.spaces.additive import Additive

if TYPE_CHECKING:
    import pandas as pd

PROPOSED = 64  # best sums within each budget that the predictor judges


def budget_front(
    scores: Scores, cost: str = "avg_bits", budgets: Sequence[float] | int = 11, *, where: str | None = None
) -> pd.DataFrame:
    """The best network within each budget of one cost, in one call.

    For every budget the 64 best sums of scores are found exactly; the full predictor chooses among them and those of
    smaller budgets, so that a larger budget is never worse.

    >>> ab.budget_front(scores, "avg_bits", [3.0, 3.1, 3.2, 3.3, 3.4, 3.5, 3.6, 3.7, 3.8, 3.9, 4.0])

    Args:
        scores: Candidate scores, of any scorer.
        cost: A cost that is a sum over units.
        budgets: Upper limits of the cost, or how many, evenly spaced over its range.
        where: Further limits over such costs, such as ``"bops <= 2e9 and size_bytes <= 40000"``; they hold for all.

    Returns:
        One row per budget, ascending: ``budget, arch``, the cost and those of ``where``, ``predicted``, and ``gain``:
        the increase from the row before, in units of the target. Budgets that no network meets have no row.

    Raises:
        ConfigError: There is no budget, a cost is unknown or no sum over units, or a limit cannot be read.
        NoNetworkError: No network meets any budget; the message names the least that a network has.
    """
    import pandas as pd

    if not isinstance(scores, Scores):
        raise ConfigError(f"scores={scores!r}: scores are accepted, as model.explain() returns them")
    space, known = scores.space, SpaceCosts(scores.space)
    names = Names(costs=known)
    further = names.limits(where) if where else []
    used = dict.fromkeys([cost, *(name for limit in further for name in limit.expression.names)])
    tables = {name: known.additive(name) for name in used}
    steps: list[float] = (
        np.linspace(tables[cost].least, tables[cost].greatest, budgets).tolist()
        if isinstance(budgets, int)
        else sorted(map(float, budgets))
    )
    if not steps:
        raise ConfigError("budgets is empty; accepted: upper limits of the cost, or how many")
    base = scores.base if isinstance(scores, AdditiveScores) else 0.0
    problem = Problem(Additive(base, tuple(scores.unit_scores.values())), tables)
    rows: list[tuple[float, Architecture, float]] = []
    best: tuple[float, Architecture] | None = None
    for budget in dict.fromkeys(steps):
        limits = [*names.limits(f"{cost} <= {budget!r}"), *further]
        found = [space.assemble(row) for row in problem.k_best(limits, PROPOSED).indices.tolist()]
        if found:
            predicted = np.nan_to_num(scores.model.predict_mean(found), nan=-np.inf)
            first = int(predicted.argmax())
            if best is None or predicted[first] > best[0]:
                best = float(predicted[first]), found[first]
        if best is not None:
            rows.append((budget, best[1], best[0]))
    if not rows:
        why = problem.why_infeasible([*names.limits(f"{cost} <= {steps[-1]!r}"), *further])
        raise NoNetworkError(why.message if why else f"no network was found with {cost} <= {steps[-1]:g}", why, None)
    archs = [arch for _, arch, _ in rows]
    frame = pd.DataFrame({"budget": [row[0] for row in rows], "arch": [arch.text for arch in archs]})
    for name in used:
        frame[name] = known[name](archs)
    frame["predicted"] = [row[2] for row in rows]
    return frame.assign(gain=frame["predicted"].diff())
