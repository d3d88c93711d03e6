"""Conformance suites that ship: subclass one, give one fixture, and get every property of the kind tested."""

from typing import TYPE_CHECKING

from autobuild._lazy import attach

if TYPE_CHECKING:
    from autobuild.testing.acquisitions import AcquisitionConformance
    from autobuild.testing.costs import CostConformance
    from autobuild.testing.executors import ExecutorConformance
    from autobuild.testing.families import FamilyConformance
    from autobuild.testing.layers import LayerConformance
    from autobuild.testing.losses import LossConformance
    from autobuild.testing.samplers import SamplerConformance
    from autobuild.testing.scorers import ScorerConformance
    from autobuild.testing.spaces import SearchSpaceConformance

__all__ = [
    "AcquisitionConformance",
    "CostConformance",
    "ExecutorConformance",
    "FamilyConformance",
    "LayerConformance",
    "LossConformance",
    "SamplerConformance",
    "ScorerConformance",
    "SearchSpaceConformance",
]

_FROM = {  # each on its own: a worker that is sent an evaluator of a suite imports no other suite
    "AcquisitionConformance": "acquisitions",
    "CostConformance": "costs",
    "ExecutorConformance": "executors",
    "FamilyConformance": "families",
    "LayerConformance": "layers",
    "LossConformance": "losses",
    "SamplerConformance": "samplers",
    "ScorerConformance": "scorers",
    "SearchSpaceConformance": "spaces",
}
__getattr__, __dir__ = attach(__name__, _FROM)
