"""Building from scores: exact k-best assemblies over units, limits and their prices, Pareto fronts, narrowed spaces."""

from __future__ import annotations

from autobuild.construct.assemblies import k_best
from autobuild.construct.building import Built, build
from autobuild.construct.constrained import Assemblies, Constrained, SearchLimit, Verified, verified
from autobuild.construct.infeasible import Infeasible, why_infeasible
from autobuild.construct.narrowing import narrow, narrow_rows, narrowing_note
from autobuild.construct.pareto import Front, hypervolume, pareto, re_rank
from autobuild.construct.programme import Solution, solve
from autobuild.construct.where import Limit, parse_where, split_limits
from autobuild.spaces.additive import Additive, weighted_sum

__all__ = [
    "Additive",
    "Assemblies",
    "Built",
    "Constrained",
    "Front",
    "Infeasible",
    "Limit",
    "SearchLimit",
    "Solution",
    "Verified",
    "build",
    "hypervolume",
    "k_best",
    "narrow",
    "narrow_rows",
    "narrowing_note",
    "pareto",
    "parse_where",
    "re_rank",
    "solve",
    "split_limits",
    "verified",
    "weighted_sum",
    "why_infeasible",
]
