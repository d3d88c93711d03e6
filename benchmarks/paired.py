"""Two methods on the same splits: the mean difference, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 10_000


@dataclass(frozen=True)
class Paired:
    """A mean difference with its percentile-bootstrap interval over splits (Efron, 1979).

    Attributes:
        mean: Mean of the differences.
        low: Lower end of the interval.
        high: Upper end.
        splits: Number of pairs.
    """

    mean: float
    low: float
    high: float
    splits: int

    @property
    def wholly_below_zero(self) -> bool:
        """True where even the interval's upper end is negative."""
        return self.high < 0


def paired(ours: Sequence[float], theirs: Sequence[float], *, level: float = 0.95, seed: int = 0) -> Paired:
    """Mean of ``ours - theirs`` over splits; splits are drawn with replacement for the interval.

    Args:
        ours: One number a split.
        theirs: The other's, in the same order of splits.
        level: Coverage of the interval.
        seed: Seed of the draws.

    Raises:
        ValueError: The two are empty, not equally long, or hold something that is not finite.
    """
    a, b = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or not len(a) or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError(f"paired: given shapes {a.shape} and {b.shape}; accepted: equally many finite numbers")
    difference = a - b
    rows = np.random.default_rng(seed).integers(len(a), size=(DRAWS, len(a)))
    low, high = np.quantile(difference[rows].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Paired(float(difference.mean()), float(low), float(high), len(a))
