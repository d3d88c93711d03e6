"""Decompose a model's predictions into a sum over units and a remainder, in units of the target."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from autobuild._progress import Report, shown
from autobuild._typing import FloatArray, IntArray
from autobuild.importance._marginal_means import StageMeans, design_weights, drawn_by_design, stage_means
from autobuild.importance.scorers import UnitScores
from autobuild.models import CostedModel, FittedModel
from autobuild.models.describe import Describer
from autobuild.models.threads import one_blas_thread, torch_threads
from autobuild.settings.names import INTERVAL_SDS
from autobuild.spaces import Architecture, SearchSpace, Unit

BACKGROUND = 1200  # number of architectures to which the sum is fitted
CHECKED = 400  # number of other architectures on which the sum is compared with the prediction
DRAWS = 48  # draws of the model, for intervals
LENGTHSCALE = 2.5  # relative to the root mean square of the standardised columns of a unit
RIDGES = np.logspace(-6, 0, 13)
CHUNK = 512  # candidates at once: their kernel fits the cache
MOST_KEPT = 1_000_000  # candidates of a unit for which all draws are kept; with more, means are estimated
DRAWN = 1 << 16  # candidates from which they are estimated then


@dataclass(frozen=True)
class Projection:
    """The additive part of a model on one space: ``prediction = base + sum over units of score + remainder``.

    The sum minimises the squared remainder over architectures drawn with every depth equally likely (a first-order
    functional ANOVA, Hooker, 2004).

    Attributes:
        space: The space whose candidates are scored.
        base: Mean prediction over architectures drawn in this way, in units of the target.
        units: For every unit, the scores of its candidates with 90 % intervals; their mean under this draw is 0.
        means: For every stage of the space, mean scores by choice. The first column belongs to the prediction, the
            others to draws of the model, if it gives draws.
        background: The architectures to which the sum was fitted. Length ``(n,)``.
        predicted: Predictions for them. Shape ``(n,)``.
        share: Share of the variance of predictions that the sum explains on other architectures.
        remainder_sd: Standard deviation of the remainder on these, in units of the target.
    """

    space: SearchSpace
    base: float
    units: list[UnitScores]
    means: list[StageMeans]
    background: list[Architecture]
    predicted: FloatArray
    share: float
    remainder_sd: float

    def sums(self, archs: Sequence[Architecture]) -> FloatArray:
        """``base`` plus the scores of the candidates of each architecture. Shape ``(len(archs),)``."""
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
    """Decompose a model's predictions into a sum over units.

    The sum is fitted by kernel ridge regression with one squared-exponential kernel per unit; the ridge minimises the
    leave-one-out error. Draws of the model are decomposed by the same linear map, which gives the intervals. Cost terms
    of a target are not fitted: their own sums over units are used.

    Args:
        model: The fitted model.
        space: The space whose candidates are scored (default: the model's space).
        seed: Seed of the sampled architectures and draws.
        background: Number of architectures to which the sum is fitted. Fewer are faster, with less accurate scores.
        draws: Number of draws of the model; 0 gives no intervals and is faster.

    Returns:
        The decomposition.
    """
    space = space or model.space
    if isinstance(model, CostedModel):
        return _with_costs(project(model.learned, space, seed, background=background, draws=draws), model)
    with one_blas_thread(), torch_threads(1), shown(None) as report:
        return _project(model, space, seed, background, draws, report or (lambda phase, done, total: None))


def _project(
    model: FittedModel, space: SearchSpace, seed: int, background: int, draws: int, report: Report
) -> Projection:
    scored, candidates = 0, sum(unit.size for unit in space.units)
    report("explaining: predicting", 0, candidates)
    decomposed, share, checked = _background(space, seed, background)
    known = len(decomposed)
    predicted = model.predict_mean([*decomposed, *checked])
    drawn = model.draw(decomposed, draws, seed) if draws else None
    columns = _Columns(space)
    rows = [columns.of_archs(decomposed, place) for place in range(len(space.units))]
    together = np.zeros((known, known))
    for own in rows:  # one at a time: with many units, all of them are gigabytes
        together += _kernel(own, own)
    wanted = np.column_stack([predicted[:known], *([drawn.T] if drawn is not None else [])])
    middle = share @ wanted
    noise = np.random.default_rng(seed).standard_normal((known, wanted.shape[1] - 1)) if known < space.size else None
    weights = _solve(together, wanted - middle, share, noise)
    units, means, base = [], [], float(middle[0])
    fitted = np.zeros(len(checked) or known)
    for place, unit in enumerate(space.units):

        def table_of(indices: IntArray, place: int = place) -> FloatArray:
            nonlocal scored
            table: FloatArray = _kernel(columns.of_candidates(place, indices), rows[place]) @ weights
            scored += len(indices)
            report("explaining: scoring candidates", min(scored, candidates), candidates)
            return table

        some = np.arange(unit.size) if unit.size <= MOST_KEPT else drawn_by_design(unit, DRAWN, seed)
        design = design_weights(unit) if unit.size <= MOST_KEPT else np.full(DRAWN, 1 / DRAWN)
        table = np.concatenate([table_of(some[first : first + CHUNK]) for first in range(0, len(some), CHUNK)])
        centre = design @ table
        base += float(centre[0])
        table -= centre
        means += stage_means(unit, design, table, some)
        if unit.size <= MOST_KEPT:
            units.append(_unit_scores(table, unit.depth_of(some)))
        else:
            units.append(_scores_in_chunks(unit, table_of, centre))
        judged = columns.of_archs(checked, place) if checked else rows[place]
        fitted += _kernel(judged, rows[place]) @ weights[:, 0] - centre[0]
    left = predicted[known:] if checked else predicted  # if the whole space was used for the fit, there are no others
    left = left - base - fitted
    of_left = None if checked else share
    variance = float(np.average((predicted[:known] - middle[0]) ** 2, weights=share)) or 1.0
    remainder = float(np.average(left**2, weights=of_left))
    return Projection(
        space=space,
        base=base,
        units=units,
        means=means,
        background=decomposed,
        predicted=predicted[:known],
        share=1 - remainder / variance,
        remainder_sd=remainder**0.5,
    )


def _background(space: SearchSpace, seed: int, size: int) -> tuple[list[Architecture], FloatArray, list[Architecture]]:
    """Architectures for the fit, their weights (which sum to 1), and other architectures for the check.

    A small space is used as a whole, each architecture weighted by its probability under the design.
    """
    if space.size <= size:
        weights = [design_weights(unit) for unit in space.units]
        indices = list(itertools.product(*(range(unit.size) for unit in space.units)))
        share = np.array([np.prod([unit[i] for unit, i in zip(weights, row, strict=True)]) for row in indices])
        return [space.assemble(row) for row in indices], share, []
    draws = space.sample(size + CHECKED, seed, "depth")
    drawn = Counter(draws[:size])  # shallow networks are few, and so are drawn again and again
    counts = np.array(list(drawn.values()), dtype=np.float64)
    return list(drawn), counts / counts.sum(), [arch for arch in dict.fromkeys(draws[size:]) if arch not in drawn]


def _with_costs(learned: Projection, model: CostedModel) -> Projection:
    """Add the cost terms, as sums over units, to the projection of the learned terms; without sums, omit them."""
    sums = model.likely(learned.space)
    if sums is None:
        return learned
    table, error_sd = sums
    indices = np.array([learned.space.indices(arch) for arch in learned.background], dtype=np.int64)
    base, units, means, added = table.constant, [], [], np.zeros(len(indices))
    parts = iter(learned.means)
    for place, (unit, cost) in enumerate(zip(learned.units, table.tables, strict=True)):
        slot = learned.space.units[place]
        # a candidate that the hardware cannot run has a huge cost, which must not affect the mean
        sizes = np.abs(cost)
        usual = 1e3 * np.median(sizes[sizes > 0]) if sizes.any() else 0.0
        weights = design_weights(slot) * (sizes <= usual)
        weights /= weights.sum()
        mean = float(weights @ cost)
        base += mean
        added += cost[indices[:, place]] - mean
        units.append(_moved(unit, cost - mean))
        means += [next(parts).plus(part) for part in stage_means(slot, weights, (cost - mean)[:, None])]
    predicted = learned.predicted + base + added
    left = float(np.hypot(learned.remainder_sd, error_sd))
    return replace(
        learned,
        base=learned.base + base,
        units=units,
        means=means,
        predicted=predicted,
        share=1 - left**2 / (float(predicted.var()) or 1.0),
        remainder_sd=left,
    )


def _moved(unit: UnitScores, by: FloatArray) -> UnitScores:
    lower, upper = (None if old is None else old + by for old in (unit.lower, unit.upper))
    return replace(unit, score=unit.score + by, lower=lower, upper=upper)


def _scores_in_chunks(unit: Unit, table_of: Callable[[IntArray], FloatArray], centre: FloatArray) -> UnitScores:
    """Scores of the candidates of a unit that has too many for a table with a column for every draw."""
    score, lower, upper = (np.empty(unit.size) for _ in range(3))
    out = UnitScores(score, np.empty(unit.size, dtype=np.int64), np.empty(unit.size, dtype=bool), lower, upper)
    for first in range(0, unit.size, CHUNK):
        indices = np.arange(first, min(first + CHUNK, unit.size))
        part = vars(_unit_scores(table_of(indices) - centre, unit.depth_of(indices)))
        for name, values in vars(out).items():
            values[indices] = part[name]
    return out


def _unit_scores(table: FloatArray, depth: IntArray) -> UnitScores:
    score = table[:, 0]
    lower = upper = np.full(len(score), np.nan)
    if table.shape[1] > 1:
        half = INTERVAL_SDS * table[:, 1:].std(axis=1)
        lower, upper = score - half, score + half
    return UnitScores(score, depth - 1, np.zeros(len(score), dtype=bool), lower, upper)


class _Columns:
    """Standardised descriptions of candidates of single units: choices and amounts, without costs."""

    def __init__(self, space: SearchSpace) -> None:
        self.space, self.describer = space, Describer(space, costs=False)
        self.starts = np.cumsum([0, *(len(unit.stages) for unit in space.units)])
        self._moments: dict[int, tuple[FloatArray, FloatArray]] = {}

    def of_archs(self, archs: Sequence[Architecture], place: int) -> FloatArray:
        """Descriptions of one unit of architectures. Shape ``(len(archs), columns)``."""
        stages = range(self.starts[place], self.starts[place + 1])
        runs = [self.space.stages[stage].padded([arch.runs[stage] for arch in archs]) for stage in stages]
        return self._scaled(place, runs)

    def of_candidates(self, place: int, indices: IntArray) -> FloatArray:
        """Descriptions of candidates of one unit. Shape ``(len(indices), columns)``."""
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
    # torch's exponential function is several times faster; passes over the result cost more than their numbers
    left, right = (torch.from_numpy(columns / LENGTHSCALE) for columns in (a, b))
    near, far = ((columns * columns).sum(dim=1, keepdim=True) * -0.5 for columns in (left, right))
    left, right = (
        torch.cat([left, near, torch.ones_like(near)], dim=1),
        torch.cat([right, torch.ones_like(far), far], 1),
    )
    kernel: FloatArray = (left @ right.T).exp_().numpy()
    return kernel


def _solve(kernel: FloatArray, wanted: FloatArray, share: FloatArray, noise: FloatArray | None) -> FloatArray:
    """Weights of a kernel ridge regression in which row i has the weight ``share[i]``.

    The ridge minimises the leave-one-out error of column 0, the prediction. ``noise`` times this error is added to the
    other columns, the draws: the part that no sum explains acts like noise, because other rows could have been sampled.
    """
    root = np.sqrt(share * len(share))[:, None]
    values, vectors = np.linalg.eigh(kernel * root * root.T)
    values = np.maximum(values, 0)
    turned = vectors.T @ (wanted[:, :1] * root)
    least, best = np.inf, values
    for ridge in RIDGES * len(kernel):
        inverse = 1 / (values + ridge)
        left = (vectors @ (turned * inverse[:, None]))[:, 0] / ((vectors**2) * inverse).sum(axis=1)
        error = float((left**2).mean())
        if error < least:
            least, best = error, inverse
    if noise is not None:
        wanted = wanted + least**0.5 * np.column_stack([np.zeros(len(noise)), noise])
    weights: FloatArray = root * (vectors @ ((vectors.T @ (wanted * root)) * best[:, None]))
    return weights
