"""Importance scores of features, operations, layers and candidates."""

from autobuild.importance._calibration import depth_moments, norm_moments
from autobuild.importance._explain import explain
from autobuild.importance._faithfulness import deletion, stability
from autobuild.importance.additive_scores import AdditiveScores
from autobuild.importance.bit_sensitivity import bit_sensitivity
from autobuild.importance.comparison import Comparison, compare
from autobuild.importance.hopnorm_scorer import hopnorm
from autobuild.importance.interactions import Interactions, find_interactions
from autobuild.importance.norm_scores import NormScores
from autobuild.importance.projection import Projection, project
from autobuild.importance.scorers import Scorer, UnitScores, find_scorer, register_scorer
from autobuild.importance.scores import Scores
from autobuild.registry import SCORERS

__all__ = [
    "SCORERS",
    "AdditiveScores",
    "Comparison",
    "Interactions",
    "NormScores",
    "Projection",
    "Scorer",
    "Scores",
    "UnitScores",
    "bit_sensitivity",
    "compare",
    "deletion",
    "depth_moments",
    "explain",
    "find_interactions",
    "find_scorer",
    "hopnorm",
    "norm_moments",
    "project",
    "register_scorer",
    "stability",
]
