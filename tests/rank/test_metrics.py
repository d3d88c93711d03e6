from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import kendalltau, spearmanr
from sklearn.metrics import ndcg_score

from autobuild.errors import ConfigError
from autobuild.rank import kendall_tau, mae, ndcg_at_k, per_hop, srcc
from autobuild.rank.metrics import relevance

METRICS = (srcc, kendall_tau, ndcg_at_k, mae)

pairs = st.integers(3, 25).flatmap(
    lambda n: st.tuples(
        *[hnp.arrays(np.float64, n, elements=st.integers(-4, 4).map(lambda x: x / 2)) for _ in range(2)]
    )
)


@settings(max_examples=150, deadline=None)
@given(pairs, st.integers(1, 30), st.sampled_from([1.0, 5.0, 20.0]))
def test_equal_to_scipy_and_sklearn_with_ties(pair: tuple[np.ndarray, np.ndarray], k: int, top: float) -> None:
    predicted, target = pair
    if np.ptp(predicted) and np.ptp(target):
        assert srcc(predicted, target) == pytest.approx(spearmanr(predicted, target).statistic, abs=1e-12)
        assert kendall_tau(predicted, target) == pytest.approx(kendalltau(predicted, target).statistic, abs=1e-12)
    gain = 2.0 ** relevance(target, top) - 1
    if gain.any():
        expected = ndcg_score([gain], [predicted], k=k)
        assert ndcg_at_k(predicted, target, k, top) == pytest.approx(expected, abs=1e-12)
    else:
        assert math.isnan(ndcg_at_k(predicted, target, k, top))
    assert mae(predicted, target) == pytest.approx(np.mean(np.abs(predicted - target)))


def test_tied_predictions_have_the_mean_over_their_orders() -> None:
    target = np.array([3.0, 1.0, 2.0, 0.0])
    every = [ndcg_at_k(-np.array(order, dtype=float), target, k=2) for order in itertools.permutations(range(4))]
    assert ndcg_at_k(np.zeros(4), target, k=2) == pytest.approx(np.mean(every))


def test_published_relevance_scale_puts_the_top_first() -> None:
    target = np.arange(100.0)
    assert ndcg_at_k(target, target) == pytest.approx(1)
    assert ndcg_at_k(-target, target) == 0  # the lowest fifth has relevance 0
    swapped = target.copy()
    swapped[[98, 99]] = swapped[[99, 98]]
    assert ndcg_at_k(swapped, target, k=1) < 1
    assert ndcg_at_k(swapped, target, k=1) == pytest.approx(
        (2 ** relevance(target)[98] - 1) / (2 ** relevance(target)[99] - 1)
    )


def test_what_cannot_be_said_is_nan_without_a_warning() -> None:
    line, flat = np.arange(6.0), np.full(6, 0.1)
    with_nan = np.array([0, 1, math.nan, 3, 4, 5])
    infinite = np.array([0, 1, math.inf, 3, 4, 5])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for metric in METRICS:
            assert math.isnan(metric(with_nan, line))
            assert math.isnan(metric(line, with_nan))
            assert math.isnan(metric([], []))
        for metric in (srcc, kendall_tau):
            assert math.isnan(metric(flat, line))
            assert math.isnan(metric(line, flat))
            assert math.isnan(metric([1.0], [2.0]))
            assert math.isfinite(metric(infinite, line))
        assert math.isnan(ndcg_at_k(line, flat))
        assert math.isnan(ndcg_at_k(line, infinite))
        assert 0 < ndcg_at_k(flat, line) < 1
        assert math.isnan(mae(infinite, infinite))
        assert mae(flat, flat) == 0


def test_per_hop() -> None:
    rng = np.random.default_rng(0)
    norms, target = rng.random((5, 40)), rng.random(40)
    values = per_hop(norms, target)
    assert values == [srcc(row, target) for row in norms]
    assert all(isinstance(value, float) for value in values)
    assert per_hop(norms, target, ndcg_at_k, k=3) == [ndcg_at_k(row, target, k=3) for row in norms]
    norms[2] = 1
    assert [math.isnan(value) for value in per_hop(norms, target)] == [False, False, True, False, False]
    with pytest.raises(ConfigError, match="norms"):
        per_hop(target, target)


@pytest.mark.parametrize("metric", METRICS)
def test_shapes_that_do_not_fit_are_refused(metric: object) -> None:
    with pytest.raises(ConfigError, match="shapes"):
        metric(np.zeros(3), np.zeros(4))  # type: ignore[operator]
    with pytest.raises(ConfigError, match="shapes"):
        metric(np.zeros((3, 1)), np.zeros((3, 1)))  # type: ignore[operator]


def test_bad_options_are_refused() -> None:
    line = np.arange(5.0)
    with pytest.raises(ConfigError, match="k: given 0"):
        ndcg_at_k(line, line, k=0)
    with pytest.raises(ConfigError, match="max_relevance"):
        ndcg_at_k(line, line, max_relevance=-1)
