"""What every choice is worth: a model's predictions as a linear function of named choices, in units of the target."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autobuild.importance.projection import LEVEL_SD, Projection
from autobuild.models import FittedModel
from autobuild.models.describe import Describer, stage_places
from autobuild.spaces import SearchSpace

FloatArray = NDArray[np.float64]

RIDGE = 1e-6


def place_effects(projection: Projection, model: FittedModel) -> tuple[pd.DataFrame, FloatArray]:
    """The main effect of every choice at every place, and draws of it.

    Returns:
        ``unit, layer, feature, value, effect, lower, upper, n_seen``: what a network gains over the average one where
        it makes this choice (``layer`` 0 stands for the whole unit: its depth, or what is chosen once for its layers),
        all other choices being equal; ``n_seen`` training labels do. NaN where no network of the background makes the
        choice, as where a narrowed space lacks it. And draws of the effects, shape ``(rows, draws)``.
    """
    space = model.space
    describer = Describer(space, costs=False)
    choices = _choices(describer, [arch.runs for arch in projection.background])
    seen = _choices(describer, [arch.runs for arch in model.training_archs]).sum(axis=0)
    wanted = np.column_stack([projection.predicted, *projection.drawn])
    share = choices.mean(axis=0)
    centred = choices - share
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += RIDGE * len(choices)
    effects = np.linalg.solve(gram, centred.T @ (wanted - wanted.mean(axis=0)))
    places = [place for stage in space.stages for place in stage_places(stage)]
    frame = pd.DataFrame(places, columns=["unit", "layer", "feature", "value"])
    for _, rows in _groups(frame, ["unit", "layer", "feature"]):
        weight = share[rows] if share[rows].sum() else np.ones(len(rows))
        effects[rows] -= (weight / weight.sum()) @ effects[rows]
    effects[share == 0] = np.nan
    frame["value"] = frame["value"].astype(object)
    frame["effect"] = effects[:, 0]
    half = LEVEL_SD * effects[:, 1:].std(axis=1) if len(projection.drawn) else np.full(len(frame), np.nan)
    frame["lower"], frame["upper"] = effects[:, 0] - half, effects[:, 0] + half
    frame["n_seen"] = seen.astype(np.int64)
    return frame, effects[:, 1:]


def _groups(frame: pd.DataFrame, keys: list[str]) -> list[tuple[tuple[Any, ...], NDArray[np.int64]]]:
    """Rows of equal keys, in the order in which the keys first occur."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for row, key in enumerate(frame[keys].itertuples(index=False, name=None)):
        found.setdefault(key, []).append(row)
    return [(key, np.array(rows, dtype=np.int64)) for key, rows in found.items()]


def _known(places: pd.DataFrame, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows whose choice the space has."""
    return rows[places["effect"].notna().to_numpy()[rows]]


def _choices(describer: Describer, runs: list[tuple[tuple[int, ...], ...]]) -> FloatArray:
    parts = []
    for number, stage in enumerate(describer.space.stages):
        digits = np.full((len(runs), stage.depths[-1]), -1, dtype=np.int64)
        for row, own in enumerate(runs):
            digits[row, : len(own[number])] = own[number]
        parts.append(describer.stage_choices(number, digits))
    return np.concatenate(parts, axis=1)


def feature_table(places: pd.DataFrame, drawn: FloatArray) -> pd.DataFrame:
    """``feature, value, score, effect, lower, upper, n_seen``: effects averaged over all places of a feature."""
    rows = []
    for (feature, value), own in _groups(places, ["feature", "value"]):
        indices = _known(places, own)
        if not len(indices):
            continue
        effect = float(places["effect"].to_numpy()[indices].mean())
        half = LEVEL_SD * float(drawn[indices].mean(axis=0).std()) if drawn.shape[1] else np.nan
        seen = int(places["n_seen"].to_numpy()[indices].sum())
        rows.append((feature, value, effect, effect, effect - half, effect + half, seen))
    return pd.DataFrame(rows, columns=["feature", "value", "score", "effect", "lower", "upper", "n_seen"])


def operation_table(space: SearchSpace, places: pd.DataFrame, drawn: FloatArray, model: FittedModel) -> pd.DataFrame:
    """``unit, layer, <features>, score, lower, upper, n_seen``: every operation at every place that the labels show."""
    row_of = {
        (unit, layer, feature, value): row
        for row, (unit, layer, feature, value) in enumerate(
            places[["unit", "layer", "feature", "value"]].itertuples(index=False)
        )
    }
    runs = [arch.runs for arch in model.training_archs]
    effect, out = places["effect"].to_numpy(), []
    names = [feature.name for feature in space.features]
    for number, stage in enumerate(space.stages):
        for layer in range(1, 2 if stage.tied else stage.depths[-1] + 1):
            seen: dict[int, int] = {}
            for own in runs:
                if len(own[number]) >= layer:
                    digit = own[number][layer - 1]
                    seen[digit] = seen.get(digit, 0) + 1
            own_rows: list[tuple[Any, ...]] = []
            for digit, count in seen.items():
                values = stage.layer_dict(digit)
                rows = [
                    row_of[stage.name, 0 if name in stage.once else layer, name, value]
                    for name, value in values.items()
                ]
                half = LEVEL_SD * float(drawn[rows].sum(axis=0).std()) if drawn.shape[1] else np.nan
                score = float(effect[rows].sum())
                if np.isnan(score):
                    continue
                listed = [values.get(name) for name in names]
                own_rows.append((stage.name, layer, *listed, score, score - half, score + half, count))
            out += sorted(own_rows, key=lambda row: -row[-4])
    frame = pd.DataFrame(out, columns=["unit", "layer", *names, "score", "lower", "upper", "n_seen"])
    return frame.astype(dict.fromkeys(names, object))


def choice_table(places: pd.DataFrame, drawn: FloatArray) -> pd.DataFrame:
    """Can the labels tell the best choice from the second, at every place where something is chosen?

    ``unit, layer, feature, best, second, difference, lower, upper, told_apart``, the largest differences first.
    ``difference`` is the best value's effect less the second's, with its 90 % interval; they are told apart where that
    lies above zero.
    """
    rows = []
    effects = places["effect"].to_numpy()
    for (unit, layer, feature), own in _groups(places, ["unit", "layer", "feature"]):
        indices = _known(places, own)
        if len(indices) < 2:
            continue
        order = indices[np.argsort(-effects[indices], kind="stable")]
        first, second = int(order[0]), int(order[1])
        gap = float(effects[first] - effects[second])
        half = LEVEL_SD * float((drawn[first] - drawn[second]).std()) if drawn.shape[1] else np.nan
        best, other = places["value"].iloc[first], places["value"].iloc[second]
        rows.append((unit, layer, feature, best, other, gap, gap - half, gap + half, bool(gap - half > 0)))
    names = ["unit", "layer", "feature", "best", "second", "difference", "lower", "upper", "told_apart"]
    return pd.DataFrame(rows, columns=names).sort_values(
        "difference", ascending=False, kind="stable", ignore_index=True
    )
