"""What matters, as shares of the prediction: every score is what a choice adds, in units of the target."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from autobuild.importance.effects import Effects
from autobuild.importance.projection import Projection
from autobuild.importance.scores import Scores, operations_by_layer
from autobuild.spaces import Architecture


@dataclass(repr=False)
class AdditiveScores(Scores):
    """Scores that add up: prediction = base + sum of the candidates' scores + a remainder, which is reported.

    Attributes:
        projection: The decomposition behind them.
    """

    projection: Projection

    def _about(self) -> list[str]:
        share, left = self.projection.share, self.projection.remainder_sd
        total = f"prediction = {self.base:.4g} + sum of scores + rest; sums explain {share:.1%}, rest {left:.3g}"
        return [total, *(f"warning: {text}" for text in self.warnings)]

    def _shown(self) -> list[tuple[str, pd.DataFrame]]:
        features, candidates = super()._shown()
        return [features, ("The choices that matter most: best value and second", self.choices.head(8)), candidates]

    @property
    def base(self) -> float:
        """What an average architecture is predicted to reach, in units of the target."""
        return self.projection.base

    @cached_property
    def _effects(self) -> Effects:
        return Effects(self.projection, self.model)

    @cached_property
    def places(self) -> pd.DataFrame:
        """``unit, layer, feature, value, effect, lower, upper, n_seen``: every choice at every place.

        ``effect`` is the mean over the networks that make the choice, less the mean over those that have it to make:
        all networks for a depth (``layer`` 0, the whole unit), those that have the layer for a feature of it. All other
        choices are drawn as :meth:`~autobuild.spaces.SearchSpace.sample` does with ``design="depth"``. NaN where the
        space has no such network, as a narrowed one. ``n_seen`` counts training labels. See
        :mod:`autobuild.importance.effects`.
        """
        return self._effects.places

    @cached_property
    def features(self) -> pd.DataFrame:
        """``feature, value, score, effect, lower, upper, n_seen``: the effects of :attr:`places`, averaged over places.

        What one layer that takes the value gains over the average layer there (``depth``: what one unit does).
        """
        return self._effects.features

    @cached_property
    def operations(self) -> pd.DataFrame:
        """``unit, layer, <features>, score, lower, upper, n_seen``: every operation where the labels show it.

        ``score`` is the mean over the networks that have the operation in this layer, less that of all which have this
        layer.
        """
        return self._effects.operations

    @cached_property
    def layers(self) -> pd.DataFrame:
        """``unit, layer, score, lower, upper, absent, spread, best, n_seen``: what each layer is worth.

        ``score`` is the mean over the networks that have the layer, less that of all; ``absent`` the same of those that
        lack it, NaN where none does. ``spread`` is the best operation there less the worst, ``best`` the best one's
        text.
        """
        frame = operations_by_layer(self.operations, [feature.name for feature in self.model.space.features])
        frame = frame.drop(columns="score").merge(self._effects.layers, on=["unit", "layer"], how="left")
        return frame[["unit", "layer", "score", "lower", "upper", "absent", "spread", "best", "n_seen"]]

    @cached_property
    def choices(self) -> pd.DataFrame:
        """Can the labels tell the best choice from the second, at every place where something is chosen?

        ``unit, layer, feature, best, second, difference, lower, upper, told_apart``, the largest differences first.
        ``difference`` is the best value's effect less the second's, with its 90 % interval; they are told apart where
        that lies above zero.
        """
        return self._effects.choices

    @property
    def warnings(self) -> list[str]:
        """What these labels cannot say, in plain words, the model's own warnings first; empty where all is well."""
        frame, said = self.choices, list(self.model.report.get("warnings", ()))
        if len(frame) and not frame["lower"].isna().all():
            apart = int(frame["told_apart"].sum())
            if apart < len(frame) / 2:
                said.append(
                    f"the labels tell the best value from the second in {apart} of {len(frame)} choices; "
                    "the others cannot be told apart (table `choices`): label more architectures before trusting them"
                )
        if self.projection.share < 0.9:
            said.append(
                f"sums of scores explain {self.projection.share:.0%} of the prediction's variance: units act on each "
                "other, so read the predicted column of built networks, not their scores"
            )
        return said

    def node_scores(self, arch: Architecture | str) -> pd.DataFrame:
        """``unit, layer, op, effect``: what every layer of one architecture gains over the average layer there."""
        parsed = self.space.parse(arch) if isinstance(arch, str) else arch
        rows = []
        for number, (stage, run) in enumerate(zip(self.model.space.stages, parsed.runs, strict=True)):
            worth = self._effects.of_run(number, run)
            rows += [
                (stage.name, layer, stage.tokens[run[layer - 1]], worth[layer - 1]) for layer in range(1, len(run) + 1)
            ]
        return pd.DataFrame(rows, columns=["unit", "layer", "op", "effect"])
