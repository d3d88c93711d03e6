r"""Interactions: pairs of choices whose effects do not add up, found in the labels.

The labels are a linear Gaussian process over all choices, plus one term for each pair of choices that interacts:

.. math::
    y = \mu + \sum_p w_p + \sum_{(p, q)} f_{pq} + \epsilon

Each term is 0 on average over its choices: this is a functional ANOVA (Hooker, 2004; Durrande et al., 2013), and it
is exact: means and variances of all terms given the labels are in closed form. Pairs are added one after
another, always the one that raises the marginal likelihood most, while the likelihood ratio exceeds the number of pairs
divided by :data:`FALSE`. By Markov's inequality, where all effects add up any pair is found with a probability of about
:data:`FALSE` at most.
"""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from autobuild._html import titled
from autobuild._typing import BoolArray, FloatArray, IntArray
from autobuild._words import counted
from autobuild.importance._marginal_means import design_weights, drawn_by_design
from autobuild.models import CostedModel, FittedModel
from autobuild.models.threads import one_blas_thread
from autobuild.settings.names import INTERVAL_SDS
from autobuild.spaces import Architecture, SearchSpace, Unit
from autobuild.spaces.stage import Stage, Value

ROWS = 1000  # labels from which interactions are found at most
SCREENED = 300  # pairs whose likelihood is computed in every step, the most promising ones
MOST = 20  # pairs that are found at most
FALSE = 0.05  # bound on the probability that a pair is found where all effects add up
RATIOS = np.logspace(-4, 3, 29)  # variances of weights, relative to that of the noise
FLAT = 1e6  # the same for the mean, of which nothing is known
DRAWN = 4000  # architectures from which shares of variance are computed
LISTED = 50_000  # candidates of a unit up to which probabilities of its values are exact


@dataclass(frozen=True)
class Factor:
    """A choice: the depth of a unit, or a feature in one layer of it, or in all of its layers.

    Attributes:
        unit: Name of the unit (of the stage, if units are joined).
        layer: Number of the layer, from 1; 0 stands for the whole unit.
        feature: Name of the feature, or ``depth``.
        values: The values to choose from.
        alone: Whether the unit has this choice in one place only.
    """

    unit: str
    layer: int
    feature: str
    values: tuple[Value | None, ...]
    alone: bool

    def text(self, value: Value | None) -> str:
        """A value in words: ``depth 3 of stage2``, ``kernel 5 in stage2``, ``kernel 5 in layer 1 of stage2``."""
        if self.feature == "depth" and self.layer == 0:
            return f"depth {value} of {self.unit}"
        if self.layer == 0 and not self.alone:
            return f"{self.feature} {value} in all of {self.unit}"
        return f"{self.feature} {value} in {'' if self.alone else f'layer {self.layer} of '}{self.unit}"


@dataclass(frozen=True)
class Pair:
    """Two choices that interact.

    Attributes:
        first: The one choice.
        second: The other choice.
        effect: What a pair of values adds beside the effects of both alone, in units of the target. Shape
            ``(values of first, values of second)``.
        sd: Its standard deviation. Same shape.
        seen: Number of labels that have both values. Same shape.
        given_second: What each value of ``first`` is worth, compared with its other values, among networks with each
            value of ``second``; the first axis holds means and standard deviations. Shape ``(2, values of first, values
            of second)``.
        given_first: The same for values of ``second``, given those of ``first``. Same shape.
        without_second: The same for ``first`` among networks without this value of ``second``. Same shape.
        without_first: The same for ``second``. Same shape.
    """

    first: Factor
    second: Factor
    effect: FloatArray
    sd: FloatArray
    seen: IntArray
    given_second: FloatArray
    given_first: FloatArray
    without_second: FloatArray
    without_first: FloatArray


