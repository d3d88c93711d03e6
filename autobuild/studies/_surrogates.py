"""Surrogate models of a search: they predict targets and limited metrics of networks before these are evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import optuna
import pandas as pd

from autobuild._typing import FloatArray
from autobuild.errors import ConfigError, LabelError, TargetError
from autobuild.expressions.parse import written
from autobuild.labels import LabelledSet
from autobuild.models import FittedModel, fit, fit_again, unwarned
from autobuild.spaces import Architecture, SearchSpace
from autobuild.studies._objective import Objective
from autobuild.studies._settings import MIN_LABELS, Settings
from autobuild.studies._trials import ARCH, FROM, METRICS

REFIT_EVERY = 10  # finished trials between two fits of a limit, or a tenth of all rows if that is more
MAX_ROWS = 1_500  # of a fit, whose time grows with their cube
CONFIDENCE = 0.75  # a network is passed over if it satisfies a limit with a smaller probability


class TargetModels:
    """One model for each target, fitted when it is first needed.

    Args:
        settings: The arguments of the search.
        labels: All labels so far.
    """

    def __init__(self, settings: Settings, labels: LabelledSet | None) -> None:
        self.settings, self.labels = settings, labels
        self._models: list[FittedModel] | None = None

    def fitted(self) -> list[FittedModel]:
        """The models; empty if there are too few labels.

        Raises:
            ConfigError: The models given to the search do not fit its targets or its space.
        """
        if self._models is None:
            self._models = self._fit()
        return self._models

    def predict(self, arch: Architecture) -> list[float] | None:
        """The predicted targets of a network; None if there is no model."""
        return [float(model.predict_mean([arch])[0]) for model in self.fitted()] or None

    @unwarned()
    def _fit(self) -> list[FittedModel]:
        settings, objective = self.settings, self.settings.objective
        if settings.model is None:
            return []
        if isinstance(settings.model, str):
            if self.labels is None or not are_enough(self.labels):
                return []
            options = {"model": settings.model, "seed": settings.seed, "costs": objective.costs}
            return [fit(self.labels, target, **options) for target in objective.explicit]  # type: ignore[arg-type]
        models = [settings.model] if isinstance(settings.model, FittedModel) else list(settings.model)
        if len(models) != len(objective.targets):
            raise ConfigError(f"model: {len(models)} fitted models for {len(objective.targets)} targets")
        for model in models:
            if model.space.family != settings.space.family:
                raise ConfigError(f"model of the space {model.space.name!r}, and {settings.space.name!r} is searched")
        return models


def are_enough(labels: LabelledSet | None) -> bool:
    """Whether there are enough labels to fit a model on."""
    return labels is not None and len(labels) >= MIN_LABELS


def with_evaluated(prior: LabelledSet | None, evaluated: pd.DataFrame, space: SearchSpace) -> LabelledSet | None:
    """The prior labels and the evaluated trials as one labelled set; None if both are empty.

    Args:
        prior: The prior labels.
        evaluated: Columns ``arch`` and metrics, see :func:`evaluated_in`.
        space: Space of the trials, used if there are no prior labels.
    """
    if evaluated.empty:
        return prior
    frames = [evaluated] if prior is None else [prior.frame, evaluated]
    space = space if prior is None else prior.space
    return LabelledSet.from_frame(pd.concat(frames, ignore_index=True), space, source="labels and trials")


def evaluated_in(studies: Sequence[optuna.Study], *, failed: bool = False) -> pd.DataFrame:
    """``arch`` and metrics of the complete trials that these studies evaluated themselves.

    Args:
        studies: The studies.
        failed: Also include trials that failed because a metric was missing, with the metrics that they have.
    """
    states = ("COMPLETE", "FAIL") if failed else ("COMPLETE",)
    return pd.DataFrame(
        [
            {"arch": trial.user_attrs[ARCH], **trial.user_attrs[METRICS]}
            for study in studies
            for trial in study.get_trials(deepcopy=False)
            if trial.state.name in states and FROM not in trial.user_attrs and METRICS in trial.user_attrs
        ]
    )


@dataclass(frozen=True)
class UpperQuantile:
    """A model of the excess over a limit whose mean is moved up to the ``CONFIDENCE`` quantile of the prediction.

    Samplers propose networks near the bounds of their limits. There, half of those whose predicted mean satisfies a
    limit break it.
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

    def predict_mean(self, archs: Sequence[Architecture]) -> FloatArray:
        """The value that is exceeded with probability ``1 - CONFIDENCE``. Shape ``(n,)``."""
        predicted, _, upper = self.model.intervals(archs, 2 * CONFIDENCE - 1)
        return np.where(np.isfinite(upper), upper, predicted)

    def intervals(self, archs: Sequence[Architecture], level: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """See :meth:`FittedModel.intervals`."""
        mean = self.predict_mean(archs)
        predicted, lower, upper = self.model.intervals(archs, level)
        return mean, lower + mean - predicted, upper + mean - predicted

    def draw(self, archs: Sequence[Architecture], count: int, seed: int) -> FloatArray | None:
        """See :meth:`FittedModel.draw`."""
        draws = self.model.draw(archs, count, seed)
        return None if draws is None else draws + self.predict_mean(archs) - self.model.predict_mean(archs)


class LimitModels:
    """Predict by how much networks break limits over measured metrics.

    One Gaussian process for each limit predicts its excess as a share of the bound. It is fitted on the prior labels,
    on earlier linked studies and on the running study, and again as more trials finish.

    Args:
        objective: Its limits over measured metrics are predicted.
        labels: All labels at the start of the study.
        space: Space of the trials, used if there are no labels.
        seed: Seed of the fits.
    """

    def __init__(self, objective: Objective, labels: LabelledSet | None, space: SearchSpace, seed: int) -> None:
        self.objective, self.labels, self.seed = objective, labels, seed
        self.space = space if labels is None else labels.space
        self.models: dict[str, UpperQuantile] = {}
        self._fitted_on = (-1, -1)  # id of the study, number of rows

    def learn(self, study: optuna.Study) -> None:
        """Fit again if the study has finished enough trials since the last fit."""
        if not self.objective.measured_limits:
            return
        evaluated = evaluated_in([study], failed=True)
        rows = len(evaluated) + (0 if self.labels is None else len(self.labels))
        study_id, before = self._fitted_on
        if rows < MIN_LABELS or (study_id == study._study_id and rows < before + max(REFIT_EVERY, before // 10)):
            return
        self._fitted_on = (study._study_id, rows)
        self.fit(with_evaluated(self.labels, evaluated, self.space))

    def fit(self, labels: LabelledSet | None) -> None:
        """Fit on these labels alone; limits whose metrics they lack keep their models."""
        if labels is None:
            return
        for limit in self.objective.measured_limits:
            model = self._fit(labels, self.objective.known_excess(limit, labels))
            if model is not None:
                self.models[limit.text] = UpperQuantile(model)

    @unwarned()
    def _fit(self, labels: LabelledSet, excess: FloatArray) -> FittedModel | None:
        """A model of the excess; None if too few rows have a value, or all have the same."""
        rows = np.flatnonzero(np.isfinite(excess))
        if len(rows) > MAX_ROWS:  # those nearest to the bound tell most about it
            rows = np.sort(rows[np.argsort(np.abs(excess[rows]), kind="stable")[:MAX_ROWS]])
        frame = pd.DataFrame({"arch": labels.frame["arch"].to_numpy()[rows], "excess": excess[rows]})
        try:
            rows_with_excess = LabelledSet.from_frame(frame, self.space, source="limit")
            return fit_again(rows_with_excess, "excess", "gp", self.seed)
        except (LabelError, TargetError):
            return None

    def excess(self, archs: Sequence[Architecture]) -> dict[str, FloatArray]:
        """Limit -> predicted excess, shape ``(len(archs),)``, for every limit that has a model."""
        return {text: model.predict_mean(list(archs)) for text, model in self.models.items()} if len(archs) else {}


@dataclass
class MetricPredictor:
    """Predicts metrics that the evaluator does not measure, by a Gaussian process on the prior labels."""

    prior: LabelledSet | None
    seed: int
    _models: dict[str, FittedModel | None] = field(default_factory=dict)

    @unwarned()
    def __call__(self, name: str, archs: Sequence[Architecture]) -> FloatArray | None:
        """Predictions of the metric ``name``, shape ``(len(archs),)``; None if the labels do not have it."""
        if self.prior is None or name not in self.prior.metrics:
            return None
        if name not in self._models:
            try:
                self._models[name] = fit(self.prior, f"label.{written(name)}", model="gp", seed=self.seed)
            except (LabelError, TargetError):  # too few rows have a value, or all have the same
                self._models[name] = None
        model = self._models[name]
        return None if model is None else model.predict_mean(list(archs))
