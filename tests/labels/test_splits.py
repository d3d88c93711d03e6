from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autobuild.errors import ConfigError, LabelError
from autobuild.labels._splits import folds, split

key_lists = st.lists(st.integers(0, 12), min_size=2, max_size=40).filter(lambda keys: len(set(keys)) > 1)


@settings(max_examples=200, deadline=None)
@given(keys=key_lists, data=st.data(), seed=st.integers(0, 5))
def test_split_keeps_groups_and_has_the_nearest_possible_size(keys: list[int], data: st.DataObject, seed: int) -> None:
    wanted = data.draw(st.integers(1, len(keys) - 1))
    train, test = split(keys, wanted, seed)
    assert sorted([*train, *test]) == list(range(len(keys)))
    assert not {keys[i] for i in train} & {keys[i] for i in test}
    sums = {0}
    for size in Counter(keys).values():
        sums |= {total + size for total in sums}
    possible = [abs(total - wanted) for total in sums if 0 < total < len(keys)]
    assert abs(len(test) - wanted) == min(possible)
    again = split(keys, wanted, seed)
    np.testing.assert_array_equal(again[0], train)
    np.testing.assert_array_equal(again[1], test)


@settings(max_examples=200, deadline=None)
@given(keys=key_lists, data=st.data(), seed=st.integers(0, 5))
def test_folds_partition_the_rows_and_keep_groups(keys: list[int], data: st.DataObject, seed: int) -> None:
    k = data.draw(st.integers(2, len(set(keys))))
    parts = folds(keys, k, seed)
    assert len(parts) == k
    assert sorted(itertools.chain.from_iterable(test for _, test in parts)) == list(range(len(keys)))
    for train, test in parts:
        assert len(test)
        assert sorted([*train, *test]) == list(range(len(keys)))
        assert not {keys[i] for i in train} & {keys[i] for i in test}
    sizes = [len(test) for _, test in parts]
    assert max(sizes) - min(sizes) <= max(Counter(keys).values())


def test_distinct_keys_give_exact_sizes_and_seeds_differ() -> None:
    keys = [f"k{i}" for i in range(103)]
    assert [len(part) for part in split(keys, 0.1, 0)] == [93, 10]
    assert [len(part) for part in split(keys, 1, 0)] == [102, 1]
    assert [len(part) for part in split(keys, np.int64(102), 0)] == [1, 102]
    assert [len(part) for part in split(keys, 1e-9, 0)] == [102, 1]
    assert sorted(len(test) for _, test in folds(keys, 5)) == [20, 20, 21, 21, 21]
    assert not np.array_equal(split(keys, 0.1, 0)[1], split(keys, 0.1, 1)[1])
    assert split(keys, 0.1)[0].dtype == np.int64


def test_every_row_is_held_out_about_equally_often() -> None:
    keys = [*range(30), *range(10)]  # the first ten come twice
    counts = np.zeros(40)
    for seed in range(400):
        counts[split(keys, 10, seed)[1]] += 1
    assert counts.min() > 60
    assert counts.max() < 140  # 100 expected


@pytest.mark.parametrize("holdout", [0, 103, -1, 1.0, 0.0, 1.5, float("nan"), True, "0.1", None, -0.1])
def test_unusable_holdouts_are_refused(holdout: object) -> None:
    with pytest.raises(ConfigError, match="accepted is a fraction between 0 and 1, or a number of rows from 1 to 102"):
        split(list(range(103)), holdout, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [0, 1, 4, 2.0, True, "3"])
def test_unusable_numbers_of_folds_are_refused(k: object) -> None:
    with pytest.raises(ConfigError, match="integer from 2 to 3"):
        folds([1, 2, 3, 3, 3], k)  # type: ignore[arg-type]


@pytest.mark.parametrize("keys", [[], ["a"], ["a"] * 30])
def test_one_network_cannot_be_split(keys: list[str]) -> None:
    with pytest.raises(LabelError, match="at least 2 distinct networks"):
        split(keys, 0.5)


@pytest.mark.parametrize("seed", range(5))
def test_one_large_group_does_not_unbalance_the_folds(seed: int) -> None:
    assert [len(test) for _, test in folds([*range(8), *["big"] * 8], 2, seed)] == [8, 8]
