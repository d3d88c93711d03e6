"""Building from scores: exact k-best assemblies over units, limits and their prices, Pareto fronts, narrowed spaces."""

from __future__ import annotations

from autobuild.construct.acquire import ACQUISITIONS, acquire
from autobuild.construct.acquire_front import acquire_front
from autobuild.construct.assemblies import k_best
from autobuild.construct.building import Built, build_by_sum, build_refined
from autobuild.construct.computed import Computed, judge_of
from autobuild.construct.constrained import Assemblies, Constrained, SearchLimit, Verified, verified
from autobuild.construct.infeasible import Infeasible, why_infeasible
from autobuild.construct.limited import Limited, Metric, NoNetworkError
from autobuild.construct.narrowing import narrow_rows, narrow_units, narrowing_note
from autobuild.construct.pareto import Front, additive_front, hypervolume
from autobuild.construct.probable import narrow_probable, probable_networks, widen
from autobuild.construct.probable_front import front_scores, probable_front
from autobuild.construct.programme import Solution, solve
from autobuild.construct.where import Limit, parse_where, split_limits
from autobuild.spaces.additive import Additive, weighted_sum

__all__ = [
    "ACQUISITIONS",
    "Additive",
    "Assemblies",
    "Built",
    "Computed",
    "Constrained",
    "Front",
    "Infeasible",
    "Limit",
    "Limited",
    "Metric",
    "NoNetworkError",
    "SearchLimit",
    "Solution",
    "Verified",
    "acquire",
    "acquire_front",
    "additive_front",
    "build_by_sum",
    "build_refined",
    "front_scores",
    "hypervolume",
    "judge_of",
    "k_best",
    "narrow_probable",
    "narrow_rows",
    "narrow_units",
    "narrowing_note",
    "parse_where",
    "probable_front",
    "probable_networks",
    "solve",
    "split_limits",
    "verified",
    "weighted_sum",
    "why_infeasible",
    "widen",
]
