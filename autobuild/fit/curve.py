"""The learning curve: would more labels help?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from autobuild.encode import EncoderConfig
from autobuild.fit.config import FitConfig
from autobuild.fit.fitting import MIN_TRAIN_ROWS, _Step, evaluation
from autobuild.graphs import pack_architectures
from autobuild.labels import LabelledSet

FRACTIONS = (0.125, 0.25, 0.5, 1.0)


def learning_curve(
    labels: LabelledSet,
    target: str = "acc",
    *,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    holdout: float | int = 0.1,
    encoder: EncoderConfig | None = None,
    config: FitConfig | None = None,
    costs: Mapping[str, Any] | None = None,
    on_point: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Fit on growing parts of the rows and judge each fit on the same held-out ones.

    Args:
        labels: The labelled set.
        target: Expression over its metrics.
        fractions: Parts of the rows that are not held out; parts too small to fit are left out.
        seed: Seed of the split, of the parts (each contains the smaller ones) and of the fits.
        holdout: As for :func:`autobuild.fit.fitting.fit`, but never 0: without held-out rows there is no curve.
        encoder: The encoder's settings.
        config: The fits' settings.
        costs: Cost name -> function of architectures.
        on_point: Called with ``(fits done, fits in all)``.

    Returns:
        ``n, test_srcc, test_mae``, one row a fit.
    """
    usable = labels.target(target, costs)
    graphs = pack_architectures(labels.space, usable.labels.archs)
    train_rows, test_rows = usable.labels.split(holdout, seed)
    order = np.random.default_rng(seed).permutation(train_rows)
    sizes = sorted({round(len(order) * fraction) for fraction in fractions})
    sizes = [size for size in sizes if size >= MIN_TRAIN_ROWS]
    step = _Step(
        labels.space, graphs, usable.values, encoder or EncoderConfig(), config or FitConfig(), seed, None, None, "cpu"
    )
    points = []
    for done, size in enumerate(sizes, start=1):
        network, mean, sd, _ = step.run("learning curve", np.sort(order[:size]))
        scores = evaluation(step.heldout(network, mean, sd, usable.labels, test_rows))
        points.append({"n": size, "test_srcc": scores["test_srcc"], "test_mae": scores["test_mae"]})
        if on_point:
            on_point(done, len(sizes))
    return pd.DataFrame(points, columns=["n", "test_srcc", "test_mae"])
