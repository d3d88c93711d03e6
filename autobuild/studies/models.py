"""The fitted models beside a search: what proposals are predicted by, and what narrows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from autobuild.errors import ConfigError, LabelError, TargetError
from autobuild.labels import LabelledSet
from autobuild.models import FittedModel, fit
from autobuild.spaces import Architecture
from autobuild.studies.objective import Cost, Predict
from autobuild.studies.settings import FEWEST, Settings


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

    def _make(self) -> list[FittedModel]:
        own = self.settings
        if own.model is None or (isinstance(own.model, str) and not enough(self.labels)):
            return []
        if isinstance(own.model, str):
            assert self.labels is not None
            costs = own.objective.costs
            return [fit(self.labels, text, model=own.model, seed=own.seed, costs=costs) for text in own.objective.texts]
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


def joined(settings: Settings, evaluated: pd.DataFrame) -> LabelledSet | None:
    """The prior labels and what the search has measured, as one set; None where there is nothing.

    Args:
        settings: The search.
        evaluated: ``arch`` and metrics of the finished trials.
    """
    prior = settings.prior
    if evaluated.empty:
        return prior
    frames = [evaluated] if prior is None else [prior.frame, evaluated]
    space = settings.space if prior is None else prior.space
    return LabelledSet.from_frame(pd.concat(frames, ignore_index=True), space, source="labels and trials")


def limit_predictor(prior: LabelledSet | None, seed: int) -> Predict:
    """Predicts label columns that an evaluator does not measure, by a Gaussian process on the prior labels."""
    models: dict[str, FittedModel | None] = {}

    def predict(name: str, archs: Sequence[Architecture]) -> np.ndarray | None:
        if prior is None or name not in prior.metrics:
            return None
        if name not in models:
            try:
                models[name] = fit(prior, f"label.{name}", model="gp", seed=seed)
            except (LabelError, TargetError):  # too few rows have it, or all the same
                models[name] = None
        model = models[name]
        return None if model is None else model.predict_mean(list(archs))

    return predict


def measured_columns(prior: LabelledSet | None, costs: Mapping[str, Cost]) -> list[str]:
    """The metric columns of the labels, without costs that were merely written down: those names mean the costs."""
    if prior is None:
        return []
    frame = prior.frame

    def written_down(column: str) -> bool:
        given = frame[column].to_numpy()
        return column in costs and bool(np.allclose(given, costs[column](prior.archs), rtol=1e-9, equal_nan=False))

    return [column for column in prior.metrics if not written_down(column)]
