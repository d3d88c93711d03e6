"""The fitted models beside a search: what proposals are predicted by, and what narrows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from autobuild.errors import ConfigError, LabelError, TargetError
from autobuild.expressions.parse import written
from autobuild.labels import LabelledSet
from autobuild.models import FittedModel, fit, unwarned
from autobuild.spaces import Architecture, SearchSpace
from autobuild.studies.objective import Objective
from autobuild.studies.settings import FEWEST, Settings
from autobuild.studies.study import ARCH, FROM, METRICS

if TYPE_CHECKING:
    import optuna

REFIT = 10  # finished trials between two fits of a limit, or a tenth of all rows if that is more
MOST = 1_500  # rows of a fit, whose cost grows with their cube
SURE = 0.75  # probability of keeping a limit below which a network is passed over


class Models:
    """One model a target, of the labels given; fitted when first asked for.

    Args:
        settings: The search.
        labels: All labels so far.
    """

    def __init__(self, settings: Settings, labels: LabelledSet | None) -> None:
        self.settings, self.labels = settings, labels
        self._made: list[FittedModel] | None = None

    def fitted(self) -> list[FittedModel]:
        """The models; none where there is nothing to fit."""
        if self._made is None:
            self._made = self._make()
        return self._made

    def predict(self, arch: Architecture) -> list[float] | None:
        """The targets of a network as predicted; None where nothing predicts."""
        models = self.fitted()
        return [float(model.predict_mean([arch])[0]) for model in models] if models else None

    @unwarned()
    def _make(self) -> list[FittedModel]:
        own = self.settings
        if own.model is None or (isinstance(own.model, str) and not enough(self.labels)):
            return []
        if isinstance(own.model, str):
            assert self.labels is not None
            costs = own.objective.costs
            return [
                fit(self.labels, text, model=own.model, seed=own.seed, costs=costs) for text in own.objective.explicit
            ]
        models = [own.model] if isinstance(own.model, FittedModel) else list(own.model)
        if len(models) != len(own.objective.targets):
            raise ConfigError(f"model: {len(models)} fitted models for {len(own.objective.targets)} targets")
        for model in models:
            if model.space.family != own.space.family:
                raise ConfigError(f"model of the space {model.space.name!r}, and {own.space.name!r} is searched")
        return models


def enough(labels: LabelledSet | None) -> bool:
    """Whether a model can be fitted on so many labels."""
    return labels is not None and len(labels) >= FEWEST


def joined(prior: LabelledSet | None, evaluated: pd.DataFrame, space: SearchSpace) -> LabelledSet | None:
    """The prior labels and what a search has measured, as one set; None where there is nothing.

    Args:
        prior: The labels.
        evaluated: ``arch`` and metrics of the finished trials.
        space: Of the trials, where there are no labels.
    """
    if evaluated.empty:
        return prior
    frames = [evaluated] if prior is None else [prior.frame, evaluated]
    space = space if prior is None else prior.space
    return LabelledSet.from_frame(pd.concat(frames, ignore_index=True), space, source="labels and trials")


@dataclass(frozen=True)
class Cautious:
    """A model of what has to stay 0 or less, moved up: it is reached or undercut with probability ``SURE``.

    What a sampler proposes lies near the bounds of its limits, where half of the networks that are predicted to keep
    them do not.
    """

    model: FittedModel

    @property
    def space(self) -> SearchSpace:
        """See :class:`FittedModel`."""
        return self.model.space

    @property
    def training_archs(self) -> Sequence[Architecture]:
        """See :class:`FittedModel`."""
        return self.model.training_archs

    def predict_mean(self, archs: Sequence[Architecture]) -> np.ndarray:
        """What is exceeded with probability ``1 - SURE``. Shape ``(n,)``."""
        predicted, _, upper = self.model.intervals(archs, 2 * SURE - 1)
        return np.where(np.isfinite(upper), upper, predicted)

    def intervals(self, archs: Sequence[Architecture], level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See :meth:`FittedModel.intervals`."""
        moved = self.predict_mean(archs)
        predicted, lower, upper = self.model.intervals(archs, level)
        return moved, lower + moved - predicted, upper + moved - predicted

    def draw(self, archs: Sequence[Architecture], count: int, seed: int) -> np.ndarray | None:
        """See :meth:`FittedModel.draw`."""
        drawn = self.model.draw(archs, count, seed)
        return None if drawn is None else drawn + self.predict_mean(archs) - self.model.predict_mean(archs)


