"""Weights of an ensemble's members, from predictions of rows that they did not see."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

FloatArray = NDArray[np.float64]

LEAST = 0.05  # weights below it are none
PRIOR_SD = 0.5  # of a weight, about all weight on the best member


def stack(predicted: Mapping[str, FloatArray], measured: FloatArray, base: str) -> dict[str, float]:
    """Non-negative weights that sum to one: least squares on held-out rows, drawn towards the base member alone.

    The pull is a normal prior on the weights whose noise is the base member's own mean squared error, so that a few
    rows which disagree by little move nothing (stacked regressions, Breiman, 1996).

    Args:
        predicted: Member -> held-out predictions, shape ``(n,)``.
        measured: What they should be, shape ``(n,)``.
        base: The member that gets the weight that no other earns.
    """
    names = [base, *(name for name in predicted if name != base)]
    error = float(((predicted[base] - measured) ** 2).mean()) or 1e-12
    columns = np.column_stack([predicted[name] for name in names])
    pull = np.eye(len(names)) * error**0.5 / PRIOR_SD
    together = 1e3 * max(1.0, float(np.abs(columns).max())) * len(measured) ** 0.5  # holds the sum at one
    matrix = np.vstack([columns, pull, np.full(len(names), together)])
    wanted = np.concatenate([measured, pull[0], [together]])
    weights, _ = nnls(matrix, wanted, maxiter=1000)
    weights[weights < LEAST] = 0.0
    if weights[0] == 0:  # intervals and draws are the base member's
        weights[0] = LEAST
    weights /= weights.sum()
    return {name: float(weight) for name, weight in zip(names, weights, strict=True) if weight > 0}


def combine(predicted: Mapping[str, FloatArray], weights: Mapping[str, float]) -> FloatArray:
    """The weighted mean of members. Shape ``(n,)``."""
    out: FloatArray = np.sum([weight * predicted[name] for name, weight in weights.items()], axis=0)
    return out
