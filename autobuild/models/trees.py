"""Gradient-boosted trees over descriptions, stored as plain arrays so that they can be written to disk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autobuild.models.describe import Description
from autobuild.models.kernel import Scaled, Scaling

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SETTINGS = {"n_estimators": 400, "learning_rate": 0.05, "max_depth": 3, "subsample": 0.7, "max_features": 0.3}
BLOCK = 4096


@dataclass(frozen=True)
class Trees:
    """A boosted ensemble of T trees of at most N nodes.

    Attributes:
        feature: Column that a node tests, -1 in leaves. Shape ``(T, N)``.
        threshold: A row whose value in that column is at most this goes to the left child. Shape ``(T, N)``.
        left, right: Numbers of a node's children; a leaf is its own child. Shapes ``(T, N)``.
        value: Value that a leaf adds, including the learning rate. Shape ``(T, N)``.
        base: Constant that every prediction starts from.
        depth: Largest number of steps from a root to a leaf.
    """

    feature: IntArray
    threshold: FloatArray
    left: IntArray
    right: IntArray
    value: FloatArray
    base: float
    depth: int

    def predict(self, columns: FloatArray) -> FloatArray:
        """Predict latent values. Shapes: ``(m, columns)`` -> ``(m,)``."""
        out = np.full(len(columns), self.base)
        trees = np.arange(len(self.feature))
        for start in range(0, len(columns), BLOCK):
            block = columns[start : start + BLOCK].astype(np.float32)  # the precision in which thresholds were chosen
            node = np.zeros((len(block), len(trees)), dtype=np.int64)
            rows = np.arange(len(block))[:, None]
            for _ in range(self.depth):
                low = block[rows, np.maximum(self.feature[trees, node], 0)] <= self.threshold[trees, node]
                node = np.where(low, self.left[trees, node], self.right[trees, node])
            out[start : start + BLOCK] += self.value[trees, node].sum(axis=1)
        return out


def fit_trees(columns: FloatArray, latent: FloatArray, seed: int) -> Trees:
    """Fit boosted shallow trees (Friedman, 2001) with scikit-learn. Shapes: ``(n, columns)``, ``(n,)``."""
    from sklearn.ensemble import GradientBoostingRegressor

    settings = {**SETTINGS, "random_state": seed % 2**32}
    fitted = GradientBoostingRegressor(**settings).fit(columns, latent)
    trees = [tree.tree_ for tree in fitted.estimators_[:, 0]]
    most = max(tree.node_count for tree in trees)
    own = np.arange(most)

    def table(name: str) -> NDArray[np.float64]:
        out = np.zeros((len(trees), most))
        for row, tree in enumerate(trees):
            values = getattr(tree, name).reshape(tree.node_count, -1)[:, 0]
            out[row, : tree.node_count] = values
        return out

    left, right = table("children_left").astype(np.int64), table("children_right").astype(np.int64)
    leaf = left < 0
    return Trees(
        feature=np.where(leaf, -1, table("feature").astype(np.int64)),
        threshold=table("threshold"),
        left=np.where(leaf, own, left),
        right=np.where(leaf, own, right),
        value=np.where(leaf, table("value") * SETTINGS["learning_rate"], 0.0),
        base=float(latent.mean()),
        depth=max(int(tree.max_depth) for tree in trees),
    )


def tree_columns(scaling: Scaling, description: Description) -> FloatArray:
    """Concatenate all columns of a standardised description. Shape ``(n, columns)``."""
    scaled: Scaled = scaling(description)
    parts = [*scaled.choices, *scaled.amounts, scaled.whole, scaled.walks]
    out: FloatArray = np.concatenate([part.numpy() for part in parts], axis=1)
    return out
