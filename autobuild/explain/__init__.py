"""Importance scores of features, operations, layers and candidates."""

from autobuild.explain.additive_scores import AdditiveScores
from autobuild.explain.explaining import explain
from autobuild.explain.moments import depth_moments, norm_moments
from autobuild.explain.norm_scores import NormScores
from autobuild.explain.projection import Projection, project
from autobuild.explain.scorers import SCORERS, Scorer, UnitScores, find_scorer, hopnorm, register_scorer
from autobuild.explain.scores import Scores
from autobuild.explain.trust import deletion, stability

__all__ = [
    "SCORERS",
    "AdditiveScores",
    "NormScores",
    "Projection",
    "Scorer",
    "Scores",
    "UnitScores",
    "deletion",
    "depth_moments",
    "explain",
    "find_scorer",
    "hopnorm",
    "norm_moments",
    "project",
    "register_scorer",
    "stability",
]
