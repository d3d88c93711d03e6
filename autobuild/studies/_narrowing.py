"""Narrow the space of a search between two linked studies, by models of all labels and finished trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optuna

from autobuild.construct import narrow, widen
from autobuild.construct.dominance import fronts
from autobuild.cost.space_costs import CountOf, MetricOf
from autobuild.errors import ConfigError
from autobuild.importance import AdditiveScores, explain
from autobuild.labels import LabelledSet
from autobuild.spaces import Architecture, SearchSpace
from autobuild.studies._settings import Settings
from autobuild.studies._surrogates import LimitModels, TargetModels, are_enough, evaluated_in, with_evaluated
from autobuild.studies._trials import measured_in_labels

SAMPLE = 512  # networks from which the share of a space that satisfies the limits is estimated
ROOM = 3  # minimum number of networks in a narrowed space for each evaluation, besides the known ones


def narrowed(settings: Settings, studies: Sequence[optuna.Study], slots: int) -> SearchSpace:
    """The space of the next linked study.

    The given space is narrowed anew by a model of all labels and finished trials, with several targets by one model for
    each. Two rules protect what the search looks for. The best known network (or the front), and those one step from it
    that score at least as well in all targets, are added again. And if the space has too few networks for ``slots``
    evaluations, it is widened around the best known networks until it has enough.

    Args:
        settings: The arguments of the search.
        studies: The studies so far.
        slots: Number of evaluations in the next study.

    Returns:
        The space; its ``note`` says how it was narrowed.

    Raises:
        ConfigError: There are too few labels to fit a model on.
    """
    assert settings.narrowing is not None
    options: dict[str, Any] = dict(settings.narrowing.criterion)
    evaluated = evaluated_in(studies)
    labels = with_evaluated(settings.prior, evaluated, settings.space)
    if len(evaluated) and not isinstance(settings.model, str) and are_enough(labels):
        settings = replace(settings, model="gp")  # a fitted model that was given does not know the trials
    models = TargetModels(settings, labels).fitted()
    if not models:
        raise ConfigError("narrow: too few labels and finished trials to fit a model on; raise n_trials or give prior=")
    space, scores = settings.space, [explain(model, settings.space) for model in models]
    where = _limits_of_labels(settings, labels)
    if where and all(isinstance(score, AdditiveScores) for score in scores):
        options |= {"where": where, "labels": labels}
        named = [getattr(cost, "hardware", None) for cost in settings.objective.named_costs.values()]
        if any(named):
            options["hardware"] = next(hardware for hardware in named if hardware is not None)
    small = narrow(scores if len(scores) > 1 else scores[0], **options)
    notes = [small.note]
    ranked, best = _ranked(settings, labels)
    if best:
        wider = widen(space, small, best, [score.unit_scores for score in scores])
        if wider is not small:
            centre = f"the {len(best)} networks of the front" if len(scores) > 1 else "the best network"
            notes.append(f"widened around {centre}")
        small = wider
    limits = LimitModels(settings.objective, labels, space, settings.seed)
    limits.fit(labels)
    needed = ROOM * slots + sum(arch in small for arch in ranked)
    if not _has_room(small, space, needed, limits):
        small = _with_room(small, space, ranked, needed, limits)
        notes.append("widened for as many evaluations")
    small.note = "; ".join(notes)
    return small


def _limits_of_labels(settings: Settings, labels: LabelledSet | None) -> str:
    """The limits on costs of the space and on labelled metrics; others are checked when networks are proposed."""
    objective, columns = settings.objective, labels.metrics if labels is not None else []
    known = [
        limit.with_bound(limit.bound).text  # with names such as cost.params, which new label columns do not change
        for limit in objective.limits
        if all(
            isinstance(objective.costs[bare], CountOf | MetricOf) if kind == "cost" else bare in columns
            for kind, bare in (objective.names.find(name, limit.text) for name in limit.expression.names)
        )
    ]
    return " and ".join(known)


def _has_room(small: SearchSpace, space: SearchSpace, needed: int, limits: LimitModels) -> bool:
    """Whether ``needed`` networks of ``small`` satisfy the limits, as far as these are known or predicted."""
    if small.size < min(needed, space.size):
        return False
    if not limits.objective.limits or small.size == space.size:
        return True
    archs = small.sample(SAMPLE, 0, "depth")
    satisfied = limits.objective.allows(archs)
    for excess in limits.excess(archs).values():
        satisfied &= excess <= 0
    return bool(satisfied.mean() * min(small.size, 10**300) >= needed)  # larger numbers overflow


def _with_room(
    small: SearchSpace, space: SearchSpace, ranked: Sequence[Architecture], needed: int, limits: LimitModels
) -> SearchSpace:
    """``small``, widened by the neighbours of more and more of the best networks, until it has room for ``needed``."""
    centres = list(ranked) or space.sample(64, seed=0, design="uniform")
    count = 1
    while not _has_room(small, space, needed, limits):
        if count >= 2 * len(centres):
            return space
        small = widen(space, small, centres[:count])
        count *= 2
    return small


def _ranked(settings: Settings, labels: LabelledSet | None) -> tuple[list[Architecture], list[Architecture]]:
    """The known networks of the given space that satisfy the limits, best first, and the best of them.

    With several targets they are ordered front by front, and the best are the first front.
    """
    measured = [] if labels is None else measured_in_labels(labels, settings.space, settings.objective)
    feasible = [one for one in measured if all(excess <= 0 for excess in one.constraints.values())]
    if len(settings.objective.targets) == 1:
        archs = [one.arch for one in sorted(feasible, key=lambda one: -one.values[0])]
        return archs, archs[:1]
    ordered = [front.tolist() for front in fronts(np.array([one.values for one in feasible]))] if feasible else []
    archs = [feasible[row].arch for front in ordered for row in front]
    return archs, archs[: len(ordered[0]) if ordered else 0]
