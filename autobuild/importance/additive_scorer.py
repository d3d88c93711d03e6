"""The scorer ``additive``: scores that add up to the prediction."""

from __future__ import annotations

from autobuild.importance.projection import project
from autobuild.importance.scorers import UnitScores
from autobuild.models import FittedModel
from autobuild.registry import SCORERS
from autobuild.spaces import SearchSpace


@SCORERS.register("additive")
def additive(model: FittedModel, space: SearchSpace) -> list[UnitScores]:
    """The scorer ``additive``, see :class:`Projection`. Scores are differences from an average architecture."""
    return project(model, space).units