@dataclass
class Interactions:
    """Pairs of choices that interact significantly in the labels; ``scores.interactions`` gives it.

    Attributes:
        target: The target.
        pairs: The pairs found, the most certain one first.
        stages: Names of the units.
        variance: Variance of the target over the design that each unit causes (diagonal) and each pair of units (above
            it), from the mean of the process. Shape ``(units, units)``.
        residual_sd: Standard deviation of the labels about the effects and interactions found, in units of the target.
        rows: Number of labels.
    """

    target: str
    pairs: list[Pair]
    stages: list[str]
    variance: FloatArray = field(repr=False)
    residual_sd: float
    rows: int

    def __len__(self) -> int:
        return len(self.pairs)

    @cached_property
    def units(self) -> pd.DataFrame:
        """Columns ``unit, other, variance_share``: share of the estimated variance of the target, largest first.

        Where ``other`` is ``unit`` it is the share of that unit alone, interactions within it included.
        """
        total = self.variance.sum() or 1.0
        places = zip(*np.triu_indices(len(self.stages)), strict=True)
        rows = [(self.stages[a], self.stages[b], self.variance[a, b] / total) for a, b in places]
        frame = pd.DataFrame(rows, columns=["unit", "other", "variance_share"])
        return frame.sort_values("variance_share", ascending=False, kind="stable", ignore_index=True)

    @cached_property
    def choices(self) -> pd.DataFrame:
        """Every pair of values of the pairs found, the most certain pair of choices first.

        Columns ``unit, layer, feature, value, with_unit, with_layer, with_feature, with_value, effect, lower, upper,
        n_seen``. ``effect`` is what the two values add together beside what each adds alone, in units of the target,
        with its 90 % interval. ``layer`` 0 stands for the whole unit. ``n_seen`` counts the labels that have both.
        """
        names = ("unit", "layer", "feature", "value")
        columns = [*names, *(f"with_{name}" for name in names), "effect", "lower", "upper", "n_seen"]
        rows: list[tuple[Any, ...]] = []
        for pair in self.pairs:
            a, b, half = pair.first, pair.second, INTERVAL_SDS * pair.sd
            for i, j in _strongest(pair.effect):
                value = float(pair.effect[i, j])
                bounds = (value, value - half[i, j], value + half[i, j], int(pair.seen[i, j]))
                rows.append((a.unit, a.layer, a.feature, a.values[i], b.unit, b.layer, b.feature, b.values[j], *bounds))
        frame = pd.DataFrame(rows, columns=columns)
        return frame.astype({"value": object, "with_value": object, "effect": float, "lower": float, "upper": float})

    @property
    def sentences(self) -> list[str]:
        """Each pair found in a sentence, the most certain one first.

        The numbers are effects in units of the target, with 90 % intervals: of the first value compared with its other
        values, with and without the second value.
        """
        return [_sentence(pair) for pair in self.pairs]

    def __repr__(self) -> str:
        pairs = (
            f"{counted(len(self.pairs), 'pair')} of interacting choices"
            if self.pairs
            else "no pair of choices interacts"
        )
        return f"Interactions({pairs}, found in {self.rows:,} labels, target {self.target!r})"

    def __str__(self) -> str:
        return "\n".join(self.sentences or [repr(self)])

    def _repr_html_(self) -> str:
        parts = "".join(f"<li>{html.escape(text)}</li>" for text in self.sentences)
        shown = [("Pairs of values", self.choices), ("Shares of variance", self.units)]
        frames = "".join(titled(title, frame, 8) for title, frame in shown if len(frame))
        return f"<p>{html.escape(repr(self))}</p><ul>{parts}</ul>{frames}"


def find_interactions(model: FittedModel, space: SearchSpace | None = None, seed: int = 0) -> Interactions:
    """Find the pairs of choices that interact, in the labels that a model was fitted on.

    Args:
        model: The fitted model, of any family. Only its labels are used; of a target with cost terms, the learned part.
        space: The space over which effects are averaged (default: that of the model).
        seed: Seed of the rows and architectures that are drawn where there are too many.

    Returns:
        The pairs found. There are none if the effects of all choices add up, or if the labels are too few to tell.
    """
    learned = model.learned if isinstance(model, CostedModel) else model
    values = learned.training["target"].to_numpy(dtype=float)
    rows = np.sort(np.random.default_rng(seed).permutation(len(values))[:ROWS])
    archs = [learned.training_archs[row] for row in rows]
    with one_blas_thread():
        return _found(_Choices(space or model.space, seed), archs, values[rows], model.target)


