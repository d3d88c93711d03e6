"""Gradient-boosted trees over descriptions, stored as plain arrays so that they can be written to disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autobuild.models.describe import Description
from autobuild.models.kernel import Scaled, Scaling

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SHALLOW: dict[str, Any] = {"trees": 400, "rate": 0.05, "depth": 3, "rows": 0.7, "columns": 0.3, "cuts": 32}
BINNED = {"max_iter": 300, "learning_rate": 0.1, "max_leaf_nodes": 31, "max_features": 0.3, "early_stopping": False}
BLOCK = 4096


@dataclass(frozen=True)
class Trees:
    """A boosted ensemble of T trees of at most N nodes.

    Attributes:
        feature: Column that a node tests, -1 in leaves. Shape ``(T, N)``.
        threshold: A row whose value in that column is at most this goes to the left child. Shape ``(T, N)``.
        left, right: Numbers of a node's children, which are larger; a leaf is its own child. Shapes ``(T, N)``.
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
        number = np.min_scalar_type(self.feature.shape[1])
        for start in range(0, len(columns), BLOCK):
            block = columns[start : start + BLOCK].astype(np.float32)  # the precision in which thresholds were chosen
            low = block.T[self._tests["feature"]] <= self._tests["threshold"][:, None]
            masks = np.negative(low.astype(number))  # all bits are set where the test holds
            for inner, value in zip(self._inner, self.value, strict=True):
                leaf: dict[int, Any] = {}  # for each node the leaf that a row reaches from there
                for node, test, left, right in inner:
                    a, b = leaf.get(left, number.type(left)), leaf.get(right, number.type(right))
                    leaf[node] = ((a ^ b) & masks[test]) ^ b
                out[start : start + BLOCK] += value[leaf.get(0, 0)]
        return out

    @cached_property
    def _tests(self) -> NDArray[Any]:
        """The distinct tests of all nodes, as ``feature`` and ``threshold``."""
        return np.unique(self._all_tests[self.feature >= 0])

    @cached_property
    def _all_tests(self) -> NDArray[Any]:
        tests = np.empty(self.feature.shape, dtype=[("feature", np.int64), ("threshold", np.float64)])
        tests["feature"], tests["threshold"] = self.feature, self.threshold
        return tests

    @cached_property
    def _inner(self) -> list[list[tuple[int, int, int, int]]]:
        """For each tree its inner nodes, children first: number, test, left and right child."""
        place = {test: number for number, test in enumerate(self._tests.tolist())}
        out = []
        for tests, left, right in zip(self._all_tests.tolist(), self.left.tolist(), self.right.tolist(), strict=True):
            inner = [node for node, (feature, _) in enumerate(tests) if feature >= 0]
            out.append([(node, place[tests[node]], left[node], right[node]) for node in reversed(inner)])
        return out


