"""One verb for all scorers."""

from __future__ import annotations

from autobuild.errors import ConfigError
from autobuild.importance.additive_scores import AdditiveScores
from autobuild.importance.norm_scores import NormScores
from autobuild.importance.projection import project
from autobuild.importance.scorers import Scorer, find_scorer
from autobuild.importance.scores import Scores
from autobuild.models import FittedModel, GraphModel
from autobuild.spaces import SearchSpace

DEFAULT = "additive"


def explain(model: FittedModel, space: SearchSpace | None = None, scorer: str | Scorer = "auto") -> Scores:
    """Score what a fitted model has learned.

    Args:
        model: The model.
        space: Whose candidates to score; the model's space by default, or one narrowed or joined from it.
        scorer: ``"additive"`` (what ``"auto"`` means): scores that add up to the prediction, for every family of
            models. ``"hopnorm"``: the AutoBuild paper's, for ``model="graph"``. Or another registered name, or a
            callable of that protocol.

    Raises:
        ConfigError: For an unknown scorer, one that cannot read this model, or a space of another family.
    """
    chosen = space if space is not None else model.space
    if not isinstance(chosen, SearchSpace):
        raise ConfigError(f"space={chosen!r}: a search space is accepted, such as autobuild.space gives")
    if chosen.family != model.space.family or chosen.node_features != model.space.node_features:
        raise ConfigError(f"the model was fitted on {model.space.family!r}; {chosen.name!r} is of {chosen.family!r}")
    scorer = DEFAULT if scorer == "auto" else scorer
    name = scorer if isinstance(scorer, str) else getattr(scorer, "__name__", type(scorer).__name__)
    if name == DEFAULT:
        projection = project(model, chosen)
        return AdditiveScores(model, chosen, name, projection.units, projection)
    units = find_scorer(scorer)(model, chosen)
    if isinstance(model, GraphModel):
        return NormScores(model, chosen, name, units)
    return AdditiveScores(model, chosen, name, units, project(model, chosen))
