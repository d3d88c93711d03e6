"""The model-guided sampler: the fitted predictor proposes, and is fitted again as trials finish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from optuna.study import Study
from optuna.trial import FrozenTrial

from autobuild._typing import BoolArray, FloatArray
from autobuild.construct.acquisition import EXPLOIT, Uncertain, acquire, acquire_front
from autobuild.construct.dominance import undominated
from autobuild.errors import ConfigError, LabelError, TargetError
from autobuild.importance import project
from autobuild.labels import LabelledSet
from autobuild.models import FittedModel, fit_again, unwarned
from autobuild.registry import FAMILIES, SAMPLERS
from autobuild.settings.option import integer
from autobuild.spaces import Architecture, SearchSpace
from autobuild.studies.samplers.base import ArchitectureSampler
from autobuild.studies.samplers.history import losses, violation

if TYPE_CHECKING:
    from autobuild.studies._surrogates import LimitModels

Finished = list[tuple[FrozenTrial, Architecture]]

STARTUP = 20  # labels before there is a model: what a fit needs
REFIT = 5  # finished trials between two fits, or a twentieth of all if that is more
MOST = 1_500  # rows of a fit, whose cost grows with their cube
BACKGROUND = 400  # architectures over which predictions are decomposed
RESERVE = 4  # times as many networks are chosen as will be needed until the next fit


@SAMPLERS.register("guided")
class GuidedSampler(ArchitectureSampler):
    """Proposes by the acquisition of a fitted predictor, :func:`autobuild.construct.acquire`.

    The predictor is fitted on the labels given and on the study's finished trials, again and again as these become
    more. In between it hands out the networks it has chosen, one by one; those in the study already, running ones
    included, are passed over, so several workers can ask. With several targets, or with constraints on trials, the
    choice is by hypervolume and by how probable it is that constraints hold, see
    :func:`autobuild.construct.acquire_front`. Until there are 20 labels networks are drawn at random.

    Args:
        space, grain, seed, mutation: As of :class:`ArchitectureSampler`.
        prior: Labels measured before, of any space of the family: those outside ``space`` teach the predictor, too.
        targets: What is maximised, one expression over ``prior``'s metrics for each objective of the study.
        costs: Cost name -> function of architectures, for targets that name costs.
        model: Family of predictors, as in :func:`autobuild.fit`.
        refit_every: Finished trials between two fits; None: 5, or a twentieth of all if that is more.
        limits: What predicts the limits of a search from all labels; other constraints are learned from trials alone.
        n_targets: Objectives of the study; None: as many as ``targets``.

    Raises:
        ConfigError: An unknown family, an unusable number, or labels of another space.
        TargetError, LabelError: A target that ``prior`` does not have, or has for too few rows.
    """

    redrawn = 0  # it knows what is new

    def __init__(
        self,
        space: SearchSpace,
        grain: str = "layer",
        seed: int = 0,
        mutation: str = "layer",
        *,
        prior: LabelledSet | None = None,
        targets: Sequence[str] = ("acc",),
        costs: Mapping[str, Any] | None = None,
        model: str = "gp",
        refit_every: int | None = None,
        limits: LimitModels | None = None,
        n_targets: int | None = None,
    ) -> None:
        super().__init__(space, grain, seed, mutation)
        FAMILIES.check(model)
        if prior is not None and n_targets not in (None, len(targets)):
            raise ConfigError(
                f"targets: given {list(targets)} for {n_targets} objectives; accepted: one expression each"
            )
        if prior is not None and prior.space.family != space.family:
            raise ConfigError(f"prior: labels of {prior.space.family!r}; the space searched is of {space.family!r}")
        if refit_every is not None:
            refit_every = integer("refit_every", refit_every)
        self.family, self.refit_every, self.limits = model, refit_every, limits
        self.models: list[FittedModel] = []
        self._prior = _prior_rows(prior, targets, costs)
        self._known_space = space if prior is None else prior.space
        self._fitted_on: tuple[int, int] | None = None  # study and finished trials
        self._queue: list[Architecture] = []

    def draw(self, study: Study, trial: FrozenTrial, rng: np.random.Generator) -> Architecture:
        """See :meth:`ArchitectureSampler.draw`."""
        finished = self.history.complete(study)
        every = self.refit_every or max(REFIT, len(finished) // 20)
        version = (study._study_id, len(finished) // every * every)
        if version != self._fitted_on:
            order = sorted(finished, key=lambda pair: (pair[0].datetime_complete, pair[0].number))
            self._fit(study, order[: version[1]], every)
            self._fitted_on = version
        known = self.history.known(study, but=trial.number)
        for arch in self._queue:
            if self.space.key(arch) not in known:
                return arch
        return self._queue[0] if self._queue else self.random(rng)  # a repeat is exchanged for a new one nearby

    def predict(self, archs: Sequence[Architecture]) -> FloatArray | None:
        """What the present predictors say, shape ``(len(archs), targets)``; None before there are any."""
        if not self.models:
            return None
        return np.stack([model.predict_mean(list(archs)) for model in self.models], axis=1)

    # --- fits -------------------------------------------------------------------------------------------------

    def _fit(self, study: Study, finished: Finished, every: int) -> None:
        """Fit anew, and choose what comes next."""
        values = -losses(study, [trial for trial, _ in finished])
        rows = pd.DataFrame({"arch": [arch.text for _, arch in finished]})
        for number in range(len(study.directions)):
            rows[f"t{number}"] = values[:, number]
        rows = pd.concat([self._prior, rows], ignore_index=True)
        models = [self._model(rows, f"t{number}") for number in range(len(study.directions))]
        self._queue = []
        if any(model is None for model in models):
            return
        self.models = [model for model in models if model is not None]
        seed = int(np.random.SeedSequence([self.seed, len(finished)]).generate_state(1)[0])
        scores = [self._scores(model) for model in self.models]
        count = RESERVE * every
        known = [arch for _, arch in finished]
        limits = self._limits(study, finished)
        if len(self.models) == 1 and not limits:
            chosen = acquire(self.models[0], scores[0], count, seed, known, space=self.space)
            self._queue = _mixed(chosen, int(EXPLOIT * count))
            return
        feasible = np.array([violation(trial) <= 0 for trial, _ in finished], dtype=bool)
        measured = values[feasible] if feasible.any() else self._measured(rows)
        best = self._best(values, feasible, known)
        self._queue = acquire_front(
            self.models, scores, count, seed, known, space=self.space, measured=measured, best=best, constraints=limits
        )

    def _scores(self, model: FittedModel) -> dict[str, FloatArray]:
        """Additive scores, which only propose: fewer architectures than for a person's eyes are enough."""
        units = project(model, self.space, self.seed, background=BACKGROUND, draws=0).units
        return {unit.name: scored.score for unit, scored in zip(self.space.units, units, strict=True)}

    @unwarned()
    def _model(self, rows: pd.DataFrame, column: str) -> FittedModel | None:
        """None where there are too few labels, or all are the same."""
        usable = rows[np.isfinite(rows[column].to_numpy(dtype=float))]
        if len(usable) > MOST:
            best = usable[column].rank(ascending=False, method="first") <= MOST // 2
            usable = pd.concat([usable[best], usable[~best].sample(MOST - MOST // 2, random_state=self.seed)])
        if len(usable) < STARTUP:
            return None
        try:
            labels = LabelledSet.from_frame(usable[["arch", column]], self._known_space, source="finished trials")
            return fit_again(labels, column, self.family, self.seed, self.space.equal)
        except (LabelError, TargetError):
            return None

    @staticmethod
    def _measured(rows: pd.DataFrame) -> FloatArray:
        """The rows that have all targets. Shape ``(n, targets)``."""
        return rows.drop(columns="arch").dropna().to_numpy(dtype=float)

    def _limits(self, study: Study, finished: Finished) -> list[Uncertain]:
        """Models of what has to be 0 or less: the limits that ``limits`` predicts, and of the trials' other constraints
        those that a trial has broken."""
        if self.limits is not None:
            self.limits.learn(study)
        known = {} if self.limits is None else self.limits.models
        names = dict.fromkeys(name for trial, _ in finished for name in getattr(trial, "constraints", {}))
        found: list[Uncertain | None] = list(known.values())
        for name in names.keys() - known.keys():
            told = [(arch.text, trial.constraints[name]) for trial, arch in finished if name in trial.constraints]
            if max(value for _, value in told) > 0:
                found.append(self._model(pd.DataFrame(told, columns=["arch", "limit"]), "limit"))
        return [model for model in found if model is not None]

    @staticmethod
    def _best(values: FloatArray, feasible: BoolArray, archs: Sequence[Architecture]) -> list[Architecture]:
        """The front of the feasible networks."""
        rows = np.flatnonzero(feasible)
        return [archs[rows[place]] for place in undominated(values[rows])] if len(rows) else []


def _prior_rows(prior: LabelledSet | None, targets: Sequence[str], costs: Mapping[str, Any] | None) -> pd.DataFrame:
    """``arch, t0, t1, ...``: every target, maximised, of the labels given."""
    rows = pd.DataFrame({"arch": pd.Series([], dtype=object)})
    if prior is None:
        return rows
    rows = pd.DataFrame({"arch": [arch.text for arch in prior.archs]})
    for number, target in enumerate(targets):
        found = prior.target(target, costs)
        rows[f"t{number}"] = np.nan
        rows.loc[found.rows, f"t{number}"] = found.values
    return rows


def _mixed(chosen: list[Architecture], exploiting: int) -> list[Architecture]:
    """A balanced batch in an order of which every beginning is balanced: one of the predicted best, two drawn, ..."""
    best, drawn = chosen[: max(1, exploiting)], chosen[max(1, exploiting) :]
    out: list[Architecture] = []
    while best or drawn:
        out += [*best[:1], *drawn[:2]]
        best, drawn = best[1:], drawn[2:]
    return out
