"""What matters: scores of features, operations, layers and candidates, as frames a person can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from autobuild.importance.scorers import UnitScores
from autobuild.importance.seen import candidates_seen
from autobuild.models import FittedModel
from autobuild.spaces import Architecture, SearchSpace

if TYPE_CHECKING:
    from autobuild.api import build as _build
    from autobuild.api import narrow as _narrow


@dataclass
class Scores:
    """Scores of one fitted model on one space.

    Attributes:
        model: The model.
        space: Whose candidates are scored: the model's space, or one narrowed or joined from it.
        scorer: Name of the scorer.
        units: For each unit, the scores of its candidates by index.
    """

    model: FittedModel
    space: SearchSpace
    scorer: str
    units: list[UnitScores]

    if TYPE_CHECKING:  # bound by autobuild.api, so that this room imports nothing above it
        build, narrow = _build, _narrow

    def __repr__(self) -> str:
        units = f"{self.n_candidates:,} candidates of {len(self.space.units)} units"
        return f"Scores({self.scorer!r}, {units}, target {self.model.target!r})"

    @property
    def n_candidates(self) -> int:
        """Number of candidates scored, over all units."""
        return sum(unit.size for unit in self.space.units)

    @property
    def unit_scores(self) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
        """Unit name -> score of every candidate by index, shape ``(unit.size,)``."""
        return {unit.name: scored.score for unit, scored in zip(self.space.units, self.units, strict=True)}

    @cached_property
    def features(self) -> pd.DataFrame:
        """``feature, value, score, effect, ..., n_seen``: every value of every feature; ``effect`` in target units."""
        raise NotImplementedError

    @cached_property
    def operations(self) -> pd.DataFrame:
        """``unit, layer, <features>, score, ..., n_seen``: every operation at every place that the labels show."""
        raise NotImplementedError

    def node_scores(self, arch: Architecture | str) -> pd.DataFrame:
        """``unit, layer, op`` and one or more columns of scores: every layer of one architecture."""
        raise NotImplementedError

    @cached_property
    def layers(self) -> pd.DataFrame:
        """``unit, layer, score, spread, best, n_seen``: how much the choice at each place matters.

        ``score`` is the mean over the operations seen there, ``spread`` the best less the worst (units of the target),
        ``best`` the best operation's text.
        """
        return operations_by_layer(self.operations, [feature.name for feature in self.model.space.features])

    @cached_property
    def candidates(self) -> pd.DataFrame:
        """``unit, candidate, hops, score, lower, upper, n_seen, n_seen_rarest, unseen_depth``: best first in each unit.

        ``lower`` and ``upper`` bound a 90 % interval where the scorer gives one.

        ``n_seen`` counts the training labels that hold the candidate, ``n_seen_rarest`` those that hold its rarest
        feature value in that unit; ``unseen_depth`` marks calibrations borrowed from other depths.
        """
        frames = []
        for unit, scored, (exact, rarest) in zip(
            self.space.units, self.units, candidates_seen(self.model, self.space), strict=True
        ):
            order = np.argsort(-scored.score, kind="stable")
            frames.append(
                pd.DataFrame(
                    {
                        "unit": unit.name,
                        "candidate": unit.texts(order),
                        "hops": scored.hops[order],
                        "score": scored.score[order],
                        **_bounds(scored, order),
                        "n_seen": exact[order],
                        "n_seen_rarest": rarest[order],
                        "unseen_depth": scored.unseen_depth[order],
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)


def _bounds(scored: UnitScores, order: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, Any]:
    if scored.lower is None or scored.upper is None:
        return {}
    return {"lower": scored.lower[order], "upper": scored.upper[order]}


def operations_by_layer(operations: pd.DataFrame, features: Sequence[str]) -> pd.DataFrame:
    """``unit, layer, score, spread, best, n_seen`` of a table of operations; see :attr:`Scores.layers`."""
    rows = []
    for (unit, layer), group in operations.groupby(["unit", "layer"], sort=False):
        weights = group["n_seen"].to_numpy(dtype=float)
        score = group["score"].to_numpy(dtype=float)
        best = group.iloc[int(score.argmax())]
        rows.append(
            (
                unit,
                layer,
                float((score * weights).sum() / weights.sum()),
                float(score.max() - score.min()),
                " ".join(f"{name}={best[name]}" for name in features if best[name] is not None),
                int(weights.sum()),
            )
        )
    return pd.DataFrame(rows, columns=["unit", "layer", "score", "spread", "best", "n_seen"])
