"""Building from scores: exact k-best assemblies over units, limits and their prices, Pareto fronts, narrowed spaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autobuild._lazy import attach
from autobuild.construct._best_first import k_best
from autobuild.construct._evaluators import Evaluator, evaluator_of
from autobuild.construct._infeasible import Infeasible
from autobuild.construct._posterior import Probable, front_scores, probable_front, probable_networks
from autobuild.construct.acquisition import acquire, acquire_front, register_acquisition
from autobuild.construct.building import Built, build_by_sum, build_refined
from autobuild.construct.limits import Limited, Metric, NoNetworkError
from autobuild.construct.narrowing import narrow_probable, narrow_rows, narrow_units, narrowing_note, widen
from autobuild.construct.pareto import Front, additive_front, hypervolume
from autobuild.construct.problem import Problem, SearchLimit, Solution
from autobuild.expressions.limits import Limit, parse_where, split_limits
from autobuild.registry import ACQUISITIONS
from autobuild.spaces.additive import Additive, weighted_sum

if TYPE_CHECKING:
    from autobuild.construct.from_scores import build, narrow

__all__ = [
    "ACQUISITIONS",
    "Additive",
    "Built",
    "Evaluator",
    "Front",
    "Infeasible",
    "Limit",
    "Limited",
    "Metric",
    "NoNetworkError",
    "Probable",
    "Problem",
    "SearchLimit",
    "Solution",
    "acquire",
    "acquire_front",
    "additive_front",
    "build",
    "build_by_sum",
    "build_refined",
    "evaluator_of",
    "front_scores",
    "hypervolume",
    "k_best",
    "narrow",
    "narrow_probable",
    "narrow_rows",
    "narrow_units",
    "narrowing_note",
    "parse_where",
    "probable_front",
    "probable_networks",
    "register_acquisition",
    "split_limits",
    "weighted_sum",
    "widen",
]

__getattr__, __dir__ = attach(__name__, {"build": "from_scores", "narrow": "from_scores"})  # with models: torch
