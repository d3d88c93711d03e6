"""The acquisition ``balanced``: some of the best predictions, then Thompson sampling."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autobuild._typing import FloatArray
from autobuild.construct.acquisition import DRAWN, EXPLOIT, Uncertain, apart, best_first, likely
from autobuild.registry import ACQUISITIONS
from autobuild.spaces import Architecture


@ACQUISITIONS.register("balanced")
def balanced(
    model: Uncertain, archs: Sequence[Architecture], predicted: FloatArray, upper: FloatArray, count: int, seed: int
) -> list[int]:
    """The predicted best, then the best of one joint draw each, or the best upper bounds of a model that draws nothing.

    :func:`register_acquisition` describes the arguments, :func:`acquire` the method.
    """
    places = best_first(predicted, archs)[: max(1, math.floor(EXPLOIT * count))]
    hopeful = list(dict.fromkeys([*places, *likely(archs, predicted, upper, DRAWN)]))
    wanted = min(count, len(hopeful)) - len(places)
    draws = model.draw([archs[place] for place in hopeful], wanted, seed) if wanted > 0 else None
    if draws is None:
        return apart(archs, best_first(upper, archs), places, count)
    chosen = list(places)
    free = np.ones(len(hopeful), dtype=bool)
    free[: len(places)] = False
    for draw in draws:
        best = int(np.where(free, draw, -np.inf).argmax())
        free[best] = False
        chosen.append(hopeful[best])
    return chosen