def fit_trees(
    columns: FloatArray, latent: FloatArray, seed: int, on_tree: Callable[[int, int], None] | None = None
) -> Trees:
    """Fit boosted shallow trees, each to a part of the rows and columns (stochastic gradient boosting, Friedman, 2002).

    One matrix product gives the sums beside all tests of a level: with a few hundred rows this is three times as fast
    as scikit-learn, which needs most of its time to start a tree.

    Args:
        columns: Shape ``(n, columns)``.
        latent: Latent values. Shape ``(n,)``.
        seed: Seed of the rows and columns that each tree sees.
        on_tree: Called after every tree with ``(trees done, trees in all)``.
    """
    rng, (count, width) = np.random.default_rng(seed), columns.shape
    columns = columns.astype(np.float32)
    cuts = [_cuts(column) for column in columns.T]
    column_of, cut = np.repeat(np.arange(width), [len(own) for own in cuts]), np.concatenate([[], *cuts])
    passed = (columns.T[column_of] <= cut[:, None]).astype(np.float32)  # (tests, n)
    varied = np.unique(column_of)
    depth = SHALLOW["depth"] if len(varied) else 0
    shape = (SHALLOW["trees"], 2 ** (depth + 1) - 1)  # the children of node i are 2 i + 1 and 2 i + 2
    feature, threshold, value = np.full(shape, -1), np.zeros(shape), np.zeros(shape)
    base = float(latent.mean())
    residual = (latent - base).astype(np.float32)
    for tree in range(shape[0]):
        drawn = np.zeros(count, dtype=np.float32)
        drawn[rng.permutation(count)[: max(1, int(SHALLOW["rows"] * count))]] = 1
        chosen = np.zeros(width, dtype=bool)
        chosen[rng.permutation(varied)[: max(1, int(SHALLOW["columns"] * len(varied)))]] = True
        tests = np.flatnonzero(chosen[column_of])
        own, node = passed[tests], np.zeros(count, dtype=np.int64)
        for level in range(depth):
            nodes = 2**level
            weights = (node == np.arange(nodes)[:, None]) * drawn
            both = np.concatenate([weights, weights * residual])
            low = both @ own.T
            high = both.sum(axis=1, keepdims=True) - low
            gain = low[nodes:] ** 2 / np.maximum(low[:nodes], 1) + high[nodes:] ** 2 / np.maximum(high[:nodes], 1)
            best = gain.argmax(axis=1)  # a test that all rows pass gains nothing, so it is the best only among such
            feature[tree, nodes - 1 : 2 * nodes - 1] = column_of[tests[best]]
            threshold[tree, nodes - 1 : 2 * nodes - 1] = cut[tests[best]]
            node = 2 * node + (own[best[node], np.arange(count)] == 0)
        weights = (node == np.arange(2**depth)[:, None]) * drawn
        steps = SHALLOW["rate"] * (weights @ residual) / np.maximum(weights.sum(axis=1), 1)
        value[tree, 2**depth - 1 :] = steps
        residual -= steps[node]
        if on_tree:
            on_tree(tree + 1, shape[0])
    number, leaf = np.arange(shape[1]), feature < 0
    left, right = (np.where(leaf, number, 2 * number + side) for side in (1, 2))
    return Trees(feature, threshold, left, right, value, base, depth)


def _cuts(column: NDArray[np.float32]) -> FloatArray:
    """Thresholds between the values of a column, evenly spread over them if they are many."""
    values = np.unique(column).astype(np.float64)
    middles: FloatArray = (values[1:] + values[:-1]) / 2
    if len(middles) <= SHALLOW["cuts"]:
        return middles
    return middles[np.linspace(0, len(middles) - 1, SHALLOW["cuts"]).round().astype(np.int64)]


def fit_binned_trees(columns: NDArray[np.float32], latent: FloatArray, seed: int) -> Trees:
    """Fit boosted trees of 31 leaves over binned columns, for many rows: scikit-learn's histogram gradient boosting.

    Shapes: ``(n, columns)``, ``(n,)``.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    fitted = HistGradientBoostingRegressor(**BINNED, random_state=seed % 2**32).fit(columns, latent)
    nodes = [stage[0].nodes for stage in fitted._predictors]
    most = max(map(len, nodes))
    table = np.zeros((len(nodes), most), dtype=nodes[0].dtype)
    table["is_leaf"] = True
    for row, own in enumerate(nodes):
        table[row, : len(own)] = own
    leaf, own = table["is_leaf"].astype(bool), np.arange(most)
    return Trees(
        feature=np.where(leaf, -1, table["feature_idx"].astype(np.int64)),
        threshold=table["num_threshold"].copy(),
        left=np.where(leaf, own, table["left"].astype(np.int64)),
        right=np.where(leaf, own, table["right"].astype(np.int64)),
        value=np.where(leaf, table["value"], 0.0),
        base=float(np.ravel(fitted._baseline_prediction)[0]),
        depth=int(table["depth"].max()),
    )


def tree_columns(scaling: Scaling, description: Description) -> FloatArray:
    """Concatenate all columns of a standardised description. Shape ``(n, columns)``."""
    scaled: Scaled = scaling(description)
    parts = [*scaled.choices, *scaled.amounts, scaled.whole, scaled.walks, scaled.known]
    out: FloatArray = np.concatenate([part.numpy() for part in parts], axis=1)
    return out