def _strongest(effect: FloatArray) -> list[tuple[int, int]]:
    order = np.argsort(-np.abs(effect), axis=None, kind="stable")
    return [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, effect.shape), strict=True)]


def _sentence(pair: Pair) -> str:
    """The pair of values with the most certain effect in words: the effect of one with and without the other."""
    a, b = pair.first, pair.second
    i, j = max(_strongest(pair.effect), key=lambda place: abs(pair.effect[place]) / (pair.sd[place] or np.inf))
    sides = [
        (a.text(a.values[i]), b.text(b.values[j]), pair.given_second[:, i, j], pair.without_second[:, i, j]),
        (b.text(b.values[j]), a.text(a.values[i]), pair.given_first[:, i, j], pair.without_first[:, i, j]),
    ]

    def clearness(side: tuple[str, str, FloatArray, FloatArray]) -> float:
        """How plainly this side says "only": an effect on one side, and none or the opposite one on the other."""
        (_, _, (with_, with_sd), (other, other_sd)) = side
        first, second = float(with_ / max(with_sd, 1e-12)), float(other / max(other_sd, 1e-12))
        return max(first - max(second, 0.0), second - max(first, 0.0))

    choice, other, given, elsewhere = max(sides, key=clearness)
    signs = [int(np.sign(mean)) * (abs(mean) > INTERVAL_SDS * sd) for mean, sd in (given, elsewhere)]
    verb = "raises" if 1 in signs else "lowers" if -1 in signs else "changes"
    sign = -1 if verb == "lowers" else 1
    if verb != "changes" and signs.count(sign) == 1:
        how = "only with" if signs[0] == sign else "only without"
    else:
        how = "more with" if sign * given[0] > sign * elsewhere[0] else "less with"
    return f"{choice} {verb} the target {how} {other}: {_interval(*given)}, otherwise {_interval(*elsewhere)}"


def _interval(mean: float, sd: float) -> str:
    """``+1.1 [0.8, 1.4]``, with the decimals that its width deserves."""
    decimals = max(0, 1 - math.floor(math.log10(sd))) if sd > 0 else 2
    bounds = (mean - INTERVAL_SDS * sd, mean + INTERVAL_SDS * sd)
    return f"{mean:+.{decimals}f} [{', '.join(f'{bound:.{decimals}f}' for bound in bounds)}]"


def _choices(stage: Stage, digits: IntArray) -> Iterator[tuple[Factor, FloatArray]]:
    """The factors of a stage, and which value runs have. Shapes: ``digits (n, layers)`` -> ``(n, values)`` each.

    Rows are indicators, their mean over the layers for a feature in all layers, and 0 where the layer does not exist.
    """
    depth = (digits >= 0).sum(axis=1)
    if len(stage.depths) > 1:
        chosen = np.array([depth == value for value in stage.depths], dtype=np.float64).T
        yield Factor(stage.name, 0, "depth", stage.depths, True), chosen
    layers = digits.shape[1]
    for place, feature in enumerate(stage.features):
        if len(feature.values) < 2:
            continue
        table = [[layer[place] == value for value in feature.values] for layer in stage.layers]
        shown = np.vstack([np.array(table, dtype=np.float64), np.zeros(len(feature.values))])[digits]
        if feature.name in stage.once:
            yield Factor(stage.name, 0, feature.name, feature.values, True), shown[:, 0]
            continue
        if layers > 1:
            yield Factor(stage.name, 0, feature.name, feature.values, False), shown.sum(axis=1) / depth[:, None]
        for layer in range(layers):
            yield Factor(stage.name, layer + 1, feature.name, feature.values, layers == 1), shown[:, layer]


