"""Importance scores of features, operations, layers and candidates, as pandas frames."""

from __future__ import annotations

import contextlib
import html
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from autobuild._html import titled
from autobuild._moved import renamed_arguments
from autobuild._typing import IntArray
from autobuild._words import counted
from autobuild.errors import SpaceError
from autobuild.importance.scorers import UnitScores
from autobuild.models import FittedModel
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.additive import best_places

if TYPE_CHECKING:
    from pathlib import Path

    from autobuild.construct import Built
    from autobuild.cost import Hardware
    from autobuild.importance.interactions import Interactions
    from autobuild.labels import LabelledSet


@dataclass
class Scores:
    """Importance scores of one fitted model on one space; :func:`autobuild.explain` returns them.

    >>> labels = ab.LabelledSet.read("tiny_mbconv", ab.space("tiny_mbconv"), n=60)
    >>> scores = ab.fit(labels, "acc", model="linear").explain()
    >>> list(scores.features)
    ['feature', 'value', 'effect', 'lower', 'upper', 'n_seen']
    >>> len(scores.build(top=3))
    3
    >>> scores.narrow(top=5)
    SearchSpace('tiny_mbconv', 3 units, 125 architectures)

    Attributes:
        model: The model that the scores explain.
        space: The space whose candidates are scored: the model's space, or one narrowed or joined from it.
        scorer: Name of the scorer.
        units: For each unit, the scores of its candidates by index.
    """

    model: FittedModel
    space: SearchSpace
    scorer: str
    units: list[UnitScores]

    @renamed_arguments({"time_limit": "time_limit_s"})
    def build(
        self,
        top: int = 10,
        *,
        where: str | None = None,
        labels: LabelledSet | None = None,
        by: str = "predicted",
        apart: int = 0,
        time_limit_s: float = 60.0,
        hardware: str | Path | Hardware | None = None,
    ) -> Built:
        """Build the ``top`` best networks; the same as :func:`autobuild.build`.

        Args:
            top: Number of networks.
            where: Limits on label columns and costs, such as ``"latency_gpu <= 8 and params < 6e6"``.
            labels: Labelled set with the limited label columns (default: the one that the model was fitted on).
            by: What is maximised: ``"predicted"``, or ``"lower"`` or ``"upper"`` for that bound of the 80 % interval.
            apart: Minimum number of layers in which any two of the networks differ.
            time_limit_s: Seconds for each search under limits.
            hardware: Hardware for limited costs: the name of a preset, a YAML file or a description (default: the
                hardware of the target's costs, otherwise ``edge_npu``).

        Returns:
            The networks, best first: a sequence of architectures, whose ``frame`` has the columns ``rank, arch, score,
            predicted, lower, upper`` and the limited metrics. ``score`` is base + sum of scores.

        Raises:
            ConfigError: An argument is not usable, a limit cannot be read, or it names something unknown.
            NoNetworkError: No network satisfies the limits.
        """
        from autobuild.construct import build

        return build(
            self, top, where=where, labels=labels, by=by, apart=apart, time_limit_s=time_limit_s, hardware=hardware
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
        """Keep only the best candidates of every unit; the same as :func:`autobuild.narrow`.

        Exactly one of ``top``, ``threshold``, ``mass`` and ``share`` must be given; with ``where``, none is needed.

        Args:
            top: Number of candidates to keep in each unit.
            threshold: Least score to keep, in units of the target; the best candidate of a unit is always kept.
            mass: Probability that the best network is kept, e.g. 0.9; the smallest such space found is returned.
            share: Largest share of the architectures to keep, e.g. 0.02; the space found that most probably holds the
                best network is returned.
            where: Limits, as in :meth:`build`. Candidates that no network within the limits can have are removed.
            labels: Labelled set with the limited label columns, as in :meth:`build`.
            hardware: Hardware for limited costs, as in :meth:`build`.

        Returns:
            The narrowed space; its ``note`` gives the sizes before and after.

        Raises:
            ConfigError: None or several of the first four arguments are given, or one is not usable.
            NoNetworkError: No network satisfies the limits.
        """
        from autobuild.construct import narrow

        return narrow(self, top, threshold, mass, share, where=where, labels=labels, hardware=hardware)

    def _repr_html_(self) -> str:
        parts = [f"<p>{html.escape(repr(self))}{''.join(f'<br>{html.escape(line)}' for line in self._about())}</p>"]
        return "".join([*parts, *(titled(title, frame, 24) for title, frame in self._shown())])

    def _about(self) -> list[str]:
        """Lines of text above the tables."""
        return [f"warning: {text}" for text in self.model.report.get("warnings", ())]

    def _shown(self) -> list[tuple[str, pd.DataFrame]]:
        """Tables shown in a notebook, with their titles."""
        best = self.candidates.groupby("unit", sort=False).head(3)
        return [
            ("Main effects of feature values, averaged over units and layers", self.features),
            ("The three best candidates of every unit", best),
        ]

    def __repr__(self) -> str:
        units = f"{counted(self.n_candidates, 'candidate')} of {counted(len(self.space.units), 'unit')}"
        return f"Scores({self.scorer!r}, {units}, target {self.model.target!r})"

    @property
    def n_candidates(self) -> int:
        """Number of candidates scored, summed over all units."""
        return sum(unit.size for unit in self.space.units)

    @property
    def unit_scores(self) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
        """Unit name -> score of every candidate by index, shape ``(unit.size,)``."""
        return {unit.name: scored.score for unit, scored in zip(self.space.units, self.units, strict=True)}

    @cached_property
    def features(self) -> pd.DataFrame:
        """Every value of every feature. Columns ``feature, value, effect, ..., n_seen``.

        ``effect`` is in units of the target; ``n_seen`` says how often the training data show the value.
        """
        raise NotImplementedError

    @cached_property
    def operations(self) -> pd.DataFrame:
        """Every operation at every place where the labels show it.

        Columns ``unit, layer, <features>, score, ..., n_seen``; ``score`` is in units of the target.
        """
        raise NotImplementedError

    def node_scores(self, arch: Architecture | str) -> pd.DataFrame:
        """Scores of every layer of one architecture.

        Args:
            arch: An architecture of the space, or its text.

        Returns:
            One row per layer. Columns ``unit, layer, op`` and one or more columns of scores, in units of the target.

        Raises:
            SpaceError: The text is not an architecture of the space.
        """
        raise NotImplementedError

    def explain_change(self, before: Architecture | str, after: Architecture | str) -> pd.DataFrame:
        """What each unit contributes to the difference between the predictions of two networks.

        Args:
            before: An architecture of the space, or its text: what is changed.
            after: Another one: what it is changed to.

        Returns:
            One row for each unit that differs, the largest change first, and a row ``total``, which is their sum.
            Columns ``unit, before, after, contribution, lower, upper`` (90 %), in units of the target.
            Contributions are Shapley values, see :func:`autobuild.importance.changes.change_between`.

        Raises:
            SpaceError: A text is not an architecture of the space.
        """
        from autobuild.importance.changes import change_between

        parsed = [self.space.parse(arch) if isinstance(arch, str) else arch for arch in (before, after)]
        return change_between(self.model, self.space, *parsed)

    @cached_property
    def layers(self) -> pd.DataFrame:
        """How much the choice at each place matters. Columns ``unit, layer, score, score_range, best, n_seen``.

        ``score`` is the mean over the operations seen there, ``score_range`` the best score minus the worst (both in
        units of the target), ``best`` the best operation as text.
        """
        return operations_by_layer(self.operations, [feature.name for feature in self.model.space.features])

    @cached_property
    def interactions(self) -> Interactions:
        """Pairs of choices whose effects do not add up, as far as the labels tell: see :class:`Interactions`.

        They are found in the labels, not in the predictions, with 90 % intervals; where all effects add up, none is
        found with a probability of about 95 %.
        """
        from autobuild.importance.interactions import find_interactions

        return find_interactions(self.model, self.space)

    @cached_property
    def candidates(self) -> pd.DataFrame:
        """Every candidate of every unit, best first in each unit.

        Columns ``unit, candidate, hops, score, lower, upper, n_seen, n_seen_rarest, unseen_depth``. ``score`` and its
        90 % interval ``lower, upper`` (if the scorer gives one) are in units of the target. ``n_seen`` counts the
        training labels that hold the candidate, ``n_seen_rarest`` those that hold its rarest feature value in that
        unit. ``unseen_depth`` is true if the score was calibrated with labels of other depths.
        """
        return self.best_candidates(self.n_candidates)

    def best_candidates(self, top: int) -> pd.DataFrame:
        """The best candidates of every unit: the first of each in :attr:`candidates`, for units that have millions.

        Args:
            top: Number of candidates of each unit, at most.

        Returns:
            The columns of :attr:`candidates`.
        """
        orders = [best_places(scored.score, top)[:top] for scored in self.units]
        frames = []
        for unit, scored, order, (exact, rarest) in zip(
            self.space.units, self.units, orders, _count_labels(self.model, self.space, orders), strict=True
        ):
            frames.append(
                pd.DataFrame(
                    {
                        "unit": unit.name,
                        "candidate": unit.texts(order),
                        "hops": scored.hops[order],
                        "score": scored.score[order],
                        **_bounds(scored, order),
                        "n_seen": exact,
                        "n_seen_rarest": rarest,
                        "unseen_depth": scored.unseen_depth[order],
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)


def _bounds(scored: UnitScores, order: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, Any]:
    if scored.lower is None or scored.upper is None:
        return {}
    return {"lower": scored.lower[order], "upper": scored.upper[order]}


def _count_labels(
    model: FittedModel, space: SearchSpace, candidates: Sequence[IntArray]
) -> list[tuple[IntArray, IntArray]]:
    """Count the training labels that hold candidates, and those that hold their rarest feature value in the unit.

    Args:
        model: The model.
        space: The space.
        candidates: For each unit the candidates, shape ``(n,)``.

    Returns:
        For each unit a pair of arrays, each of shape ``(n,)``.
    """
    counted, start = [], 0
    for unit, listed in zip(space.units, candidates, strict=True):
        stages = slice(start, start + len(unit.stages))
        start = stages.stop
        runs = Counter(arch.runs[stages] for arch in model.training_archs)
        labels = np.array(list(runs.values()), dtype=np.int64)
        whole: dict[int, int] = {}
        for run, count in runs.items():
            with contextlib.suppress(SpaceError):  # the label is outside the narrowed space
                whole[unit.index_of_runs(run)] = count
        rarest = np.full(len(listed), labels.sum(), dtype=np.int64)
        for number, (stage, digits) in enumerate(zip(unit.stages, unit.runs(listed), strict=True)):
            fewest = np.full(len(stage.layers) + 1, labels.sum(), dtype=np.int64)  # last: no layer (digit -1)
            labelled = stage.padded([run[number] for run in runs])
            for column, feature in enumerate(stage.features):
                values = np.array([feature.values.index(layer[column]) for layer in stage.layers] + [-1])
                shows = [(values[labelled] == value).any(axis=1) for value in range(len(feature.values))]
                shown = np.array([labels[own].sum() for own in shows])
                fewest[:-1] = np.minimum(fewest[:-1], shown[values[:-1]])
            rarest = np.minimum(rarest, fewest[digits].min(axis=1))
        counted.append((np.array([whole.get(index, 0) for index in listed.tolist()], dtype=np.int64), rarest))
    return counted


def operations_by_layer(operations: pd.DataFrame, features: Sequence[str]) -> pd.DataFrame:
    """Summarise a table of operations by layer; the columns are those of :attr:`Scores.layers`."""
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
    return pd.DataFrame(rows, columns=["unit", "layer", "score", "score_range", "best", "n_seen"])


def table(rows: Sequence[tuple[Any, ...]], columns: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """Make a table whose columns named in ``values`` hold feature values unchanged (dtype object).

    Integers stay integers in a column with fractions, and None marks a feature that an operation lacks.
    """
    parts = {name: [row[place] for row in rows] for place, name in enumerate(columns)}
    series = {name: pd.Series(cells, dtype=object if name in values else None) for name, cells in parts.items()}
    return pd.DataFrame(series, columns=list(columns))
