"""What a study knows from elsewhere: labels entered as finished trials, and trials made from an architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from autobuild.errors import EvaluationError
from autobuild.studies.study import ARCH, FROM, LABEL, METRICS, PREDICTED, counts

if TYPE_CHECKING:
    import optuna

    from autobuild.labels import LabelledSet
    from autobuild.spaces import Architecture, SearchSpace
    from autobuild.studies.claims import Claims
    from autobuild.studies.objective import Objective


@dataclass(frozen=True)
class Known:
    """A network whose outcome is known.

    Attributes:
        arch: The network.
        values: Its targets.
        metrics: What was measured.
        constraints: Limit -> by how much it is broken.
        predicted: The targets as a model predicts them, if one does.
    """

    arch: Architecture
    values: Sequence[float]
    metrics: Mapping[str, float]
    constraints: Mapping[str, float]
    predicted: Sequence[float] | None = None


def known_from(labels: LabelledSet, space: SearchSpace, objective: Objective) -> list[Known]:
    """The labelled networks that lie in ``space`` and have finite targets and checkable limits, in order.

    ``space`` may be narrower than that of the labels.
    """
    found = []
    metrics = labels.frame.drop(columns="arch")
    rows = metrics.to_dict("records")
    for arch, row in zip(labels.archs, rows, strict=True):
        if arch not in space:
            continue
        measured = {str(name): float(value) for name, value in row.items() if np.isfinite(value)}
        try:
            values = objective.values(arch, measured)
            found.append(Known(arch, values, measured, objective.constraints(arch, measured)))
        except EvaluationError:
            continue
    return found


def enter(
    study: optuna.Study,
    claims: Claims,
    space: SearchSpace,
    grain: str,
    known: Sequence[Known],
    source: str = LABEL,
) -> int:
    """Enter networks as finished trials that take no slot; those that are there already are passed over.

    Returns:
        How many were entered. What a killed process has left undone is done by the next call.
    """
    from optuna.trial import TrialState

    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    there = {trial.user_attrs.get(ARCH) for trial in finished}
    entered: set[str] = set()
    new = []
    for one in known:
        key = space.key(one.arch)
        if one.arch.text not in there and key not in entered:
            entered.add(key)
            new.append(one)
    # Claimed first: a trial without a claim could be evaluated again, a claim without its trial is mended here.
    claims.enter([(space.key(one.arch), one.arch.text) for one in known])
    for one in new:
        attrs: dict[str, Any] = {METRICS: dict(one.metrics), FROM: source}
        if one.predicted is not None:
            attrs[PREDICTED] = list(one.predicted)
        study.add_trial(
            trial_of(space, grain, one.arch, attrs, values=list(one.values), constraints=dict(one.constraints))
        )
    return len(new)


def trial_of(
    space: SearchSpace, grain: str, arch: Architecture, attrs: Mapping[str, Any], **given: Any
) -> optuna.trial.FrozenTrial:
    """A trial of Optuna with the parameters of ``arch``; ``given`` goes to ``optuna.trial.create_trial``."""
    import optuna

    choices = space.choices(arch, grain)
    return optuna.trial.create_trial(
        params=space.params(arch, grain),
        distributions={name: optuna.distributions.CategoricalDistribution(values) for name, values in choices.items()},
        user_attrs={ARCH: arch.text, **attrs},
        **given,
    )


def mend(study: optuna.Study, claims: Claims, space: SearchSpace) -> None:
    """Claim what the study has finished: claims in a file of their own can be lost without the study."""
    trials = study.get_trials(deepcopy=False)
    done: dict[str, list[tuple[str, str]]] = {"spent": [], "known": []}
    for trial in trials:
        if counts(trial):
            arch = space.parse(trial.user_attrs[ARCH])
            state = "known" if FROM in trial.user_attrs else "spent"
            done[state].append((space.key(arch), arch.text))
    for state, pairs in done.items():
        claims.enter(pairs, state)