class _Choices:
    """All factors of a space, and the probabilities of their values under the design.

    Args:
        space: The space.
        seed: Seed of candidates and architectures that are drawn where there are too many.
    """

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self.space, self.seed = space, seed
        tables = [[own for stage, runs in zip(unit.stages, drawn, strict=True) for own in _choices(stage, runs)]
                  for unit, drawn, _ in self._units()]  # fmt: skip
        self.factors = [factor for own in tables for factor, _ in own]
        self.counts = [len(factor.values) for factor in self.factors]
        ends = np.cumsum([0, *self.counts])
        self.columns = [slice(a, b) for a, b in itertools.pairwise(ends)]
        blocks = []
        for own, (_, _, weights) in zip(tables, self._units(), strict=True):
            table = np.concatenate([np.zeros((len(weights), 0)), *(chosen for _, chosen in own)], axis=1)
            blocks.append((weights @ table, table.T @ (table * weights[:, None])))
        once = np.concatenate([mean for mean, _ in blocks])
        self.together = np.outer(once, once)  # probabilities of pairs of values
        start = 0
        for mean, products in blocks:
            own_columns = slice(start, start + len(mean))
            self.together[own_columns, own_columns], start = products, start + len(mean)
        self.exists = np.array([once[columns].sum() for columns in self.columns])
        self.shares = once / np.repeat(self.exists, self.counts)
        self.direct = np.array([factor.alone or factor.layer > 0 for factor in self.factors])  # no means over layers
        self.main = np.repeat(self.direct, self.counts)

    def _units(self) -> Iterator[tuple[Unit, list[IntArray], FloatArray]]:
        """Each unit with candidates of it, as digits of its stages, and their probabilities."""
        for unit in self.space.units:
            few = unit.size <= LISTED
            drawn = np.arange(unit.size) if few else drawn_by_design(unit, LISTED, self.seed)
            yield unit, unit.runs(drawn), design_weights(unit) if few else np.full(LISTED, 1 / LISTED)

    def table(self, archs: Sequence[Architecture]) -> FloatArray:
        """Which values architectures have, see :func:`_choices`. Shape ``(n, values of all factors)``."""
        parts = [
            chosen
            for number, stage in enumerate(self.space.stages)
            for _, chosen in _choices(stage, stage.padded([arch.runs[number] for arch in archs]))
        ]
        return np.concatenate([np.zeros((len(archs), 0)), *parts], axis=1)

    def centred(self, table: FloatArray) -> FloatArray:
        """The table less its means under the design; still 0 where a choice does not exist. Same shape."""
        there = np.add.reduceat(table, [own.start for own in self.columns], axis=1)
        out: FloatArray = table - self.shares * np.repeat(there, self.counts, axis=1)
        return out

    def given(self, p: int, q: int) -> tuple[FloatArray, FloatArray]:
        """Probabilities of the values of two factors where both exist. Shapes ``(values,)``, ``(values,)``."""
        both = self.together[self.columns[p], self.columns[q]]
        return both.sum(axis=1) / both.sum(), both.sum(axis=0) / both.sum()

    def products(self, table: FloatArray, p: int, q: int) -> FloatArray:
        """Columns of a pair of factors, 0 on average over either. Shape ``(n, values of p * values of q)``."""
        parts = []
        for factor, shares in zip((p, q), self.given(p, q), strict=True):
            own = table[:, self.columns[factor]]
            parts.append(own - shares * own.sum(axis=1, keepdims=True))
        out: FloatArray = (parts[0][:, :, None] * parts[1][:, None, :]).reshape(len(table), -1)
        return out

    def alone(self, p: int) -> FloatArray:
        """Effects of the values of p alone, as weights of the main columns. Shape ``(values, main columns)``.

        A value in all layers has the effects of that value in each layer, times the probability that the layer exists.
        """
        own, out = self.factors[p], np.zeros((len(self.factors[p].values), len(self.shares)))
        for number, factor in enumerate(self.factors):
            part = factor.layer > 0 and (factor.unit, factor.feature) == (own.unit, own.feature)
            if number == p if self.direct[p] else part:
                share = 1.0 if self.direct[p] else self.exists[number]
                out[:, self.columns[number]] = share * (np.eye(len(out)) - self.shares[self.columns[number]])
        return out[:, self.main]

    @property
    def pairs(self) -> BoolArray:
        """Which factors may interact: p before q, both exist in some networks, neither is part of the other."""
        count = len(self.factors)
        out = np.triu(np.ones((count, count), dtype=bool), 1)
        for p, q in zip(*np.nonzero(out), strict=True):
            a, b = self.factors[p], self.factors[q]
            nested = (a.unit, a.feature) == (b.unit, b.feature) and not (self.direct[p] and self.direct[q])
            both = self.together[self.columns[p], self.columns[q]]
            varied = min((both.sum(axis=axis) > 0).sum() for axis in (0, 1)) > 1 if both.sum() > 0 else False
            out[p, q] = varied and not nested
        return out


