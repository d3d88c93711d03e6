"""Ranking metrics in numpy: rank correlations, NDCG@k and absolute error, of a prediction or of the norms at each hop.

One rule for undefined values: whatever cannot be said is ``nan``, never an error and never a warning. That is the case
for any NaN among the inputs, for fewer than two items (rank correlations), and for a constant input as each says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autobuild.errors import ConfigError
from autobuild.rank.checks import positive, whole

Floats = NDArray[np.float64]

# Below this quantile of the target nothing is relevant; at its maximum the relevance is MAX_RELEVANCE (a gain of 31).
FLOOR_QUANTILE = 0.2
MAX_RELEVANCE = 5.0
# A gain of 2^100 is still far inside single precision.
RELEVANCE_LIMIT = 100.0


def srcc(predicted: ArrayLike, target: ArrayLike) -> float:
    """Spearman's rank correlation, ties at their average rank; ``nan`` where either input is constant or holds NaN.

    Args:
        predicted: Shape (n,).
        target: Shape (n,).

    Raises:
        ConfigError: shapes that differ or are not (n,).
    """
    from scipy.stats import rankdata

    a, b = _pair(predicted, target)
    if not _comparable(a, b):
        return math.nan
    a, b = rankdata(a), rankdata(b)
    a, b = a - a.mean(), b - b.mean()
    return float(np.clip((a @ b) / math.sqrt((a @ a) * (b @ b)), -1, 1))


def kendall_tau(predicted: ArrayLike, target: ArrayLike) -> float:
    """Kendall's tau-b of two inputs (n,); ``nan`` where either is constant or holds NaN.

    Raises:
        ConfigError: shapes that differ or are not (n,).
    """
    from scipy.stats import kendalltau

    a, b = _pair(predicted, target)
    return float(kendalltau(a, b).statistic) if _comparable(a, b) else math.nan


def ndcg_at_k(predicted: ArrayLike, target: ArrayLike, k: int = 10, max_relevance: float = MAX_RELEVANCE) -> float:
    """Normalised discounted cumulative gain of the first k by prediction, in [0, 1].

    The gain of an item is 2^rel - 1 with rel = clip((y - p20) / (max - p20), 0, 1) * max_relevance, p20 the 20th
    percentile of the target: the relevance that the LambdaRank loss uses. Items predicted equal share the mean of their
    gains (McSherry and Najork, 2008), so a constant prediction has the expected value of a random order.

    Returns:
        The value; ``nan`` for a constant target (nothing is relevant), an infinite one, an empty input or one with NaN.

    Raises:
        ConfigError: shapes that differ or are not (n,), ``k`` below 1, or ``max_relevance`` not above 0 and up to 100.
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
    """Mean absolute error of two inputs (n,), in units of the target; ``nan`` for empty inputs and for NaN.

    Raises:
        ConfigError: shapes that differ or are not (n,).
    """
    a, b = _pair(predicted, target)
    with np.errstate(invalid="ignore"):  # infinity less infinity is one of the values that cannot be said
        return float(np.abs(a - b).mean()) if len(a) else math.nan


def per_hop(norms: ArrayLike, target: ArrayLike, metric: Callable[..., float] = srcc, **options: Any) -> list[float]:
    """A metric of each hop's graph-embedding norms against the target, one value per hop, hop 0 first.

    Args:
        norms: Shape (hops + 1, n).
        target: Shape (n,).
        metric: ``srcc`` by default, or another metric of this module.
        options: Passed on to the metric.

    Raises:
        ConfigError: shapes that do not fit.
    """
    rows = np.asarray(norms, dtype=np.float64)
    if rows.ndim != 2:
        raise ConfigError(f"norms: given shape {rows.shape}, accepted: (hops + 1, n)")
    return [metric(row, target, **options) for row in rows]


def relevance(target: ArrayLike, max_relevance: float = MAX_RELEVANCE) -> Floats:
    """Graded relevance (n,): 0 up to the 20th percentile of the target, then linear up to ``max_relevance``.

    A target whose largest value is its 20th percentile (a constant one) has relevance 0 throughout.

    Raises:
        ConfigError: ``max_relevance`` not above 0 and up to 100.
    """
    positive("max_relevance", max_relevance, RELEVANCE_LIMIT)
    y = np.asarray(target, dtype=np.float64)
    floor, top = float(np.quantile(y, FLOOR_QUANTILE)), float(y.max())
    spread = top - floor if top > floor else 1.0
    scaled: Floats = np.clip((y - floor) / spread, 0, 1) * max_relevance
    return scaled


def _pair(predicted: ArrayLike, target: ArrayLike) -> tuple[Floats, Floats]:
    a, b = np.asarray(predicted, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ConfigError(f"metric: given shapes {a.shape} and {b.shape}, accepted: (n,) and (n,)")
    return a, b


def _no_nan(a: Floats, b: Floats) -> bool:
    return not bool(np.isnan(a).any() or np.isnan(b).any())


def _comparable(a: Floats, b: Floats) -> bool:
    return len(a) >= 2 and _no_nan(a, b) and bool(a.min() < a.max() and b.min() < b.max())
