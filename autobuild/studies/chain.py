"""From one study of a chain to the next: a model of everything that is known narrows the space that was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from autobuild.construct import widen
from autobuild.construct.dominance import fronts
from autobuild.construct.from_scores import narrow
from autobuild.cost.space_costs import CountOf, MetricOf
from autobuild.errors import ConfigError
from autobuild.importance import AdditiveScores, explain
from autobuild.studies.history import known_from
from autobuild.studies.models import LimitModels, Models, enough, joined, measured

if TYPE_CHECKING:
    import optuna

    from autobuild.labels import LabelledSet
    from autobuild.spaces import Architecture, SearchSpace
    from autobuild.studies.settings import Settings

DRAWN = 512  # networks that say which share of a space keeps the limits
ROOM = 3  # networks of a narrowed space for each one that is to be evaluated in it, those known already beside them


def narrowed(settings: Settings, studies: Sequence[optuna.Study], slots: int) -> SearchSpace:
    """The space of the next study.

    The given space is narrowed anew by a model of all labels and finished trials, for several targets by one each. Two
    rules keep it from cutting off what is sought: the best network known, or the front, and whatever is one step from
    it and scores as well in all targets come back, and a space with too few networks for ``slots`` evaluations grows
    round the best networks known until it has enough.

    Args:
        settings: The search.
        studies: The studies so far.
        slots: How many networks are to be evaluated in the next one.

    Raises:
        ConfigError: There is too little to fit a model on.
    """
    assert settings.narrowing is not None
    how: Mapping[str, Any] = settings.narrowing.how
    finished = measured(studies)
    labels = joined(settings.prior, finished, settings.space)
    if len(finished) and not isinstance(settings.model, str) and enough(labels):
        settings = replace(settings, model="gp")  # the model that was given does not know the trials
    models = Models(settings, labels).fitted()
    if not models:
        raise ConfigError("narrow: too few labels and finished trials to fit a model on; raise n_trials or give prior=")
    space, scores = settings.space, [explain(model, settings.space) for model in models]
    several, additive = len(scores) > 1, all(isinstance(own, AdditiveScores) for own in scores)
    where = _labelled_limits(settings, labels)
    limits: dict[str, Any] = {"where": where, "labels": labels} if where and additive else {}
    named = [getattr(cost, "hardware", None) for cost in settings.objective.named_costs.values()]
    if limits and any(named):
        limits["hardware"] = next(one for one in named if one is not None)
    small = narrow(scores if several else scores[0], **how, **limits)
    best, front = _best_first(settings, labels)
    told = [small.note]
    if front:
        wider = widen(space, small, front, [own.unit_scores for own in scores])
        if wider is not small:
            whom = f"the {len(front)} networks of the front" if several else "the best network"
            told.append(f"widened round {whom}, which lay on the rim")
        small = wider
    rules = LimitModels(settings.objective, labels, space, settings.seed)
    rules.fit(labels)
    needed = ROOM * slots + sum(arch in small for arch in best)
    if not _has_room(small, space, needed, rules):
        small = _roomy(space, small, best, needed, rules)
        told.append("widened for as many evaluations")
    small.note = "; ".join(told)
    return small


def _labelled_limits(settings: Settings, labels: LabelledSet | None) -> str:
    """Those limits that costs of the space and labels say something about; a cost that was given to the search alone
    is heeded when networks are proposed."""
    objective, columns = settings.objective, labels.metrics if labels is not None else []
    known = [
        limit.with_bound(limit.bound).text  # by names that say where they come from, whatever has been measured since
        for limit in objective.limits
        if all(
            isinstance(objective.costs[bare], CountOf | MetricOf) if kind == "cost" else bare in columns
            for kind, bare in (objective.names.find(name, limit.text) for name in limit.expression.names)
        )
    ]
    return " and ".join(known)


def _has_room(small: SearchSpace, space: SearchSpace, needed: int, rules: LimitModels) -> bool:
    """Whether ``needed`` networks of ``small`` keep the limits, as far as these are known or predicted."""
    if small.size < min(needed, space.size):
        return False
    if not rules.objective.limits or small.size == space.size:
        return True
    archs = small.sample(DRAWN, 0, "depth")
    kept = rules.objective.allows(archs)
    for values in rules.excess(archs).values():
        kept &= values <= 0
    return bool(kept.mean() * small.size >= needed)


def _roomy(
    space: SearchSpace, small: SearchSpace, best: Sequence[Architecture], needed: int, rules: LimitModels
) -> SearchSpace:
    """Add what is a step from the best networks, of ever more of them, until there is room for ``needed`` networks."""
    centres = list(best) or space.sample(64, seed=0, design="uniform")
    count = 1
    while not (enough := _has_room(small, space, needed, rules)) and count < 2 * len(centres):
        small = widen(space, small, centres[:count])
        count *= 2
    return small if enough or _has_room(small, space, needed, rules) else space


def _best_first(settings: Settings, labels: LabelledSet | None) -> tuple[list[Architecture], list[Architecture]]:
    """The networks known of the given space that keep the limits, best first (with several targets front after front),
    and the best of them, or the front."""
    known = [] if labels is None else known_from(labels, settings.space, settings.objective)
    inside = [one for one in known if all(broken <= 0 for broken in one.constraints.values())]
    if len(settings.objective.targets) == 1:
        archs = [one.arch for one in sorted(inside, key=lambda one: -one.values[0])]
        return archs, archs[:1]
    ordered = [front.tolist() for front in fronts(np.array([one.values for one in inside]))] if inside else []
    archs = [inside[place].arch for front in ordered for place in front]
    return archs, archs[: len(ordered[0]) if ordered else 0]
