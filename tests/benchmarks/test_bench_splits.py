import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import autobuild as ab
from benchmarks.splits import development, split, split_nearly_all

NETWORKS = [f"net{i}" for i in range(200)]
KEYS = [NETWORKS[i % 200] for i in range(330)]  # 130 networks occur twice


def networks(rows: np.ndarray) -> list[str]:
    return [KEYS[row] for row in rows]


def test_a_development_network_is_told_by_its_hash():
    found = development(NETWORKS)
    assert [int(hashlib.sha256(k.encode()).hexdigest()[:2], 16) < 64 for k in NETWORKS] == found.tolist()
    assert 30 < found.sum() < 70  # about a quarter


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 120), seed=st.integers(0, 10**6))
def test_no_network_is_on_both_sides_or_twice_on_one(n, seed):
    found = split(KEYS, n, seed)
    train, test = networks(found.train), networks(found.test)
    judged = {key for key, out in zip(NETWORKS, development(NETWORKS), strict=True) if not out}
    assert len(train) == n
    assert len(set(train)) == n
    assert sorted({*train, *test}) == sorted(judged)
    assert len(train) + len(test) == len(judged)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(60, 199), seed=st.integers(0, 10**6))
def test_nearly_all_rows_are_learned_from_and_only_judged_ones_judge(n, seed):
    found = split_nearly_all(KEYS, n, seed)
    train, test = networks(found.train), networks(found.test)
    assert len(train) == n
    assert sorted([*train, *test]) == sorted(NETWORKS)
    assert not development(test).any()


def test_the_seed_decides():
    first, again, other = split(KEYS, 50, 3), split(KEYS, 50, 3), split(KEYS, 50, 4)
    assert np.array_equal(first.train, again.train)
    assert not np.array_equal(first.train, other.train)


def test_the_two_parts_have_no_network_in_common():
    design, judged = split(KEYS, 20, 0, "development"), split(KEYS, 20, 0)
    assert not {*networks(design.train), *networks(design.test)} & {*networks(judged.train), *networks(judged.test)}


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="distinct networks"):
        split(KEYS, 190, 0)
    with pytest.raises(ValueError, match="in the judged part"):
        split_nearly_all(KEYS, 10, 0)
    with pytest.raises(ValueError, match="accepted"):
        split(KEYS, 10, 0, "test")


def test_twins_of_a_real_space_are_one_network():
    space = ab.space("nas_bench_macro")
    archs = [space.parse(f"11{a}{b}{c}111") for a in "12" for b in "012" for c in "012"]
    keys = [space.key(arch) for arch in archs]
    assert len(set(keys)) < len(keys)
    rows = split(keys, 5, 0)
    assert not {keys[row] for row in rows.train} & {keys[row] for row in rows.test}
