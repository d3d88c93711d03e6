import itertools

import numpy as np
import pytest

from benchmarks.cells import true_ranks
from benchmarks.paired import paired


def test_the_interval_is_that_of_all_resamples():
    ours, theirs = [0.3, 0.9, 0.2, 0.5], [0.1, 0.4, 0.3, 0.1]
    difference = np.array(ours) - np.array(theirs)
    means = [np.mean(rows) for rows in itertools.product(difference, repeat=4)]  # every resample, equally likely
    found = paired(ours, theirs)
    low, high = np.quantile(means, [0.025, 0.975])
    assert found.mean == pytest.approx(difference.mean())
    assert found.low == pytest.approx(low, abs=0.02)
    assert found.high == pytest.approx(high, abs=0.02)
    assert not found.wholly_below_zero


def test_what_splits_share_does_not_widen_the_interval():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=30) * 10
    found = paired(shared + 1, shared)
    assert (found.low, found.high) == (pytest.approx(1), pytest.approx(1))
    assert paired(shared, shared + 1).wholly_below_zero


def test_about_95_of_100_intervals_hold_the_true_difference():
    rng = np.random.default_rng(1)
    draws = [paired(rng.normal(0.5, 1, 40), np.zeros(40), seed=i) for i in range(300)]
    share = np.mean([one.low <= 0.5 <= one.high for one in draws])
    assert 0.89 <= share <= 0.99


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [1.0, 2.0]), ([np.nan], [1.0])])
def test_pairs_that_are_none_are_refused(a, b):
    with pytest.raises(ValueError, match="equally many finite"):
        paired(a, b)


def test_a_true_rank_counts_those_strictly_better():
    values = np.random.default_rng(0).integers(0, 20, 60).astype(float)  # many ties
    assert true_ranks(values).tolist() == [1 + sum(other > value for other in values) for value in values]
    assert true_ranks([3.0, 5.0, 5.0, 1.0]).tolist() == [3, 1, 1, 4]
