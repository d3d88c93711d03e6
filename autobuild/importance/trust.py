"""Can scores be trusted? Their stability over refits, and whether what they praise is missed when it is taken away."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autobuild.errors import ConfigError
from autobuild.importance.scores import Scores
from autobuild.rank import srcc
from autobuild.spaces import Architecture

FloatArray = NDArray[np.float64]

MAX_COMPARED = 5_000  # candidates of a unit


def stability(scores: Sequence[Scores]) -> pd.DataFrame:
    """Rank correlation of candidate scores between refits: other seeds, other folds, other labels.

    Args:
        scores: Two or more scores of the same space, from models fitted apart.

    Returns:
        ``unit, candidates, srcc, worst``: mean and worst Spearman correlation over all pairs; in large units of every
        k-th candidate.

    Raises:
        ConfigError: For fewer than two scores, or different spaces.
    """
    if len(scores) < 2:
        raise ConfigError(f"stability compares scores of several fits: given {len(scores)}")
    rows = []
    for place, unit in enumerate(scores[0].space.units):
        tables = []
        for own in scores:
            if len(own.units) != len(scores[0].units) or own.space.units[place].size != unit.size:
                raise ConfigError("stability compares scores of one space: these are of different ones")
            tables.append(own.units[place].score[:: max(1, unit.size // MAX_COMPARED)])
        found = [srcc(a, b) for number, a in enumerate(tables) for b in tables[:number]]
        rows.append((unit.name, unit.size, float(np.mean(found)), float(np.min(found))))
    return pd.DataFrame(rows, columns=["unit", "candidates", "srcc", "worst"])


def deletion(
    scores: Scores, truth: Callable[[Sequence[Architecture]], FloatArray], n: int = 200, seed: int = 0
) -> pd.DataFrame:
    """Take the best-scored candidate away, put the median one in its place, and measure what is lost in truth.

    Args:
        scores: Candidate scores.
        truth: Architectures -> true values, shape ``(n,)``; NaN where a network is not known.
        n: How many architectures are changed, drawn with every depth equally likely.
        seed: Seed of the draw.

    Returns:
        A row a unit: ``unit, best, median, said, lost, lost_sd, random, n``: the difference of the two scores, the mean
        true loss over the architectures and its standard error, the mean loss where two random candidates are
        exchanged instead (about 0), and how many pairs are known.
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
        said = float(scores.units[place].score[best] - scores.units[place].score[median])
        rows.append(
            (
                unit.name,
                unit.candidate(best).text,
                unit.candidate(median).text,
                said,
                float(known.mean()) if len(known) else np.nan,
                float(known.std(ddof=1) / len(known) ** 0.5) if len(known) > 1 else np.nan,
                float(np.nanmean(random)) if np.isfinite(random).any() else np.nan,
                len(known),
            )
        )
    return pd.DataFrame(rows, columns=["unit", "best", "median", "said", "lost", "lost_sd", "random", "n"])


def _with(scores: Scores, archs: Sequence[Architecture], place: int, candidates: Sequence[int]) -> list[Architecture]:
    out = []
    for arch, candidate in zip(archs, candidates, strict=True):
        indices = list(scores.space.indices(arch))
        indices[place] = int(candidate)
        out.append(scores.space.assemble(indices))
    return out