class LimitModels:
    """Predict by how much networks break limits over measured metrics, whoever has measured these: the prior labels,
    earlier studies of a chain, and the study that runs.

    One Gaussian process a limit, of its excess in shares of the bound; fitted anew as finished trials become more.

    Args:
        objective: Its limits over measured metrics.
        labels: What was known before the study began.
        space: Of the trials, where there are no labels.
        seed: Seed of the fits.
    """

    def __init__(self, objective: Objective, labels: LabelledSet | None, space: SearchSpace, seed: int) -> None:
        self.objective, self.labels, self.seed = objective, labels, seed
        self.space = space if labels is None else labels.space
        self.models: dict[str, Cautious] = {}
        self._fitted_on = (-1, -1)  # study and rows

    def learn(self, study: optuna.Study) -> None:
        """Fit anew if the study has finished enough trials since the last fit."""
        if not self.objective.measured_limits:
            return
        rows = measured([study], failed=True)
        known = len(rows) + (0 if self.labels is None else len(self.labels))
        study_id, before = self._fitted_on
        if known < FEWEST or (study_id == study._study_id and known < before + max(REFIT, before // 10)):
            return
        self._fitted_on = (study._study_id, known)
        self.fit(joined(self.labels, rows, self.space))

    def fit(self, labels: LabelledSet | None) -> None:
        """Fit on these labels alone; what they say nothing about stays as it was."""
        if labels is None:
            return
        for limit in self.objective.measured_limits:
            model = self._fit(labels, self.objective.known_excess(limit, labels))
            if model is not None:
                self.models[limit.text] = Cautious(model)

    @unwarned()
    def _fit(self, labels: LabelledSet, values: np.ndarray) -> FittedModel | None:
        """None where too few rows have a value, or all the same."""
        there = np.flatnonzero(np.isfinite(values))
        if len(there) > MOST:  # those near the bound say most about it
            there = np.sort(there[np.argsort(np.abs(values[there]), kind="stable")[:MOST]])
        rows = pd.DataFrame({"arch": [labels.archs[row].text for row in there], "excess": values[there]})
        try:
            known = LabelledSet.from_frame(rows, self.space, source="limit")
            return fit(known, "excess", model="gp", seed=self.seed, folds=2)  # folds only widen or narrow intervals
        except (LabelError, TargetError):
            return None

    def excess(self, archs: Sequence[Architecture]) -> dict[str, np.ndarray]:
        """Limit -> predicted excess, shape ``(len(archs),)``, of those limits that can be predicted yet."""
        return {text: model.predict_mean(list(archs)) for text, model in self.models.items()} if len(archs) else {}


def measured(studies: Sequence[optuna.Study], *, failed: bool = False) -> pd.DataFrame:
    """``arch`` and the metrics of the complete trials that these studies have evaluated themselves.

    Args:
        studies: The studies.
        failed: Also of trials that failed for want of a metric: the others that were measured.
    """
    rows = [
        {"arch": trial.user_attrs[ARCH], **trial.user_attrs[METRICS]}
        for study in studies
        for trial in study.get_trials(deepcopy=False)
        if trial.state.name in (("COMPLETE", "FAIL") if failed else ("COMPLETE",))
        and FROM not in trial.user_attrs
        and METRICS in trial.user_attrs
    ]
    return pd.DataFrame(rows)


@dataclass
class LimitPredictor:
    """Predicts label columns that an evaluator does not measure, by a Gaussian process on the prior labels."""

    prior: LabelledSet | None
    seed: int
    _models: dict[str, FittedModel | None] = field(default_factory=dict)

    @unwarned()
    def __call__(self, name: str, archs: Sequence[Architecture]) -> np.ndarray | None:
        """Predictions of one column, shape ``(len(archs),)``; None where the labels do not have it."""
        if self.prior is None or name not in self.prior.metrics:
            return None
        if name not in self._models:
            try:
                self._models[name] = fit(self.prior, f"label.{written(name)}", model="gp", seed=self.seed)
            except (LabelError, TargetError):  # too few rows have it, or all the same
                self._models[name] = None
        model = self._models[name]
        return None if model is None else model.predict_mean(list(archs))