class _Process:
    """Labels as a sum of terms whose weights are normal, each term with its own variance, and noise.

    Args:
        values: The labels, shape ``(n,)``.
    """

    def __init__(self, values: FloatArray) -> None:
        self.values = values
        self.terms: list[FloatArray] = []
        self.ratios: list[float] = []
        self._invert()

    def _invert(self, without: int | None = None) -> None:
        cov = np.eye(len(self.values)) + FLAT
        for number, (columns, ratio) in enumerate(zip(self.terms, self.ratios, strict=True)):
            if number != without:
                cov += ratio * (columns @ columns.T)
        self.precision = np.linalg.inv(cov)
        self.solved = self.precision @ self.values

    def gain(self, columns: FloatArray) -> tuple[float, float]:
        """How much a term raises the logarithm of the likelihood, and its variance ratio, both at the best ratio."""
        values, vectors = np.linalg.eigh(columns.T @ self.precision @ columns)
        values = np.maximum(values, 0.0)
        squares = (vectors.T @ (columns.T @ self.solved)) ** 2
        stretched = 1 + RATIOS[:, None] * values
        less = (RATIOS[:, None] * squares / stretched).sum(axis=1) / (self.values @ self.solved)
        gains = -0.5 * np.log(stretched).sum(axis=1) - len(self.values) / 2 * np.log1p(-np.minimum(less, 1 - 1e-12))
        best = int(gains.argmax())
        return float(gains[best]), float(RATIOS[best])

    def add(self, columns: FloatArray) -> None:
        """Add a term."""
        self.terms.append(columns)
        self.ratios.append(self.gain(columns)[1])
        self.refine([0])

    def refine(self, numbers: Sequence[int]) -> None:
        """Find the best ratios of some terms again, one after another."""
        for number in numbers:
            self._invert(without=number)
            self.ratios[number] = self.gain(self.terms[number])[1]
        self._invert()

    @property
    def noise(self) -> float:
        """Variance of the noise."""
        return float(self.values @ self.solved) / len(self.values)

    def means(self, number: int) -> FloatArray:
        """Means of the weights of a term."""
        out: FloatArray = self.ratios[number] * (self.terms[number].T @ self.solved)
        return out

    def effects(self, weights: Mapping[int, FloatArray]) -> FloatArray:
        """Means and standard deviations of sums of weights: term -> shape ``(k, columns)``; returns ``(2, k)``."""
        means = sum(part @ self.means(number) for number, part in weights.items())
        prior = sum(self.ratios[number] * (part * part).sum(axis=1) for number, part in weights.items())
        seen = sum(self.ratios[number] * (part @ self.terms[number].T) for number, part in weights.items())
        told = np.einsum("kn,nm,km->k", seen, self.precision, seen)
        return np.stack([means, np.sqrt(self.noise * np.maximum(prior - told, 0))])


