"""Count how often the labels show each candidate, so that extrapolation is visible."""

from __future__ import annotations

import numpy as np

from autobuild._typing import IntArray
from autobuild.errors import SpaceError
from autobuild.models import FittedModel
from autobuild.spaces import SearchSpace


def candidates_seen(model: FittedModel, space: SearchSpace) -> list[tuple[IntArray, IntArray]]:
    """Count the training labels that hold each candidate, and those that hold its rarest feature value in the unit.

    Returns:
        For each unit a pair of arrays, each of shape ``(unit.size,)``.
    """
    runs = [arch.runs for arch in model.training_archs]
    out, start = [], 0
    for unit in space.units:
        part = slice(start, start + len(unit.stages))
        start = part.stop
        exact = np.zeros(unit.size, dtype=np.int64)
        for own in runs:
            try:
                exact[unit.index_of_runs(own[part])] += 1
            except SpaceError:  # the label is outside the narrowed space
                continue
        rarest = np.full(unit.size, len(runs), dtype=np.int64)
        digits = unit.runs(np.arange(unit.size))
        for place, stage in enumerate(unit.stages):
            counts = np.zeros(
                (len(stage.features), max((len(f.values) for f in stage.features), default=1)), dtype=np.int64
            )
            codes = np.array(
                [
                    [f.values.index(value) for f, value in zip(stage.features, layer, strict=True)]
                    for layer in stage.layers
                ]
            ).reshape(len(stage.layers), len(stage.features))
            for own in runs:
                for column in range(len(stage.features)):
                    counts[column, np.unique(codes[list(own[part.start + place]), column])] += 1
            of_layer = np.min(
                [counts[column, codes[:, column]] for column in range(len(stage.features))], axis=0, initial=len(runs)
            )
            rarest = np.minimum(rarest, np.append(of_layer, len(runs))[digits[place]].min(axis=1))
        out.append((exact, rarest))
    return out
