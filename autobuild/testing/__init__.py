"""Conformance suites that ship: subclass one, give one fixture, and get every property of the kind tested."""

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
