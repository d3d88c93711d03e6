"""One-dimensional k-means against brute force over all partitions, and against scikit-learn."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from autobuild.errors import QuantisationError
from autobuild.quant import clustering
from autobuild.quant.clustering import kmeans


def squared_error(row, centres):
    return float(((row[:, None].astype(float) - centres[None]) ** 2).min(axis=1).sum())


def least_error(row, k):
    """Of all ways to cut the sorted values into k ranges."""
    ordered = np.sort(row.astype(float))
    cuts = itertools.combinations(range(1, len(row)), k - 1)
    return min(sum(((p - p.mean()) ** 2).sum() for p in np.split(ordered, cut)) for cut in cuts)


@pytest.fixture(params=["compiled", "numpy"])
def solver(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setattr(clustering, "_compiled", lambda: None)
    elif clustering._compiled() is None:
        pytest.skip("no C compiler")


@pytest.mark.usefixtures("solver")
@pytest.mark.parametrize("k", [1, 2, 4, 9])
def test_exact_is_the_best_of_all_partitions(k):
    rows = np.random.default_rng(k).standard_t(3, (6, 9)).astype(np.float32)
    rows[0, 3:6] = rows[0, 0]  # equal values
    for row, centres in zip(rows, kmeans(rows, k, exact=True), strict=True):
        assert squared_error(row, centres) == pytest.approx(least_error(row, k), abs=1e-9)


def test_never_above_scikit_learn_and_fast_is_near():
    rows = np.random.default_rng(0).laplace(size=(4, 600)).astype(np.float32)
    exact, fast = kmeans(rows, 16, exact=True), kmeans(rows, 16)
    for row, best, near in zip(rows, exact, fast, strict=True):
        other = KMeans(16, n_init=3, random_state=0).fit(row[:, None].astype(float)).inertia_
        least = squared_error(row, best)
        assert least <= other * (1 + 1e-9)
        assert least * (1 - 1e-9) <= squared_error(row, near) < 1.2 * least


@pytest.mark.skipif(clustering._compiled() is None, reason="no C compiler")
@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 2), (7, 3), (300, 16), (300, 256)])
def test_compiled_parts_equal_those_of_numpy(monkeypatch, n, k):
    """Bit for bit, ties included, and so does all that is computed from them."""
    rows = np.round(np.random.default_rng(n).normal(size=(9, n)), 2).astype(np.float32)
    thresholds = np.sort(np.concatenate([rows, rows + 1], axis=1).astype(np.float64), axis=1)[:, : k + 1]

    def computed():
        ordered, sums = clustering.sorted_sums(rows)
        return [ordered, sums, *clustering.ranges(ordered, sums, thresholds), kmeans(rows, k)]

    compiled = computed()
    monkeypatch.setattr(clustering, "_compiled", lambda: None)
    for one, other in zip(compiled, computed(), strict=True):
        assert np.array_equal(one, other)
    counts = compiled[3]
    assert np.array_equal(counts[:, 0], (rows < thresholds[:, :1]).sum(axis=1))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=40), st.integers(1, 4), st.booleans())
def test_centres_are_ascending_and_among_the_values(values, k, exact):
    row = np.array([values], dtype=np.float32)
    (centres,) = kmeans(row, k, exact=exact)
    assert len(centres) == k
    assert (np.diff(centres) >= 0).all()
    slack = 1e-6 * (1 + np.abs(row).max())
    assert row.min() - slack <= centres[0]
    assert centres[-1] <= row.max() + slack


def test_rows_do_not_depend_on_each_other():
    rows = np.random.default_rng(1).normal(size=(20, 50)).astype(np.float32)
    alone = np.concatenate([kmeans(row[None], 4, exact=True) for row in rows])
    assert np.array_equal(kmeans(rows, 4, exact=True), alone)


def test_more_clusters_than_values():
    with pytest.raises(QuantisationError, match="5 clusters of 4 values"):
        kmeans(np.zeros((1, 4), dtype=np.float32), 5)
