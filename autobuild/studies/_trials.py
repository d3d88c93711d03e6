"""Trials of Optuna: made from architectures, entered from known measurements, and finished with outcomes."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from autobuild.errors import EvaluationError

if TYPE_CHECKING:
    import optuna

    from autobuild.labels import LabelledSet
    from autobuild.spaces import Architecture, SearchSpace
    from autobuild.studies._claims import Claims
    from autobuild.studies._objective import Objective

# User attributes of trials.
ARCH, METRICS, PREDICTED = "arch", "metrics", "predicted"
REASON = "reason"  # why an evaluation failed
PASSED = "passed_over"  # why a trial was not evaluated, or why its outcome does not count
FROM = "from"  # where a known measurement came from; missing in trials that this study evaluated
LABEL = "label"  # value of FROM for prior labels; for trials of an earlier study, the name of that study


def counts(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether a trial has the final outcome of its architecture: neither passed over nor lost with its worker."""
    attrs = trial.user_attrs
    if not trial.state.is_finished() or ARCH not in attrs or PASSED in attrs:
        return False
    return trial.state.name != "FAIL" or REASON in attrs


def create_trial(
    space: SearchSpace, grain: str, arch: Architecture, attrs: Mapping[str, Any], **options: Any
) -> optuna.trial.FrozenTrial:
    """A trial with the parameters of ``arch``; ``options`` are passed to ``optuna.trial.create_trial``."""
    import optuna

    choices = space.choices(arch, grain)
    return optuna.trial.create_trial(
        params=space.params(arch, grain),
        distributions={name: optuna.distributions.CategoricalDistribution(values) for name, values in choices.items()},
        user_attrs={ARCH: arch.text, **attrs},
        **options,
    )


# -- known measurements ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """An architecture with known metrics.

    Attributes:
        arch: The architecture.
        values: Its targets.
        metrics: The measured metrics.
        constraints: Limit -> by how much it is broken, as a share of its bound; 0 or less if it is satisfied.
        predicted: The targets as a model predicted them; None if no model did.
    """

    arch: Architecture
    values: Sequence[float]
    metrics: Mapping[str, float]
    constraints: Mapping[str, float]
    predicted: Sequence[float] | None = None


def measured_in_labels(labels: LabelledSet, space: SearchSpace, objective: Objective) -> list[Measured]:
    """The labelled architectures inside ``space`` that have finite targets and all limited metrics, in order."""
    measured = []
    rows = labels.frame.drop(columns="arch").to_dict("records")
    for arch, row in zip(labels.archs, rows, strict=True):
        if arch not in space:
            continue
        metrics = {str(name): float(value) for name, value in row.items() if np.isfinite(value)}
        with contextlib.suppress(EvaluationError):
            values = objective.values(arch, metrics)
            measured.append(Measured(arch, values, metrics, objective.constraints(arch, metrics)))
    return measured


def measured_in_study(study: optuna.Study, space: SearchSpace) -> Iterator[Measured]:
    """The complete trials that ``study`` evaluated itself and whose architectures lie in ``space``."""
    for trial in study.get_trials(deepcopy=False):
        attrs = trial.user_attrs
        if trial.state.name == "COMPLETE" and FROM not in attrs and attrs.get(ARCH) in space:
            arch, metrics = space.parse(attrs[ARCH]), attrs.get(METRICS, {})
            yield Measured(arch, trial.values, metrics, trial.constraints, attrs.get(PREDICTED))


def enter_measured(
    study: optuna.Study, claims: Claims, space: SearchSpace, grain: str, measured: Sequence[Measured], source: str
) -> None:
    """Enter known measurements as finished trials, which take no slot; architectures that have one are skipped.

    A call that is repeated after a kill enters the missing ones.
    """
    from optuna.trial import TrialState

    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    texts = {trial.user_attrs.get(ARCH) for trial in finished}
    keys = [space.key(one.arch) for one in measured]
    # Claims come first: an architecture with a trial but no claim could be evaluated again, whereas one with a claim
    # but no trial gets its trial from the next call.
    claims.enter([(key, one.arch.text) for key, one in zip(keys, measured, strict=True)])
    entered: set[str] = set()
    for key, one in zip(keys, measured, strict=True):
        if one.arch.text in texts or key in entered:
            continue
        entered.add(key)
        attrs: dict[str, Any] = {METRICS: dict(one.metrics), FROM: source}
        if one.predicted is not None:
            attrs[PREDICTED] = list(one.predicted)
        study.add_trial(
            create_trial(space, grain, one.arch, attrs, values=list(one.values), constraints=dict(one.constraints))
        )


def claim_finished(study: optuna.Study, claims: Claims, space: SearchSpace) -> None:
    """Claim what the study has finished, because a file of claims can be lost while the study is kept."""
    finished: dict[str, list[tuple[str, str]]] = {"spent": [], "known": []}
    for trial in study.get_trials(deepcopy=False):
        if counts(trial):
            arch = space.parse(trial.user_attrs[ARCH])
            finished["known" if FROM in trial.user_attrs else "spent"].append((space.key(arch), arch.text))
    for state, pairs in finished.items():
        claims.enter(pairs, state)


# -- outcomes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """How an evaluation ended. It is written to the claim first, then to the study.

    Attributes:
        state: ``COMPLETE``, ``PRUNED`` or ``FAIL``.
        values: The targets, if it is complete.
        metrics: The measured metrics.
        constraints: Limit -> by how much it is broken, as a share of its bound.
        reason: Why it failed.
    """

    state: str
    values: Sequence[float] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    constraints: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""

    def to_json(self) -> str:
        """The outcome as JSON text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        """Read the text that :meth:`to_json` returns."""
        return cls(**json.loads(text))

    @property
    def attributes(self) -> dict[str, Any]:
        """User attributes of the trial."""
        finite = {name: value for name, value in self.metrics.items() if math.isfinite(value)}
        return ({METRICS: finite} if finite else {}) | ({REASON: self.reason[:1000]} if self.reason else {})

    @property
    def trial_values(self) -> list[float] | None:
        """Values of the trial; None if it is not complete."""
        return list(self.values) if self.state == "COMPLETE" else None


