"""Scores of several models side by side: accuracy beside the latency of each device, or two data sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from autobuild._html import titled
from autobuild.errors import ConfigError
from autobuild.importance.additive_scores import AdditiveScores
from autobuild.importance.scores import Scores
from autobuild.rank import srcc

KEYS = ["unit", "feature", "value"]


@dataclass
class Comparison:
    """Effects of the same choices on several targets; :func:`autobuild.compare` returns it.

    Attributes:
        names: A name for each of the scores.
        targets: Their targets.
        frame: A row for every value of every feature of every unit. Columns ``unit, feature, value``, and for each name
            ``NAME, NAME lower, NAME upper``: the effect in units of that target, averaged over the layers of the unit,
            with its 90 % interval. NaN where a model does not have the choice.
        sds: Standard deviation of the predictions of each model over its space, in units of its target, by which
            effects are compared.
        agreement: Rank correlation of the effects of each two models, over the choices that both have. Positive where
            the same choices are good for both. Shape ``(names, names)``.
    """

    names: list[str]
    targets: list[str]
    frame: pd.DataFrame = field(repr=False)
    sds: list[float]
    agreement: pd.DataFrame = field(repr=False)

    def _repr_html_(self) -> str:
        shown = self.frame[[*KEYS, *self.names]]
        agreement = self.agreement.rename_axis("target").reset_index()
        tables = [("Effects, each in units of its target", shown), ("Rank correlation of effects", agreement)]
        return "".join(titled(title, frame, 40) for title, frame in tables)


def compare(scores: Sequence[Scores], names: Sequence[str] | None = None) -> Comparison:
    """Put the scores of several models side by side, such as accuracy and the latency of each device.

    >>> labels = ab.LabelledSet.read("tiny_mbconv", ab.space("tiny_mbconv"), n=60)
    >>> both = ab.compare([ab.fit(labels, target, model="linear").explain() for target in ("acc", "-macs")])
    >>> print(*list(both.frame)[:4])
    unit feature value acc

    Args:
        scores: Scores of two or more models (``model.explain()``) of spaces that share units and features.
        names: A name for each (default: the targets, numbered where they are equal).

    Returns:
        The comparison; :func:`autobuild.plot.comparison` draws it.

    Raises:
        ConfigError: Fewer than two are given, one is not additive, names do not match, or the spaces share no choice.
    """
    given = list(scores) if isinstance(scores, Iterable) else [scores]
    if len(given) < 2 or not all(isinstance(own, AdditiveScores) for own in given):
        kinds = ", ".join(type(own).__name__ for own in given) or "nothing"
        raise ConfigError(f"compare takes two or more scores of model.explain(); given: {kinds}")
    targets = [own.model.target for own in given]
    if names is None:
        names = [f"{text} ({place})" if targets.count(text) > 1 else text for place, text in enumerate(targets, 1)]
    listed = [str(name) for name in names]
    if len(listed) != len(given) or len(set(listed)) < len(listed) or set(listed) & set(KEYS):
        raise ConfigError(f"names={listed}: {len(given)} different names are accepted, none of {', '.join(KEYS)}")
    tables, sds = [], []
    for own, name in zip(given, listed, strict=True):
        assert isinstance(own, AdditiveScores)
        table = own.unit_features.set_index(KEYS)[["effect", "lower", "upper"]]
        tables.append(table.set_axis([name, f"{name} lower", f"{name} upper"], axis=1))
        sds.append(float(own.projection.predicted.std()))
    frame = pd.concat(tables, axis=1).reset_index()
    effects = frame[listed].to_numpy(dtype=float)
    if not np.isfinite(effects).all(axis=1).any():
        raise ConfigError(f"the spaces {', '.join(own.space.name for own in given)} share no choice of any unit")
    return Comparison(listed, targets, frame, sds, pd.DataFrame(_agreement(effects), listed, listed))


def _agreement(effects: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[list[float]]:
    count = effects.shape[1]
    out = np.eye(count)
    for a in range(count):
        for b in range(a):
            both = np.isfinite(effects[:, [a, b]]).all(axis=1)
            out[a, b] = out[b, a] = srcc(effects[both, a], effects[both, b]) if both.sum() > 2 else np.nan
    return [[float(value) for value in row] for row in out]
