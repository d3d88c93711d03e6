"""Neural architecture construction: learn from labelled architectures which choices matter, then build the best ones.

>>> import autobuild as ab
>>> space = ab.space("ofa_mbv3")
>>> labels = ab.LabelledSet.read("labels.csv", space)
>>> model = ab.fit(labels, target="acc")
>>> scores = model.explain()
>>> built = scores.build(top=10)
>>> small = scores.narrow(top=5)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autobuild._lazy import attach

__version__ = "0.1.0"

if TYPE_CHECKING:
    from autobuild.construct import register_acquisition
    from autobuild.construct.budget_front import budget_front
    from autobuild.construct.building import Built
    from autobuild.construct.from_scores import build, narrow, pareto
    from autobuild.construct.rounds import rounds
    from autobuild.construct.verification import Verified, verify
    from autobuild.cost import register_cost
    from autobuild.cost.fusion.fusing import fuse
    from autobuild.cost.space_costs import costs
    from autobuild.encode import EncoderConfig, register_layer
    from autobuild.errors import AutobuildError, FitWarning, LabelWarning
    from autobuild.evaluate.executors import register_executor
    from autobuild.graphs import OperationGraph, graph_of, load_zoo
    from autobuild.importance import Comparison, Scores, compare, explain, register_scorer
    from autobuild.jobs.doctor import show_config
    from autobuild.labels import LabelledSet, sample_design
    from autobuild.models import FitConfig, FittedModel, fit, learning_curve, load_model, register_family, save_model
    from autobuild.quant import Quantised, joint_space, quant_space, quantise
    from autobuild.rank import register_loss
    from autobuild.spaces import (
        Architecture,
        Candidate,
        SearchSpace,
        Unit,
        register_space,
        sequence_space,
        space_names,
    )
    from autobuild.spaces import load_space as space
    from autobuild.studies.samplers import register_sampler
    from autobuild.studies.searching import search

# Where each public name is defined. It is imported on first use, so that `import autobuild` and the help stay fast.
_FROM = {
    "Architecture": "spaces",
    "AutobuildError": "errors",
    "Built": "construct.building",
    "Candidate": "spaces",
    "Comparison": "importance",
    "EncoderConfig": "encode",
    "FitConfig": "models",
    "FitWarning": "errors",
    "FittedModel": "models",
    "LabelWarning": "errors",
    "LabelledSet": "labels",
    "OperationGraph": "graphs",
    "Quantised": "quant",
    "Scores": "importance",
    "SearchSpace": "spaces",
    "Unit": "spaces",
    "Verified": "construct.verification",
    "budget_front": "construct.budget_front",
    "build": "construct.from_scores",
    "compare": "importance",
    "costs": "cost.space_costs",
    "explain": "importance",
    "fit": "models",
    "fuse": "cost.fusion.fusing",
    "graph_of": "graphs",
    "joint_space": "quant",
    "learning_curve": "models",
    "load_model": "models",
    "load_zoo": "graphs",
    "narrow": "construct.from_scores",
    "pareto": "construct.from_scores",
    "quant_space": "quant",
    "quantise": "quant",
    "register_acquisition": "construct",
    "register_cost": "cost",
    "register_executor": "evaluate.executors",
    "register_family": "models",
    "register_layer": "encode",
    "register_loss": "rank",
    "register_sampler": "studies.samplers",
    "register_scorer": "importance",
    "register_space": "spaces",
    "rounds": "construct.rounds",
    "sample_design": "labels",
    "save_model": "models",
    "search": "studies.searching",
    "sequence_space": "spaces",
    "show_config": "jobs.doctor",
    "space": "spaces:load_space",
    "space_names": "spaces",
    "verify": "construct.verification",
}

__all__ = [
    "Architecture",
    "AutobuildError",
    "Built",
    "Candidate",
    "Comparison",
    "EncoderConfig",
    "FitConfig",
    "FitWarning",
    "FittedModel",
    "LabelWarning",
    "LabelledSet",
    "OperationGraph",
    "Quantised",
    "Scores",
    "SearchSpace",
    "Unit",
    "Verified",
    "budget_front",
    "build",
    "compare",
    "costs",
    "explain",
    "fit",
    "fuse",
    "graph_of",
    "joint_space",
    "learning_curve",
    "load_model",
    "load_zoo",
    "narrow",
    "pareto",
    "quant_space",
    "quantise",
    "register_acquisition",
    "register_cost",
    "register_executor",
    "register_family",
    "register_layer",
    "register_loss",
    "register_sampler",
    "register_scorer",
    "register_space",
    "rounds",
    "sample_design",
    "save_model",
    "search",
    "sequence_space",
    "show_config",
    "space",
    "space_names",
    "verify",
]

__getattr__, __dir__ = attach(__name__, _FROM)
