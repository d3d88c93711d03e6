"""Weights of the members of an ensemble, from their predictions of held-out rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

LEAST = 0.05  # smaller weights are set to 0
PRIOR_SD = 0.5  # prior standard deviation of a weight; the prior mean is all weight on the base member


def stack(predicted: Mapping[str, FloatArray], measured: FloatArray, base: str) -> dict[str, float]:
    """Non-negative weights that sum to one, by least squares on held-out rows, regularised towards the base member.

    The regularisation is a normal prior on the weights, with the mean squared error of the base member as noise
    variance, so that small differences on few rows do not change the weights (stacked regressions, Breiman, 1996).

    Args:
        predicted: Member -> held-out predictions. Shapes ``(n,)``.
        measured: The true values. Shape ``(n,)``.
        base: The member that has all weight in the prior.

    Returns:
        Member -> weight, without members of weight 0.
    """
    from scipy.optimize import nnls

    names = [base, *(name for name in predicted if name != base)]
    error = float(((predicted[base] - measured) ** 2).mean()) or 1e-12
    columns = np.column_stack([predicted[name] for name in names])
    pull = np.eye(len(names)) * error**0.5 / PRIOR_SD
    together = 1e3 * max(1.0, float(np.abs(columns).max())) * len(measured) ** 0.5  # keeps the sum at one
    matrix = np.vstack([columns, pull, np.full(len(names), together)])
    wanted = np.concatenate([measured, pull[0], [together]])
    weights, _ = nnls(matrix, wanted, maxiter=1000)
    weights[weights < LEAST] = 0.0
    if weights[0] == 0:  # the base member must stay, because it gives intervals and draws
        weights[0] = LEAST
    weights /= weights.sum()
    return {name: float(weight) for name, weight in zip(names, weights, strict=True) if weight > 0}


def combine(predicted: Mapping[str, FloatArray], weights: Mapping[str, float]) -> FloatArray:
    """Weighted mean of the members' predictions. Shape ``(n,)``."""
    out: FloatArray = np.sum([weight * predicted[name] for name, weight in weights.items()], axis=0)
    return out
