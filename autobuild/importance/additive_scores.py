"""What matters, as shares of the prediction: every score is what a choice adds, in units of the target."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autobuild.importance.effects import choice_table, feature_table, operation_table, place_effects
from autobuild.importance.projection import Projection
from autobuild.importance.scores import Scores
from autobuild.spaces import Architecture


@dataclass(repr=False)
class AdditiveScores(Scores):
    """Scores that add up: prediction = base + sum of the candidates' scores + a remainder, which is reported.

    Attributes:
        projection: The decomposition behind them.
    """

    projection: Projection

    def _repr_html_(self) -> str:
        share, left = self.projection.share, self.projection.remainder_sd
        notes = "".join(f"<br>{text}" for text in self.warnings)
        text = f"prediction = {self.base:.4g} + sum of scores + rest; sums explain {share:.1%}, rest {left:.3g}{notes}"
        return (
            f"<p>{self!r}<br>{text}</p>{self.features.to_html(index=False)}"
            f"{self.choices.head(8).to_html(index=False)}{self._best_candidates()}"
        )

    @property
    def base(self) -> float:
        """What an average architecture is predicted to reach, in units of the target."""
        return self.projection.base

    @cached_property
    def _places(self) -> tuple[pd.DataFrame, NDArray[np.float64]]:
        return place_effects(self.projection, self.model)

    @property
    def places(self) -> pd.DataFrame:
        """``unit, layer, feature, value, effect, lower, upper, n_seen``: every choice at every place."""
        return self._places[0].copy()

    @cached_property
    def features(self) -> pd.DataFrame:
        """``feature, value, score, effect, lower, upper, n_seen``: see
        :func:`autobuild.importance.effects.feature_table`.

        Effects are differences from the average network, for one layer that takes the value (``depth``: one unit).
        """
        return feature_table(*self._places)

    @cached_property
    def operations(self) -> pd.DataFrame:
        """``unit, layer, <features>, score, lower, upper, n_seen``: every operation where the labels show it."""
        return operation_table(self.model.space, *self._places, self.model)

    @cached_property
    def choices(self) -> pd.DataFrame:
        """``unit, layer, feature, best, second, difference, lower, upper, told_apart``: see :meth:`warnings`."""
        return choice_table(*self._places)

    @property
    def warnings(self) -> list[str]:
        """What these labels cannot say, in plain words; empty where they tell most choices apart."""
        frame, said = self.choices, []
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
        """``unit, layer, op, effect``: what every layer of one architecture adds, in units of the target."""
        parsed = self.space.parse(arch) if isinstance(arch, str) else arch
        frame = self._places[0]
        keys = frame[["unit", "layer", "feature", "value"]].itertuples(index=False)
        effect = dict(zip(map(tuple, keys), frame["effect"], strict=True))
        rows = []
        for stage, run in zip(self.model.space.stages, parsed.runs, strict=True):
            for position, digit in enumerate(run, start=1):
                worth = 0.0
                for name, value in stage.layer_dict(digit).items():
                    once = name in stage.once  # an equal share of it for every layer
                    worth += effect[stage.name, 0 if once else position, name, value] / (len(run) if once else 1)
                rows.append((stage.name, position, stage.tokens[digit], worth))
        return pd.DataFrame(rows, columns=["unit", "layer", "op", "effect"])
