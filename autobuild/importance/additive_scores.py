"""Additive scores: every score is what a choice adds to the prediction, in units of the target."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from autobuild.importance._effects import Effects
from autobuild.importance.projection import Projection
from autobuild.importance.scores import Scores, operations_by_layer
from autobuild.spaces import Architecture


@dataclass(repr=False)
class AdditiveScores(Scores):
    """Scores that add up: prediction = base + sum of the candidates' scores + remainder. The remainder is reported.

    Attributes:
        projection: The additive decomposition from which all scores are computed.
    """

    projection: Projection

    def _about(self) -> list[str]:
        share, left = self.projection.share, self.projection.remainder_sd
        total = f"prediction = {self.base:.4g} + sum of scores + rest"
        total += f"; sums explain {share:.1%} of the variance, standard deviation of the rest {left:.3g}"
        return [total, *(f"warning: {text}" for text in self.warnings)]

    def _shown(self) -> list[tuple[str, pd.DataFrame]]:
        features, candidates = super()._shown()
        largest = ("Choices with the largest effects: best value and second best", self.choices.head(8))
        return [features, largest, candidates]

    @property
    def base(self) -> float:
        """Mean prediction over architectures drawn with every depth equally likely, in units of the target."""
        return self.projection.base

    @cached_property
    def _effects(self) -> Effects:
        return Effects(self.projection, self.model)

    @cached_property
    def places(self) -> pd.DataFrame:
        """Every choice at every place. Columns ``unit, layer, feature, value, effect, lower, upper, n_seen``.

        ``effect`` is the mean prediction over the networks that make the choice, minus the mean over all networks in
        which the choice exists: all networks for a depth (``layer`` 0 stands for the whole unit), the networks that
        have the layer for a feature of that layer. All other choices are drawn as by
        :meth:`~autobuild.spaces.SearchSpace.sample` with ``design="depth"``. ``effect`` is NaN if no network of the
        (narrowed) space makes the choice. ``n_seen`` counts training labels. See :mod:`autobuild.importance._effects`.
        """
        return self._effects.places

    @cached_property
    def features(self) -> pd.DataFrame:
        """Effects of :attr:`places`, averaged over places.

        Columns ``feature, value, effect, lower, upper, n_seen``. ``effect`` is the gain of a layer with this
        value over the average layer at its place (for ``depth``, the gain of a unit).
        """
        return self._effects.features

    @cached_property
    def unit_features(self) -> pd.DataFrame:
        """Effects of :attr:`places`, averaged over the layers of each unit.

        Columns ``unit, feature, value, effect, lower, upper, n_seen``.
        """
        return self._effects.of_units

    @cached_property
    def effect_map(self) -> pd.DataFrame:
        """Effects of :attr:`places` as a map: a row for each ``unit, layer``, a column for each ``feature, value``.

        NaN where a place has no such choice. :func:`autobuild.plot.effect_map` draws it.
        """
        frame = self.places
        order = list(dict.fromkeys(zip(frame["feature"], frame["value"], strict=True)))
        rows = list(dict.fromkeys(zip(frame["unit"], frame["layer"], strict=True)))
        cells = {tuple(row[:4]): row[4] for row in frame.itertuples(index=False)}
        table = [[cells.get((*row, *column), float("nan")) for column in order] for row in rows]
        return pd.DataFrame(
            table,
            index=pd.MultiIndex.from_tuples(rows, names=["unit", "layer"]),
            columns=pd.MultiIndex.from_tuples(order, names=["feature", "value"]),
        )

    @cached_property
    def operations(self) -> pd.DataFrame:
        """Every operation at every place where the labels show it.

        Columns ``unit, layer, <features>, score, lower, upper, n_seen``. ``score`` is the mean prediction over the
        networks that have the operation in this layer, minus the mean over all networks that have this layer.
        """
        return self._effects.operations

    @cached_property
    def layers(self) -> pd.DataFrame:
        """Effect of having each layer.

        Columns ``unit, layer, score, lower, upper, score_without, score_range, best, n_seen``.
        ``score`` is the mean prediction over the networks that have the layer, minus the mean over all networks.
        ``score_without`` is the same for the networks without the layer, NaN if there are none. ``score_range`` is the
        score of the best operation in this layer minus that of the worst, ``best`` the best operation as text.
        """
        frame = operations_by_layer(self.operations, [feature.name for feature in self.model.space.features])
        frame = frame.drop(columns="score").merge(self._effects.layers, on=["unit", "layer"], how="left")
        return frame[["unit", "layer", "score", "lower", "upper", "score_without", "score_range", "best", "n_seen"]]

    @cached_property
    def choices(self) -> pd.DataFrame:
        """For every choice, the best value and the second best, and whether their difference is significant.

        Columns ``unit, layer, feature, best, second, difference, lower, upper, significant``, largest difference first.
        ``difference`` is the effect of the best value minus that of the second, with its 90 % interval ``lower,
        upper``. ``significant`` is true if ``lower`` is above 0.
        """
        return self._effects.choices

    @property
    def warnings(self) -> list[str]:
        """Limits of what these labels can show, as text: the model's warnings, then those about the scores."""
        frame, texts = self.choices, list(self.model.report.get("warnings", ()))
        if len(frame) and not frame["lower"].isna().all():
            significant = int(frame["significant"].sum())
            if significant < len(frame) / 2:
                texts.append(
                    f"the best value is significantly better than the second best in {significant} of {len(frame)} "
                    "choices (table `choices`); in the others the order may be chance: label more architectures"
                )
        if self.projection.share < 0.9:
            texts.append(
                f"sums of scores explain {self.projection.share:.0%} of the variance of predictions: units interact, "
                "so use the predicted column of built networks, not their scores"
            )
        return texts

    def why(self, arch: Architecture | str) -> pd.DataFrame:
        """Why a network is predicted as it is: from the average network to its prediction, unit by unit.

        Args:
            arch: An architecture of the space, or its text.

        Returns:
            Rows ``average``, one for each unit, ``remainder`` (what the sum leaves out) and ``predicted``, their sum.
            Columns ``unit, candidate, contribution, lower, upper``: what the unit adds to the mean prediction (the
            contribution of ``average``), with its 90 % interval, in units of the target.

        Raises:
            SpaceError: The text is not an architecture of the space.
        """
        parsed = self.space.parse(arch) if isinstance(arch, str) else arch
        nan = float("nan")
        rows: list[tuple[str, str, float, float, float]] = [("average", "", self.base, nan, nan)]
        for unit, scored, index in zip(self.space.units, self.units, self.space.indices(parsed), strict=True):
            low, high = (nan if own is None else float(own[index]) for own in (scored.lower, scored.upper))
            rows.append((unit.name, str(unit.texts(np.array([index]))[0]), float(scored.score[index]), low, high))
        predicted = float(self.model.predict_mean([parsed])[0])
        rows.append(("remainder", "", predicted - sum(row[2] for row in rows), nan, nan))
        rows.append(("predicted", parsed.text, predicted, nan, nan))
        return pd.DataFrame(rows, columns=["unit", "candidate", "contribution", "lower", "upper"])

    def node_scores(self, arch: Architecture | str) -> pd.DataFrame:
        """Effect of every layer of one architecture, compared with the average layer at its place.

        Args:
            arch: An architecture of the space, or its text.

        Returns:
            One row per layer. Columns ``unit, layer, op, effect``, in units of the target.

        Raises:
            SpaceError: The text is not an architecture of the space.
        """
        parsed = self.space.parse(arch) if isinstance(arch, str) else arch
        rows = []
        for number, (stage, run) in enumerate(zip(self.model.space.stages, parsed.runs, strict=True)):
            worth = self._effects.of_run(number, run)
            rows += [
                (stage.name, layer, stage.tokens[run[layer - 1]], worth[layer - 1]) for layer in range(1, len(run) + 1)
            ]
        return pd.DataFrame(rows, columns=["unit", "layer", "op", "effect"])