def _found(choices: _Choices, archs: Sequence[Architecture], values: FloatArray, target: str) -> Interactions:
    """Add pairs to the process while the labels tell them."""
    table = choices.table(archs)
    process, found = _Process(values - values.mean()), list[tuple[int, int]]()
    process.add(choices.centred(table)[:, choices.main])
    allowed = choices.pairs
    least = math.log(max(1, int(allowed.sum())) / FALSE)
    while len(found) < MOST and allowed.any():
        promising = _promising(choices, table, process, allowed)
        gain, pair = max((process.gain(choices.products(table, *pair))[0], pair) for pair in promising)
        if gain < least:
            break
        found.append(pair)
        allowed[pair] = False
        process.add(choices.products(table, *pair))
    process.refine(range(len(process.terms)))
    pairs = [_pair(choices, process, table, number, *pair) for number, pair in enumerate(found, start=1)]
    return Interactions(
        target=target,
        pairs=pairs,
        stages=[stage.name for stage in choices.space.stages],
        variance=_variances(choices, process, found),
        residual_sd=process.noise**0.5,
        rows=len(values),
    )


def _promising(choices: _Choices, table: FloatArray, process: _Process, allowed: BoolArray) -> list[tuple[int, int]]:
    """The pairs whose columns correlate most with what is left, from products of all values at once."""
    starts = [own.start for own in choices.columns]
    centred = choices.centred(table)
    squares = centred * centred
    told, most = (
        np.add.reduceat(np.add.reduceat(products, starts, axis=0), starts, axis=1)
        for products in ((centred.T @ (centred * process.solved[:, None])) ** 2, squares.T @ squares)
    )
    score = np.where(allowed & (most > 1e-9), told / np.maximum(most, 1e-9), -1.0)
    order = np.argsort(-score, axis=None, kind="stable")[:SCREENED]
    places = zip(*np.unravel_index(order, score.shape), strict=True)
    return [(int(p), int(q)) for p, q in places if score[p, q] >= 0]


def _pair(choices: _Choices, process: _Process, table: FloatArray, number: int, p: int, q: int) -> Pair:
    """Effects of a pair that was found."""
    shares = choices.given(p, q)
    shape = (len(shares[0]), len(shares[1]))
    left, right = (np.eye(len(own)) - own for own in shares)
    cells = np.einsum("ia,jb->ijab", left, right).reshape(shape[0] * shape[1], -1)
    effect, sd = process.effects({number: cells}).reshape(2, *shape)
    i, j = (axis.ravel() for axis in np.indices(shape))
    sides = []
    for alone, own, other in ((choices.alone(p)[i], *(shares[0][i], shares[1][j])),
                              (choices.alone(q)[j], *(shares[1][j], shares[0][i]))):  # fmt: skip
        without = -(other / np.maximum(1 - other, 1e-9))[:, None] * cells  # over all of the other choice, the mean is 0
        scale = 1 / np.maximum(1 - own, 1e-9)  # from a difference to all values to one to the others
        sides += [(process.effects({0: alone, number: part}) * scale).reshape(2, *shape) for part in (cells, without)]
    seen = (table[:, choices.columns[p]] > 0).astype(np.int64).T @ (table[:, choices.columns[q]] > 0)
    first, second = choices.factors[p], choices.factors[q]
    return Pair(first, second, effect, sd, seen, sides[0], sides[2], sides[1], sides[3])


def _variances(choices: _Choices, process: _Process, found: Sequence[tuple[int, int]]) -> FloatArray:
    """Variance that each unit, and each pair of units, causes over the design. Shape ``(stages, stages)``."""
    names = [stage.name for stage in choices.space.stages]
    table = choices.table(choices.space.sample(DRAWN, choices.seed, "depth"))
    parts = np.zeros((len(names), len(names), DRAWN))
    weights = np.zeros(len(choices.shares))
    weights[choices.main] = process.means(0)
    centred = choices.centred(table)
    for factor, columns in zip(choices.factors, choices.columns, strict=True):
        place = names.index(factor.unit)
        parts[place, place] += centred[:, columns] @ weights[columns]
    for number, (p, q) in enumerate(found, start=1):
        a, b = sorted(names.index(choices.factors[own].unit) for own in (p, q))
        parts[a, b] += choices.products(table, p, q) @ process.means(number)
    out: FloatArray = parts.var(axis=2)
    return out
