"""Importance scores of features, operations, layers and candidates."""

from autobuild.explain.moments import depth_moments, norm_moments
from autobuild.explain.scorers import SCORERS, Scorer, UnitScores, find_scorer, hopnorm, register_scorer
from autobuild.explain.scores import Scores, explain

__all__ = [
    "SCORERS",
    "Scorer",
    "Scores",
    "UnitScores",
    "depth_moments",
    "explain",
    "find_scorer",
    "hopnorm",
    "norm_moments",
    "register_scorer",
]
