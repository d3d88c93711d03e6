"""Effects of all choices, in units of the target, as differences of mean scores.

The effect of a choice is the mean score of the networks that make it, minus the mean score of all networks in which the
choice exists; all other choices are drawn with every depth equally likely (:class:`StageMeans`):

- Depth: networks whose unit has this depth, minus all networks.
- Layer: networks that have the layer, minus all networks.
- Feature value or operation: networks that have it in this layer, minus all networks that have this layer.

The effect of a depth therefore includes the average effect of its additional layers, and the effect of a feature value
compares only layers that exist. Both are marginal means (partial dependence, Friedman, 2001, over the space instead of
the labels). They are computed from the scores of all candidates, so all tables are averages of the table of candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from autobuild._typing import FloatArray, IntArray
from autobuild.importance._marginal_means import StageMeans
from autobuild.importance.projection import Projection
from autobuild.importance.scores import table
from autobuild.models import FittedModel
from autobuild.models.describe import feature_members
from autobuild.settings.names import INTERVAL_SDS
from autobuild.spaces.stage import Digits

Rows = list[tuple[Any, ...]]


class Effects:
    """Tables of effects.

    Args:
        projection: Candidate scores and their means.
        model: The explained model; its training rows are counted for ``n_seen``.
    """

    def __init__(self, projection: Projection, model: FittedModel) -> None:
        self.projection, self.model = projection, model
        self.names = [feature.name for feature in model.space.features]
        runs = [arch.runs for arch in model.training_archs]
        self._rows: Rows = []
        effects: list[FloatArray] = []
        # For each stage: effects of its operations (layers, choices, columns), effects of its layers (layers, columns),
        # and the number of training labels with each operation (layers, choices).
        self._stages: list[tuple[StageMeans, FloatArray, FloatArray, IntArray]] = []
        self._once: list[FloatArray] = []  # for each stage, the part of the effects due to features chosen once
        for number, means in enumerate(projection.means):
            stage, there = means.stage, means.there
            of_depth, of_layer = _seen(means, [run[number] for run in runs])
            self._stages.append((means, means.layers - there[:, None], there, of_layer))
            if len(stage.depths) > 1:
                self._rows += [
                    (stage.name, 0, "depth", depth, int(seen))
                    for depth, seen in zip(stage.depths, of_depth, strict=True)
                ]
                effects.append(means.depths)
            members = feature_members(stage)
            by_value = means.by_choice(members) - there[:, None]
            seen = of_layer @ members.astype(np.int64)
            values = [(feature.name, value) for feature in stage.features for value in feature.values]
            once = np.array([name in stage.once for name, _ in values])
            self._once.append(members[:, once] @ by_value[0, once, 0])
            for layer in range(len(there)):
                chosen = np.flatnonzero(~once | (layer == 0))  # shared features get layer 0
                self._rows += [
                    (stage.name, 0 if once[row] else layer + 1, *values[row], int(seen[layer, row])) for row in chosen
                ]
                effects.append(by_value[layer, chosen])
        self._effects = np.concatenate(effects)

    @property
    def places(self) -> pd.DataFrame:
        """See :attr:`autobuild.importance.AdditiveScores.places`."""
        half = self._half(self._effects)
        effect = self._effects[:, 0]
        rows = [(*row[:4], e, e - h, e + h, row[4]) for row, e, h in zip(self._rows, effect, half, strict=True)]
        return table(rows, ["unit", "layer", "feature", "value", "effect", "lower", "upper", "n_seen"], ["value"])

    @property
    def features(self) -> pd.DataFrame:
        """See :attr:`autobuild.importance.AdditiveScores.features`."""
        return self._averaged("feature", "value")

    @property
    def of_units(self) -> pd.DataFrame:
        """See :attr:`autobuild.importance.AdditiveScores.unit_features`."""
        return self._averaged("unit", "feature", "value")

    def _averaged(self, *keys: str) -> pd.DataFrame:
        """Effects of places, averaged over those that have the same keys."""
        rows: Rows = []
        for key, indices in self._groups(*keys):
            mean = self._effects[indices].mean(axis=0)
            effect, half = float(mean[0]), float(self._half(mean[None])[0])
            rows.append((*key, effect, effect - half, effect + half, sum(self._rows[row][4] for row in indices)))
        return table(rows, [*keys, "effect", "lower", "upper", "n_seen"], ["value"])

    @property
    def operations(self) -> pd.DataFrame:
        """See :attr:`autobuild.importance.AdditiveScores.operations`."""
        rows: Rows = []
        for means, effects, _, seen in self._stages:
            for layer in range(len(effects)):
                half, of_layer = self._half(effects[layer]), []
                for digit in np.flatnonzero((seen[layer] > 0) & np.isfinite(effects[layer, :, 0])):
                    values = means.stage.layer_dict(int(digit))
                    listed = [values.get(name) for name in self.names]
                    score = float(effects[layer, digit, 0])
                    bounds = (score - half[digit], score + half[digit])
                    of_layer.append((means.stage.name, layer + 1, *listed, score, *bounds, int(seen[layer, digit])))
                rows += sorted(of_layer, key=lambda row: -row[-4])
        columns = ["unit", "layer", *self.names, "score", "lower", "upper", "n_seen"]
        return table(rows, columns, self.names)

    @property
    def layers(self) -> pd.DataFrame:
        """Effect of having each layer and of lacking it: ``unit, layer, score, lower, upper, score_without``."""
        rows: Rows = []
        for means, _, there, _ in self._stages:
            share = means.shares.sum(axis=1)
            optional = share < 1 - 1e-9
            there = np.where(optional[:, None], there, 0.0)  # a layer that all networks have has no effect
            half = self._half(there)
            absent = np.where(optional, -there[:, 0] * share / np.where(optional, 1 - share, 1), np.nan)
            for layer, (score, bound) in enumerate(zip(there[:, 0], half, strict=True)):
                rows.append((means.stage.name, layer + 1, score, score - bound, score + bound, absent[layer]))
        return pd.DataFrame(rows, columns=["unit", "layer", "score", "lower", "upper", "score_without"])

    @property
    def choices(self) -> pd.DataFrame:
        """See :attr:`autobuild.importance.AdditiveScores.choices`."""
        rows: Rows = []
        for (unit, layer, feature), indices in self._groups("unit", "layer", "feature"):
            if len(indices) < 2:
                continue
            order = indices[np.argsort(-self._effects[indices, 0], kind="stable")]
            first, second = int(order[0]), int(order[1])
            difference = self._effects[first] - self._effects[second]
            gap, half = float(difference[0]), float(self._half(difference[None])[0])
            best, other = self._rows[first][3], self._rows[second][3]
            rows.append((unit, layer, feature, best, other, gap, gap - half, gap + half, bool(gap - half > 0)))
        names = ["unit", "layer", "feature", "best", "second", "difference", "lower", "upper", "significant"]
        frame = table(rows, names, ["best", "second"])
        return frame.sort_values("difference", ascending=False, kind="stable", ignore_index=True)

    def of_run(self, number: int, run: Digits) -> FloatArray:
        """Effects of the layers of a run in stage ``number``; shared features are split evenly. Shape ``(layers,)``."""
        means, effects, _, _ = self._stages[number]
        if means.stage.tied:
            return np.full(len(run), effects[0, run[0], 0] / len(run))
        once = self._once[number][list(run)]
        out: FloatArray = effects[np.arange(len(run)), list(run), 0] - once * (1 - 1 / max(1, len(run)))
        return out

    def _half(self, effects: FloatArray) -> FloatArray:
        """Half-widths of 90 % intervals, NaN without draws. Shapes: ``(n, 1 + draws) -> (n,)``."""
        if effects.shape[1] < 2:
            return np.full(len(effects), np.nan)
        out: FloatArray = INTERVAL_SDS * effects[:, 1:].std(axis=1)
        return out

    def _groups(self, *keys: str) -> list[tuple[tuple[Any, ...], IntArray]]:
        """Group the rows whose effect is known by equal keys, in the order in which the keys first occur."""
        places = [("unit", "layer", "feature", "value").index(key) for key in keys]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for row, entry in enumerate(self._rows):
            if np.isfinite(self._effects[row, 0]):
                groups.setdefault(tuple(entry[place] for place in places), []).append(row)
        return [(key, np.array(rows, dtype=np.int64)) for key, rows in groups.items()]


def _seen(means: StageMeans, runs: Sequence[Digits]) -> tuple[IntArray, IntArray]:
    """Numbers of training labels with each depth, and with each choice in each layer."""
    digits = means.stage.padded(runs)
    depth = np.searchsorted(means.stage.depths, (digits >= 0).sum(axis=1))
    layers, choices = means.shares.shape
    counts = [np.bincount(digits[:, layer] + 1, minlength=choices + 1)[1:] for layer in range(layers)]
    return np.bincount(depth, minlength=len(means.stage.depths)), np.array(counts)
