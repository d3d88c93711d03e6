"""Conformance suites that ship: subclass one, give one fixture, and get every property of the kind tested."""

from autobuild.testing.costs import CostConformance
from autobuild.testing.scorers import ScorerConformance
from autobuild.testing.spaces import SearchSpaceConformance

__all__ = ["CostConformance", "ScorerConformance", "SearchSpaceConformance"]
