"""Prediction intervals from held-out errors, without assumptions on their distribution."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def conformal_half_width(errors: ArrayLike, level: float) -> float:
    """Half-width of an interval that holds a new value with probability ``level`` (split conformal, Lei et al., 2018).

    Args:
        errors: Errors of predictions of held-out rows; their sign is ignored. Shape ``(n,)``.
        level: Coverage, between 0 and 1.

    Returns:
        The absolute error of rank ``ceil((n + 1) level)``; NaN if there are too few errors for the level.
    """
    ordered = np.sort(np.abs(np.asarray(errors, dtype=np.float64)))
    rank = math.ceil((len(ordered) + 1) * level)
    return float(ordered[rank - 1]) if 1 <= rank <= len(ordered) else math.nan
