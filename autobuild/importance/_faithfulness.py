"""Tests of scores: their stability over refits, and the loss when the best-scored candidate is replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from autobuild._typing import FloatArray
from autobuild.errors import ConfigError
from autobuild.importance.scores import Scores
from autobuild.rank import srcc
from autobuild.spaces import Architecture

MAX_COMPARED = 5_000  # candidates of a unit
COLUMNS = ["unit", "best", "median", "predicted_loss", "true_loss", "true_loss_se", "random_loss", "n"]


def stability(scores: Sequence[Scores]) -> pd.DataFrame:
    """Rank correlation of candidate scores between fits with different seeds, folds or labels.

    Args:
        scores: Two or more scores of the same space, from separately fitted models.

    Returns:
        One row per unit. Columns ``unit, candidates, srcc, worst``: ``srcc`` is the mean and ``worst`` the lowest
        Spearman correlation over all pairs. In large units only every k-th candidate is compared.

    Raises:
        ConfigError: Fewer than two scores are given, or they are of different spaces.
    """
    if len(scores) < 2:
        raise ConfigError(f"stability compares scores of several fits: given {len(scores)}")
    rows = []
    for place, unit in enumerate(scores[0].space.units):
        tables = []
        for other in scores:
            if len(other.units) != len(scores[0].units) or other.space.units[place].size != unit.size:
                raise ConfigError("stability compares scores of one space: these are of different ones")
            tables.append(other.units[place].score[:: max(1, unit.size // MAX_COMPARED)])
        correlations = [srcc(a, b) for number, a in enumerate(tables) for b in tables[:number]]
        rows.append((unit.name, unit.size, float(np.mean(correlations)), float(np.min(correlations))))
    return pd.DataFrame(rows, columns=["unit", "candidates", "srcc", "worst"])


def deletion(
    scores: Scores, truth: Callable[[Sequence[Architecture]], FloatArray], n: int = 200, seed: int = 0
) -> pd.DataFrame:
    """Replace the best-scored candidate of each unit by the median one, and measure the true loss.

    Args:
        scores: Candidate scores.
        truth: Function from ``n`` architectures to their true values, shape ``(n,)``; NaN if not known.
        n: Number of architectures that are changed; they are drawn with every depth equally likely.
        seed: Seed of the draw.

    Returns:
        One row per unit. Columns ``unit, best, median, predicted_loss, true_loss, true_loss_se, random_loss, n``: both
        candidates, the difference of their scores, the mean true loss and its standard error, the mean true loss if a
        random candidate is replaced by another one (about 0), and the number of pairs whose true values are known.
    """
    archs = scores.space.sample(n, seed, "depth")
    rng = np.random.default_rng(seed)
    rows = []
    for place, unit in enumerate(scores.space.units):
        order = np.argsort(-scores.units[place].score, kind="stable")
        best, median = int(order[0]), int(order[len(order) // 2])
        with_best, with_median = (_with(scores, archs, place, [index] * n) for index in (best, median))
        one, other = (_with(scores, archs, place, rng.integers(unit.size, size=n).tolist()) for _ in range(2))
        lost = truth(with_best) - truth(with_median)
        random = truth(one) - truth(other)
        known = lost[np.isfinite(lost)]
        predicted = float(scores.units[place].score[best] - scores.units[place].score[median])
        rows.append(
            (
                unit.name,
                unit.candidate(best).text,
                unit.candidate(median).text,
                predicted,
                float(known.mean()) if len(known) else np.nan,
                float(known.std(ddof=1) / len(known) ** 0.5) if len(known) > 1 else np.nan,
                float(np.nanmean(random)) if np.isfinite(random).any() else np.nan,
                len(known),
            )
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _with(scores: Scores, archs: Sequence[Architecture], place: int, candidates: Sequence[int]) -> list[Architecture]:
    out = []
    for arch, candidate in zip(archs, candidates, strict=True):
        indices = list(scores.space.indices(arch))
        indices[place] = int(candidate)
        out.append(scores.space.assemble(indices))
    return out
