"""What matters: scores of features, operations, layers and candidates, as frames a person can read."""

from __future__ import annotations

import html
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
    from pathlib import Path

    from autobuild.construct import Built
    from autobuild.cost import Hardware
    from autobuild.labels import LabelledSet


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

    def build(
        self,
        top: int = 10,
        *,
        where: str | None = None,
        labels: LabelledSet | None = None,
        by: str = "predicted",
        apart: int = 0,
        time_limit: float = 10.0,
        hardware: str | Path | Hardware | None = None,
    ) -> Built:
        """Build the ``top`` best networks; :func:`autobuild.build` of these scores.

        Args:
            top: How many.
            where: Limits over label columns and costs, such as ``"latency_gpu <= 8 and params < 6e6"``.
            labels: Where limited label columns come from; those that the model was fitted on by default.
            by: ``"predicted"``; ``"lower"`` or ``"upper"`` for that bound of the 80 % interval.
            apart: In at least how many layers any two built networks differ.
            time_limit: Seconds for each search under limits.
            hardware: What limited costs are computed for (default: what the target's are, else ``edge_npu``).

        Raises:
            ConfigError: For an unusable argument, a limit that cannot be read, or a name in it that is unknown.
            NoNetworkError: If no network satisfies the limits.
        """
        from autobuild.construct.from_scores import build

        return build(
            self, top, where=where, labels=labels, by=by, apart=apart, time_limit=time_limit, hardware=hardware
        )

    def narrow(
        self,
        top: int | None = None,
        threshold: float | None = None,
        mass: float | None = None,
        share: float | None = None,
        *,
        where: str | None = None,
        labels: LabelledSet | None = None,
        hardware: str | Path | Hardware | None = None,
    ) -> SearchSpace:
        """Keep only the best candidates of every unit; :func:`autobuild.narrow` of these scores.

        Args:
            top: Keep this many of each unit.
            threshold: Keep candidates scored at least this much (at least one a unit stays).
            mass: The smallest space found that holds the best network with this probability, e.g. 0.9.
            share: At most this share of the space, e.g. 0.02, as probable to hold the best network as can be found.
            where: Limits: candidates go that no network within them can have.
            labels: Where limited label columns come from, as in :meth:`build`.
            hardware: What limited costs are computed for, as in :meth:`build`.

        Raises:
            ConfigError: Unless exactly one of the first four is given (none, with ``where``).
            NoNetworkError: If no network satisfies the limits.
        """
        from autobuild.construct.from_scores import narrow

        return narrow(self, top, threshold, mass, share, where=where, labels=labels, hardware=hardware)

    def _repr_html_(self) -> str:
        parts = [f"<p>{html.escape(repr(self))}{''.join(f'<br>{html.escape(line)}' for line in self._about())}</p>"]
        for title, frame in self._shown():
            shown = frame.apply(lambda column: column.where(column.notna(), "-") if column.dtype == object else column)
            parts.append(f"<p><b>{html.escape(title)}</b></p>{shown.to_html(index=False, na_rep='-')}")
        return "".join(parts)

    def _about(self) -> list[str]:
        """What is said above the tables, a line each."""
        return [f"warning: {text}" for text in self.model.report.get("warnings", ())]

    def _shown(self) -> list[tuple[str, pd.DataFrame]]:
        """Tables shown in a notebook, with their titles."""
        best = self.candidates.groupby("unit", sort=False).head(3)
        return [
            ("What each feature value is worth, averaged over its places", self.features),
            ("The three best candidates of every unit", best),
        ]

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


def table(rows: Sequence[tuple[Any, ...]], columns: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """A table whose columns ``values`` hold feature values as they are.

    Whole numbers stay whole beside fractions, and None stands for a feature that an operation lacks.
    """
    parts = {name: [row[place] for row in rows] for place, name in enumerate(columns)}
    series = {name: pd.Series(cells, dtype=object if name in values else None) for name, cells in parts.items()}
    return pd.DataFrame(series, columns=list(columns))
