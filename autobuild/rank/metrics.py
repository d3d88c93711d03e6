"""Ranking metrics in numpy: rank correlations, NDCG@k and absolute error, of predictions or of the norms of each hop.

Undefined values are ``nan``, without an error or a warning: if an input contains NaN, if there are fewer than two items
(rank correlations), or if an input is constant, as each function states.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from autobuild._typing import FloatArray
from autobuild.errors import ConfigError
from autobuild.settings.option import positive, whole

# The relevance is 0 up to this quantile of the target, and MAX_RELEVANCE (a gain of 31) at its maximum.
FLOOR_QUANTILE = 0.2
MAX_RELEVANCE = 5.0
# A gain of 2^100 is far below the largest number in single precision.
RELEVANCE_LIMIT = 100.0


def srcc(predicted: ArrayLike, target: ArrayLike) -> float:
    """Spearman rank correlation, with average ranks for ties; ``nan`` if an input is constant or contains NaN.

    Args:
        predicted: Shape (n,).
        target: Shape (n,).

    Raises:
        ConfigError: The shapes differ or are not (n,).
    """
    a, b = _pair(predicted, target)
    if not _comparable(a, b):
        return math.nan
    ranks = pd.DataFrame({"a": a, "b": b}).rank()
    a, b = (ranks - ranks.mean()).to_numpy(dtype=float).T
    return float(np.clip((a @ b) / math.sqrt((a @ a) * (b @ b)), -1, 1))


def kendall_tau(predicted: ArrayLike, target: ArrayLike) -> float:
    """Kendall's tau-b of two inputs (n,); ``nan`` if an input is constant or contains NaN.

    Raises:
        ConfigError: The shapes differ or are not (n,).
    """
    from scipy.stats import kendalltau

    a, b = _pair(predicted, target)
    return float(kendalltau(a, b).statistic) if _comparable(a, b) else math.nan


def ndcg_at_k(predicted: ArrayLike, target: ArrayLike, k: int = 10, max_relevance: float = MAX_RELEVANCE) -> float:
    """Normalised discounted cumulative gain (NDCG) of the k items with the highest predictions, in [0, 1].

    The gain of an item is 2^rel - 1 with rel = clip((y - p20) / (max - p20), 0, 1) * max_relevance, where p20 is the
    20th percentile of the target, as in the LambdaRank loss. Items with equal predictions get the mean of their gains
    (McSherry and Najork, 2008), so a constant prediction has the expected value of a random order.

    Args:
        predicted: Shape (n,).
        target: Shape (n,); higher is better.
        k: Number of top ranks that count, >= 1.
        max_relevance: Relevance of the largest target, above 0 and at most 100.

    Returns:
        The value; ``nan`` if the target is constant (all relevances are 0) or infinite, or if an input is empty or
        contains NaN.

    Raises:
        ConfigError: The shapes differ or are not (n,), or an option is out of range.
    """
    a, b = _pair(predicted, target)
    whole("k", k)
    positive("max_relevance", max_relevance, RELEVANCE_LIMIT)
    if len(a) == 0 or not _no_nan(a, b) or not np.isfinite(b).all():
        return math.nan
    gain = np.exp2(relevance(b, max_relevance)) - 1
    discount = 1 / np.log2(np.arange(2, len(a) + 2))
    discount[int(k) :] = 0
    best = float(np.sort(gain)[::-1] @ discount)
    if best == 0:
        return math.nan
    _, group, counts = np.unique(-a, return_inverse=True, return_counts=True)
    shared = np.bincount(group, weights=gain) / counts
    ends = np.cumsum(counts)
    summed = np.concatenate([[0.0], np.cumsum(discount)])
    return float(shared @ (summed[ends] - summed[ends - counts])) / best


def mae(predicted: ArrayLike, target: ArrayLike) -> float:
    """Mean absolute error of two inputs (n,), in units of the target; ``nan`` if they are empty or contain NaN.

    Raises:
        ConfigError: The shapes differ or are not (n,).
    """
    a, b = _pair(predicted, target)
    with np.errstate(invalid="ignore"):  # infinity minus infinity is NaN
        return float(np.abs(a - b).mean()) if len(a) else math.nan


def per_hop(norms: ArrayLike, target: ArrayLike, metric: Callable[..., float] = srcc, **options: Any) -> list[float]:
    """A metric between the graph-embedding norms of each hop and the target; one value per hop, hop 0 first.

    Args:
        norms: Shape (hops + 1, n).
        target: Shape (n,).
        metric: A metric of this module.
        **options: Options of the metric.

    Raises:
        ConfigError: The shapes do not match.
    """
    rows = np.asarray(norms, dtype=np.float64)
    if rows.ndim != 2:
        raise ConfigError(f"norms: given shape {rows.shape}, accepted: (hops + 1, n)")
    return [metric(row, target, **options) for row in rows]


def relevance(target: ArrayLike, max_relevance: float = MAX_RELEVANCE) -> FloatArray:
    """Graded relevance (n,): 0 up to the 20th percentile of the target, then linear up to ``max_relevance``.

    If the largest value equals the 20th percentile (for example a constant target), all relevances are 0.

    Raises:
        ConfigError: ``max_relevance`` is not above 0 and at most 100.
    """
    positive("max_relevance", max_relevance, RELEVANCE_LIMIT)
    y = np.asarray(target, dtype=np.float64)
    floor, top = float(np.quantile(y, FLOOR_QUANTILE)), float(y.max())
    spread = top - floor if top > floor else 1.0
    scaled: FloatArray = np.clip((y - floor) / spread, 0, 1) * max_relevance
    return scaled


def _pair(predicted: ArrayLike, target: ArrayLike) -> tuple[FloatArray, FloatArray]:
    a, b = np.asarray(predicted, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ConfigError(f"metric: given shapes {a.shape} and {b.shape}, accepted: (n,) and (n,)")
    return a, b


def _no_nan(a: FloatArray, b: FloatArray) -> bool:
    return not bool(np.isnan(a).any() or np.isnan(b).any())


def _comparable(a: FloatArray, b: FloatArray) -> bool:
    return len(a) >= 2 and _no_nan(a, b) and bool(a.min() < a.max() and b.min() < b.max())
