from __future__ import annotations

import itertools
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autobuild.construct import _best_first, k_best
from autobuild.errors import ConfigError


@pytest.fixture(autouse=True, scope="module")
def few_in_order_at_first() -> Iterator[None]:
    """Units have few candidates here: put two of them in order at first, as if there were millions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_best_first, "FIRST", 2)
        yield


def brute_force(scores: list[np.ndarray]) -> list[tuple[float, tuple[int, ...]]]:
    """The whole product, sorted by exact sum and then by candidate indices."""
    rows = []
    for indices in itertools.product(*[range(len(unit)) for unit in scores]):
        parts = [float(unit[i]) for unit, i in zip(scores, indices, strict=True)]
        rows.append((-sum(map(Fraction, parts)), indices, math.fsum(parts)))
    return [(total, indices) for _, indices, total in sorted(rows)]


def units_of(element: st.SearchStrategy[float]) -> st.SearchStrategy[list[np.ndarray]]:
    unit = st.lists(element, min_size=1, max_size=5).map(lambda x: np.array(x, dtype=np.float64))
    return st.lists(unit, min_size=1, max_size=4)


few = st.integers(-2, 2).map(float)  # many ties, all sums exact
tenths = st.integers(-5, 5).map(lambda x: x / 10)  # sums that only differ below rounding
wide = st.sampled_from([0.0, -0.0, 1e-300, 5e-324, 1.0, 1 + 2**-52, 1e16, -1e16, 1e300, 0.1])
anything = st.floats(-1e3, 1e3)


@settings(max_examples=400, deadline=None)
@given(st.one_of(units_of(few), units_of(tenths), units_of(wide), units_of(anything)))
def test_equals_the_sorted_product(scores: list[np.ndarray]) -> None:
    expected = brute_force(scores)
    found = list(k_best(scores))
    assert found == expected
    # Rounding keeps the order, so a brute force that only knows the rounded sums sees the same totals in turn.
    totals = [math.fsum(unit[i] for unit, i in zip(scores, c, strict=True)) for c in (c for _, c in expected)]
    assert [total for total, _ in found] == sorted(totals, reverse=True)
    assert list(k_best(scores, 7)) == expected[:7]


@settings(max_examples=100, deadline=None)
@given(units_of(few))
def test_ties_are_in_order_of_candidate_index_where_sums_are_exact(scores: list[np.ndarray]) -> None:
    found = list(k_best(scores))
    assert found == sorted(found, key=lambda item: (-item[0], item[1]))


def test_a_case_worked_by_hand() -> None:
    scores = [np.array([0.0, 2.0]), np.array([1.0, 1.0, 0.0])]
    assert list(k_best(scores)) == [
        (3.0, (1, 0)),
        (3.0, (1, 1)),
        (2.0, (1, 2)),
        (1.0, (0, 0)),
        (1.0, (0, 1)),
        (0.0, (0, 2)),
    ]


def test_sums_are_told_apart_below_rounding() -> None:
    # 0.1 + 0.4 and 0.2 + 0.3 are both returned as 0.5, but the first is larger by 3e-17.
    scores = [np.array([0.2, 0.1]), np.array([0.3, 0.4])]
    exact = [(sum(Fraction(float(u[i])) for u, i in zip(scores, c, strict=True)), c) for c in ((0, 0), (1, 1))]
    assert exact[1] > exact[0]
    middle = [item for item in k_best(scores) if item[0] == 0.5]
    assert middle == [(0.5, (1, 1)), (0.5, (0, 0))]


@pytest.mark.parametrize("kind", ["normal", "float32", "rounded", "constant", "skewed"])
def test_ten_thousand_of_twenty_quintillion_in_under_a_second(kind: str) -> None:
    rng = np.random.default_rng(0)
    make = {
        "normal": lambda: rng.normal(size=7371),
        "float32": lambda: rng.normal(size=7371).astype(np.float32),
        "rounded": lambda: rng.normal(size=7371).round(1),
        "constant": lambda: np.full(7371, 0.3),
        "skewed": lambda: rng.lognormal(sigma=8, size=7371),
    }[kind]
    scores = [make() for _ in range(5)]
    assert 7371**5 > 2e19
    start = time.process_time()  # of this process, so that a busy machine changes nothing
    found = list(k_best(scores, 10_000))
    assert time.process_time() - start < 1
    assert len({indices for _, indices in found}) == 10_000
    totals = [total for total, _ in found]
    assert totals == sorted(totals, reverse=True)
    assert found[0][1] == tuple(int(np.argmax(unit)) for unit in scores)
    # No swap of one candidate leads from an assembly on the list to a better one that is not on it.
    listed = {indices for _, indices in found}
    orders = [np.argsort(-unit, kind="stable").tolist() for unit in scores]
    places = [{index: place for place, index in enumerate(order)} for order in orders]
    for _, indices in found[::97]:
        for u, index in enumerate(indices):
            place = places[u][index]
            if place:
                assert (*indices[:u], orders[u][place - 1], *indices[u + 1 :]) in listed


def test_the_first_of_a_large_case_equal_brute_force_over_the_best_candidates() -> None:
    # Among the best 120 of a product at most 120 places of any unit are ever needed.
    rng = np.random.default_rng(3)
    scores = [rng.normal(size=7371) for _ in range(3)]
    kept = [np.sort(np.argsort(-unit)[:40]) for unit in scores]
    small = brute_force([unit[rows] for unit, rows in zip(scores, kept, strict=True)])[:40]
    expected = [(total, tuple(int(rows[i]) for rows, i in zip(kept, c, strict=True))) for total, c in small]
    assert list(k_best(scores, 40)) == expected


def test_is_lazy_and_repeatable() -> None:
    scores = [np.random.default_rng(u).normal(size=7371) for u in range(5)]
    stream = k_best(scores)
    first = [next(stream) for _ in range(3)]
    assert iter(stream) is iter(stream)
    assert first == list(k_best(scores, 3)) == list(itertools.islice(k_best(scores), 3))
    assert list(k_best(scores, 0)) == []


def test_does_not_read_the_scores_again() -> None:
    scores = [np.array([1.0, 2.0]), np.array([1.0, 3.0])]
    stream = k_best(scores)
    best = next(stream)
    scores[0][:] = 100
    assert best == (5.0, (1, 1))


def test_more_than_there_are() -> None:
    assert len(list(k_best([np.arange(3.0), np.arange(2.0)], 100))) == 6
    assert list(k_best([np.array([4.0])], 5)) == [(4.0, (0,))]


@pytest.mark.parametrize(
    ("scores", "k", "message"),
    [
        ([], 1, "no unit"),
        ([np.array([1.0]), np.array([])], 1, "unit 1: given shape"),
        ([np.ones((2, 2))], 1, "unit 0: given shape"),
        ([np.array([1.0]), np.array([0.0, math.nan, math.nan])], 1, "unit 1: candidate 1 has nan .2 such"),
        ([np.array([math.inf])], 1, "unit 0: candidate 0 has inf"),
        ([np.array([1e308]), np.array([1e308])], 1, "beyond the range"),
        ([np.array([1.0])], -1, "k: given -1"),
        ([np.array([1.0])], 1.5, "k: given 1.5"),
    ],
)
def test_bad_input_is_refused_at_the_call(scores: list[np.ndarray], k: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        k_best(scores, k)


def test_importing_construct_does_not_import_torch() -> None:
    code = "import sys, autobuild.construct; print('torch' in sys.modules, 'pandas' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "False"]
