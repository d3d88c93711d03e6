"""What came of an evaluation, and telling it to the study so that a killed process can be stood in for."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from autobuild.studies.study import ARCH, METRICS, PASSED, REASON

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Outcome:
    """How an evaluation ended; it goes to the claim first and to the study then.

    Attributes:
        state: ``COMPLETE``, ``PRUNED`` or ``FAIL``.
        values: The targets of a complete one.
        metrics: What was measured.
        constraints: Limit -> by how much it is broken.
        reason: Why it failed.
    """

    state: str
    values: Sequence[float] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    constraints: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def read(cls, text: str) -> Outcome:
        """The inverse of :meth:`text`."""
        return cls(**json.loads(text))

    @property
    def attributes(self) -> dict[str, Any]:
        """User attributes of the trial."""
        attrs: dict[str, Any] = {}
        finite = {name: value for name, value in self.metrics.items() if math.isfinite(value)}
        if finite:
            attrs[METRICS] = finite
        if self.reason:
            attrs[REASON] = self.reason[:1000]
        return attrs


def tell(study: optuna.Study, number: int, outcome: Outcome) -> None:
    """Finish trial ``number``; doing it again changes nothing.

    A trial that was given up as stale while its evaluation ended well cannot be finished any more: a copy of it is.
    """
    import optuna

    storage = study._storage
    trial_id = storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    try:
        state = _finish(study, trial_id, number, outcome)
    except optuna.exceptions.UpdateFinishedTrialError:
        state = storage.get_trial(trial_id).state
    if state == optuna.trial.TrialState.FAIL and outcome.state != "FAIL":
        _add_copy(study, storage.get_trial(trial_id), outcome)


def _finish(study: optuna.Study, trial_id: int, number: int, outcome: Outcome) -> optuna.trial.TrialState:
    """The state that the trial has now.

    Raises:
        UpdateFinishedTrialError: It was finished before.
    """
    import optuna

    storage, state = study._storage, optuna.trial.TrialState[outcome.state]
    for name, value in outcome.attributes.items():
        storage.set_trial_user_attr(trial_id, name, value)
    for name, broken in outcome.constraints.items():
        storage.set_trial_system_attr(trial_id, f"constraints:{name}", broken)
    values = list(outcome.values) if outcome.state == "COMPLETE" else None
    return study.tell(number, values, state=state, skip_if_finished=True).state


def give_up(study: optuna.Study, number: int, why: str) -> None:
    """Fail trial ``number`` unless it is finished."""
    import optuna

    if number < 0:
        return
    trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        if not study._storage.get_trial(trial_id).state.is_finished():
            study._storage.set_trial_user_attr(trial_id, PASSED, why)
            study.tell(number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)


def _add_copy(study: optuna.Study, trial: optuna.trial.FrozenTrial, outcome: Outcome) -> None:
    import optuna

    finished = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    text = trial.user_attrs.get(ARCH)
    if any(other.user_attrs.get(ARCH) == text for other in study.get_trials(deepcopy=False, states=finished)):
        return
    study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState[outcome.state],
            values=list(outcome.values) if outcome.state == "COMPLETE" else None,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={**{k: v for k, v in trial.user_attrs.items() if k != PASSED}, **outcome.attributes},
            intermediate_values=trial.intermediate_values,
            constraints=dict(outcome.constraints),
        )
    )
