"""``explain``: compute the importance scores of a fitted model with any scorer."""

from __future__ import annotations

from autobuild.errors import ConfigError
from autobuild.importance.additive_scores import AdditiveScores
from autobuild.importance.norm_scores import NormScores
from autobuild.importance.projection import project
from autobuild.importance.scorers import Scorer, find_scorer
from autobuild.importance.scores import Scores
from autobuild.models import FittedModel, GraphModel
from autobuild.models.memory import memory_errors
from autobuild.spaces import SearchSpace

DEFAULT = "additive"


def explain(model: FittedModel, space: SearchSpace | None = None, scorer: str | Scorer = "auto") -> Scores:
    """Compute importance scores of features, operations, layers and candidates from a fitted model.

    Args:
        model: The fitted model.
        space: The space whose candidates are scored: the model's space (default), or one narrowed or joined from it.
        scorer: ``"additive"`` (the same as ``"auto"``): scores that add up to the prediction, for every family of
            models. ``"hopnorm"``: the scores of the AutoBuild paper (CVPR 2024), for ``model="graph"``. Or another
            registered name, or a callable :class:`~autobuild.importance.Scorer`.

    Returns:
        The scores. Their tables (``features``, ``operations``, ``layers``, ``candidates``) are pandas frames, in units
        of the target.

    Raises:
        ConfigError: The scorer is unknown or cannot read this model, or the space is of another family.
    """
    if not isinstance(model, FittedModel):
        raise ConfigError(f"model={model!r}: a fitted model is accepted, as ab.fit(...) returns it")
    chosen = space if space is not None else model.space
    if not isinstance(chosen, SearchSpace):
        raise ConfigError(f"space={chosen!r}: a search space is accepted, such as the result of autobuild.space(...)")
    if chosen.family != model.space.family or chosen.node_features != model.space.node_features:
        raise ConfigError(f"the model was fitted on {model.space.family!r}; {chosen.name!r} is of {chosen.family!r}")
    chosen = chosen.told_apart(model.space.equal)
    scorer = DEFAULT if scorer == "auto" else scorer
    name = scorer if isinstance(scorer, str) else getattr(scorer, "__name__", type(scorer).__name__)
    most = max(chosen.units, key=lambda unit: unit.size)
    advice = f"unit {most.name!r} has {most.size:,} candidates; a narrowed space has fewer"
    with memory_errors("the explanation", advice):
        if name == DEFAULT:
            projection = project(model, chosen)
            return AdditiveScores(model, chosen, name, projection.units, projection)
        units = find_scorer(scorer)(model, chosen)
        if isinstance(model, GraphModel):
            return NormScores(model, chosen, name, units)
        return AdditiveScores(model, chosen, name, units, project(model, chosen))
