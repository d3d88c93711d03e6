"""How far predictions beyond the labels can be followed, by a model that does not draw what else may be true."""

from __future__ import annotations

import numpy as np

from autobuild.importance import AdditiveScores
from autobuild.importance.projection import project
from autobuild.models import EnsembleModel
from autobuild.models.stacking import stack
from autobuild.models.threads import one_blas_thread, torch_threads

BELOW = 0.65  # quantile of the labels below which the model is fitted anew; it is judged on the rows above
LEAST_ROWS = 40  # with fewer labels, predictions are followed as they are
BACKGROUND = 600  # architectures to which the sum of that model is fitted


def followed(scores: AdditiveScores) -> float:
    """How much of the remainder, the prediction less the sum of scores, networks are ranked by; from 0 to 1.

    To climb on a predictor is to look for its errors. A Gaussian process knows where it may err, and between labels its
    predictions go on as its sums do. Trees do not: beyond the labels they are constant, and what is left to climb on is
    chance. So such a model is fitted anew to the labels below a quantile, its sum and its prediction are weighed
    against each other on the labels above, and the weight of the prediction is taken (stacked regressions, Breiman,
    1996, on a fold that extrapolates).

    Args:
        scores: Additive scores of a model.

    Returns:
        1 for a model that draws, and with fewer than 40 labels.
    """
    model = scores.model
    if not isinstance(model, EnsembleModel) or model.base is not None or len(model.training) < LEAST_ROWS:
        return 1.0
    values = model.training["target"].to_numpy(dtype=float)
    low = values <= np.quantile(values, BELOW)
    if low.all():
        return 1.0
    with one_blas_thread(), torch_threads(1):
        below = model.refitted(np.flatnonzero(low))
        archs = [model.training_archs[row] for row in np.flatnonzero(~low)]
        sums = project(below, seed=model.seed, background=BACKGROUND, draws=0).sums(archs)
    guesses = {"prediction": below.predict_mean(archs), "sum": sums}
    return stack(
        {name: model.warp.latent(own) for name, own in guesses.items()}, model.warp.latent(values[~low]), "prediction"
    )["prediction"]
