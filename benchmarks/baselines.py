"""Simple predictors to beat: ridge regression, boosted trees, Gaussian processes; each learns from columns alone.

A fitter takes columns ``(n, d)`` and a target ``(n,)`` and gives a function from columns ``(m, d)`` to predictions
``(m,)``. What it does not know it picks inside the rows that it was given.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Predictor = Callable[[Floats], Floats]
Fitter = Callable[[Floats, Floats, int], Predictor]

ALPHAS = tuple(10.0**power for power in np.arange(-3, 3.1, 0.5))
TREES: dict[str, Any] = {  # looked at on development rows
    "n_estimators": 1500,
    "learning_rate": 0.03,
    "min_child_weight": 3,
    "subsample": 0.7,
    "colsample_bytree": 0.4,
}
DEPTHS = (2, 3, 4)
FOLDS = 4
GP_ROWS = 500  # rows that hyperparameters are found on; predictions use all rows


def ridge(x: Floats, y: Floats, seed: int) -> Predictor:
    """Ridge regression; its strength by leave-one-out error inside the rows given."""
    from sklearn.linear_model import RidgeCV

    scale = Scale(x)
    return _standardised(y, lambda target: RidgeCV(ALPHAS).fit(scale(x), target).predict, scale)


def boosted_trees(x: Floats, y: Floats, seed: int) -> Predictor:
    """Gradient boosting (XGBoost); the depth of its trees by cross-validation inside the rows given."""
    from sklearn.model_selection import KFold

    folds = list(KFold(FOLDS, shuffle=True, random_state=seed).split(x))

    def error(depth: int) -> float:
        parts = [_trees(x[train], y[train], depth, seed)(x[test]) - y[test] for train, test in folds]
        return float(np.mean(np.concatenate(parts) ** 2))

    return _trees(x, y, min(DEPTHS, key=error), seed)


def _trees(x: Floats, y: Floats, depth: int, seed: int) -> Predictor:
    from xgboost import XGBRegressor

    model = XGBRegressor(**TREES, max_depth=depth, random_state=seed, n_jobs=1)
    return _standardised(y, lambda target: model.fit(x, target).predict, lambda rows: rows)


def gaussian_process(x: Floats, y: Floats, seed: int) -> Predictor:
    """Gaussian process with a linear and an RBF kernel; hyperparameters by marginal likelihood on at most 500 rows."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    scale = Scale(x)

    def fit(target: Floats) -> Predictor:
        rows = np.random.default_rng(seed).permutation(len(target))[:GP_ROWS]
        kernel = (
            ConstantKernel(0.5, (1e-5, 1e3)) * DotProduct(1.0, (1e-3, 1e2))
            + ConstantKernel(0.5, (1e-5, 1e3)) * RBF(2.0, (0.1, 100.0))
            + WhiteKernel(0.05, (1e-6, 1.0))
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a hyperparameter at its bound is fine
            model = GaussianProcessRegressor(kernel, random_state=seed).fit(scale(x)[rows], target[rows])
        if len(rows) < len(target):
            model = GaussianProcessRegressor(model.kernel_, optimizer=None).fit(scale(x), target)
        predict: Predictor = model.predict
        return predict

    return _standardised(y, fit, scale)


class Scale:
    """Columns with mean 0 over the rows given, and together a squared length of 1 on average; constant ones are 0."""

    def __init__(self, x: Floats) -> None:
        self.mean, spread = x.mean(axis=0), x.std(axis=0)
        varies = spread > 1e-9 * np.maximum(1, np.abs(self.mean))
        self.factor = np.where(varies, 1 / np.where(varies, spread, 1), 0.0) / np.sqrt(max(1, varies.sum()))

    def __call__(self, x: Floats) -> Floats:
        """Shapes: ``(n, d) -> (n, d)``."""
        scaled: Floats = (x - self.mean) * self.factor
        return scaled


def _standardised(y: Floats, fit: Callable[[Floats], Predictor], columns: Callable[[Floats], Floats]) -> Predictor:
    """Fit on the target with mean 0 and deviation 1; predict in its own units."""
    mean, sd = float(y.mean()), float(y.std()) or 1.0
    predict = fit((y - mean) / sd)
    return lambda rows: np.asarray(predict(columns(rows)), dtype=np.float64) * sd + mean
