"""A model's predictions as a sum over units: what each candidate adds, in units of the target, and what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autobuild.importance.scorers import UnitScores
from autobuild.models import CostedModel, FittedModel
from autobuild.models.describe import Describer
from autobuild.models.threads import one_blas_thread
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.stage import IntArray

FloatArray = NDArray[np.float64]

BACKGROUND = 1200  # architectures over which the model's predictions are decomposed
CHECKED = 400  # others, on which the sum is compared with the prediction
DRAWS = 48
LENGTHSCALE = 2.5  # in root-mean-square standard deviations of a unit's columns
RIDGES = np.logspace(-6, 0, 13)
LEVEL_SD = 1.6449  # half-width of a 90 % interval in standard deviations
CHUNK = 4096


@dataclass(frozen=True)
class Projection:
    """The additive part of a model on one space.

    ``prediction = base + sum over units of score + remainder``, the sum chosen to leave the least squared remainder
    over architectures drawn with every depth equally likely (a first-order functional ANOVA, Hooker, 2004).

    Attributes:
        space: Whose candidates are scored.
        base: Mean prediction over the background, in units of the target.
        units: For every unit, its candidates' scores (mean 0 over the background) with 90 % intervals.
        background: The architectures decomposed.
        predicted: The model's predictions of them, shape ``(n,)``.
        drawn: Draws of what their target may be, shape ``(draws, n)``; empty where the model has none.
        share: Share of the predictions' variance that the sum explains on architectures it was not fitted to.
        remainder_sd: Standard deviation of the remainder there, in units of the target.
    """

    space: SearchSpace
    base: float
    units: list[UnitScores]
    background: list[Architecture]
    predicted: FloatArray
    drawn: FloatArray
    share: float
    remainder_sd: float

    def sums(self, archs: Sequence[Architecture]) -> FloatArray:
        """``base`` and the scores of the candidates of each architecture, summed. Shape ``(len(archs),)``."""
        indices = np.array([self.space.indices(arch) for arch in archs], dtype=np.int64).reshape(len(archs), -1)
        scores = [unit.score[indices[:, place]] for place, unit in enumerate(self.units)]
        out: FloatArray = self.base + np.sum(scores, axis=0)
        return out


def project(
    model: FittedModel,
    space: SearchSpace | None = None,
    seed: int = 0,
    *,
    background: int = BACKGROUND,
    draws: int = DRAWS,
) -> Projection:
    """Decompose a model's predictions over ``space`` (the model's own by default).

    The sum is a kernel ridge regression with one squared-exponential kernel a unit; its ridge is picked by
    leave-one-out error. Draws of the model pass through the same map, which gives the intervals. Fewer architectures
    in the ``background``, and no ``draws``, give scores in a moment, for those who only propose by them. Cost terms of
    a target are not decomposed so, but by the sums over units that they have.
    """
    space = space or model.space
    if isinstance(model, CostedModel):
        return _with_costs(project(model.learned, space, seed, background=background, draws=draws), model)
    with one_blas_thread():
        return _project(model, space, seed, background, draws)


def _project(model: FittedModel, space: SearchSpace, seed: int, background: int, draws: int) -> Projection:
    archs = list(dict.fromkeys(space.sample(background + CHECKED, seed, "depth")))
    known = min(len(archs), background)
    decomposed, checked = archs[:known], archs[known:]
    predicted = model.predict_mean(archs)
    drawn = model.draw(decomposed, draws, seed) if draws else None
    base = float(predicted[:known].mean())
    columns = _Columns(space)
    rows = [columns.of_archs(decomposed, place) for place in range(len(space.units))]
    kernels = [_kernel(own, own) for own in rows]
    wanted = np.column_stack([predicted[:known], *([drawn.T] if drawn is not None else [])])
    weights = _solve(np.sum(kernels, axis=0), wanted - wanted.mean(axis=0))
    units, fitted = [], np.zeros(len(checked))
    for place, (unit, kernel) in enumerate(zip(space.units, kernels, strict=True)):
        centre = (kernel @ weights).mean(axis=0)
        tables = [
            _kernel(columns.of_candidates(place, np.arange(first, min(first + CHUNK, unit.size))), rows[place])
            @ weights
            - centre
            for first in range(0, unit.size, CHUNK)
        ]
        units.append(_unit_scores(np.concatenate(tables), unit.depth_of(np.arange(unit.size))))
        if checked:
            fitted += (_kernel(columns.of_archs(checked, place), rows[place]) @ weights - centre)[:, 0]
    if checked:
        left = predicted[known:] - base - fitted
    else:  # a space so small that all of it was decomposed
        left = predicted - base - np.sum([kernel @ weights[:, 0] for kernel in kernels], axis=0)
    variance = float(predicted.var()) or 1.0
    return Projection(
        space=space,
        base=base,
        units=units,
        background=decomposed,
        predicted=predicted[:known],
        drawn=drawn if drawn is not None else np.zeros((0, known)),
        share=1 - float((left**2).mean()) / variance,
        remainder_sd=float((left**2).mean() ** 0.5),
    )


def _with_costs(learned: Projection, model: CostedModel) -> Projection:
    """The projection of what is learned, and the sums over units of what is computed; without those, it is left out."""
    found = model.likely(learned.space)
    if found is None:
        return learned
    table, off = found
    indices = np.array([learned.space.indices(arch) for arch in learned.background], dtype=np.int64)
    base, units, added = table.constant, [], np.zeros(len(indices))
    for place, (unit, own) in enumerate(zip(learned.units, table.tables, strict=True)):
        usual = own[indices[:, place]]
        middle = float(np.median(usual))
        # a candidate that no hardware runs counts as more than anything: it must not move the centre
        mean = middle if (np.abs(usual) > 1e3 * abs(middle) + 1e-12).any() else float(usual.mean())
        base += mean
        added += usual - mean
        units.append(_moved(unit, own - mean))
    predicted = learned.predicted + base + added
    left = float(np.hypot(learned.remainder_sd, off))
    return replace(
        learned,
        base=learned.base + base,
        units=units,
        predicted=predicted,
        drawn=learned.drawn + base + added,
        share=1 - left**2 / (float(predicted.var()) or 1.0),
        remainder_sd=left,
    )


def _moved(unit: UnitScores, by: FloatArray) -> UnitScores:
    lower, upper = (None if old is None else old + by for old in (unit.lower, unit.upper))
    return replace(unit, score=unit.score + by, lower=lower, upper=upper)


def additive(model: FittedModel, space: SearchSpace) -> list[UnitScores]:
    """The scorer of that name: see :class:`Projection`. Scores are differences from an average architecture."""
    return project(model, space).units


def _unit_scores(table: FloatArray, depth: IntArray) -> UnitScores:
    score = table[:, 0]
    lower = upper = np.full(len(score), np.nan)
    if table.shape[1] > 1:
        half = LEVEL_SD * table[:, 1:].std(axis=1)
        lower, upper = score - half, score + half
    return UnitScores(score, depth - 1, np.zeros(len(score), dtype=bool), lower, upper)


class _Columns:
    """What tells the candidates of a unit apart: their choices and amounts, costs left out, standardised."""

    def __init__(self, space: SearchSpace) -> None:
        self.space, self.describer = space, Describer(space, costs=False)
        self.starts = np.cumsum([0, *(len(unit.stages) for unit in space.units)])
        self._moments: dict[int, tuple[FloatArray, FloatArray]] = {}

    def of_archs(self, archs: Sequence[Architecture], place: int) -> FloatArray:
        """Shape ``(len(archs), columns)``."""
        stages = range(self.starts[place], self.starts[place + 1])
        runs = []
        for stage in stages:
            digits = np.full((len(archs), self.space.stages[stage].depths[-1]), -1, dtype=np.int64)
            for row, arch in enumerate(archs):
                digits[row, : len(arch.runs[stage])] = arch.runs[stage]
            runs.append(digits)
        return self._scaled(place, runs)

    def of_candidates(self, place: int, indices: IntArray) -> FloatArray:
        """Shape ``(len(indices), columns)``."""
        return self._scaled(place, self.space.units[place].runs(indices))

    def _scaled(self, place: int, runs: Sequence[IntArray]) -> FloatArray:
        parts = [
            self.describer.stage_columns(self.starts[place] + number, digits) for number, digits in enumerate(runs)
        ]
        raw = np.concatenate(parts, axis=1)
        if place not in self._moments:
            self._moments[place] = (raw.mean(axis=0), raw.std(axis=0))
        mean, sd = self._moments[place]
        keep = sd > 1e-12
        out: FloatArray = (raw[:, keep] - mean[keep]) / sd[keep] / max(1, int(keep.sum())) ** 0.5
        return out


def _kernel(a: FloatArray, b: FloatArray) -> FloatArray:
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2 * a @ b.T
    out: FloatArray = np.exp(-0.5 * np.maximum(squares, 0) / LENGTHSCALE**2)
    return out


def _solve(kernel: FloatArray, wanted: FloatArray) -> FloatArray:
    """Ridge weights; the ridge is the one of least leave-one-out error of the first column."""
    values, vectors = np.linalg.eigh(kernel)
    values = np.maximum(values, 0)
    turned = vectors.T @ wanted
    best, weights = np.inf, wanted
    for ridge in RIDGES * len(kernel):
        inverse = 1 / (values + ridge)
        diagonal = ((vectors**2) * inverse).sum(axis=1)
        alpha = vectors @ (turned[:, :1] * inverse[:, None])
        error = float(((alpha[:, 0] / diagonal) ** 2).mean())
        if error < best:
            best, weights = error, vectors @ (turned * inverse[:, None])
    return weights