def finish_trial(study: optuna.Study, number: int, outcome: Outcome) -> None:
    """Finish trial ``number``; repeating the call changes nothing.

    A trial that was failed as stale while its evaluation succeeded cannot be changed any more, so a copy is added.
    """
    import optuna

    storage, state = study._storage, optuna.trial.TrialState[outcome.state]
    trial_id = storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    try:
        for name, value in outcome.attributes.items():
            storage.set_trial_user_attr(trial_id, name, value)
        for name, broken in outcome.constraints.items():
            storage.set_trial_system_attr(trial_id, f"constraints:{name}", broken)
        stored = study.tell(number, outcome.trial_values, state=state, skip_if_finished=True).state
    except optuna.exceptions.UpdateFinishedTrialError:
        stored = storage.get_trial(trial_id).state
    if stored == optuna.trial.TrialState.FAIL and outcome.state != "FAIL":
        _add_copy(study, storage.get_trial(trial_id), outcome)


def _add_copy(study: optuna.Study, trial: optuna.trial.FrozenTrial, outcome: Outcome) -> None:
    import optuna

    finished = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    text = trial.user_attrs.get(ARCH)
    if any(other.user_attrs.get(ARCH) == text for other in study.get_trials(deepcopy=False, states=finished)):
        return
    study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState[outcome.state],
            values=outcome.trial_values,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={**{k: v for k, v in trial.user_attrs.items() if k != PASSED}, **outcome.attributes},
            intermediate_values=trial.intermediate_values,
            constraints=dict(outcome.constraints),
        )
    )


def pass_over(study: optuna.Study, number: int, reason: str) -> None:
    """Fail trial ``number`` unless it is finished; its architecture keeps no outcome from it."""
    import optuna

    if number < 0:
        return
    trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        if not study._storage.get_trial(trial_id).state.is_finished():
            study._storage.set_trial_user_attr(trial_id, PASSED, reason)
            study.tell(number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
