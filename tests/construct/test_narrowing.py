from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobuild.construct import narrow_rows, narrow_units, narrowing_note
from autobuild.construct._posterior import Probable
from autobuild.construct.narrowing import narrow_probable
from autobuild.errors import ConfigError, SpaceError
from autobuild.spaces import SearchSpace, load_space, readable_count, sequence_space
from autobuild.spaces.sizes import byte_unit

coarse = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12)


@given(coarse, st.one_of(st.none(), st.integers(1, 15)), st.one_of(st.none(), st.floats(-4, 4)))
def test_rows_equal_their_definition(scores: list[float], top: int | None, threshold: float | None) -> None:
    if top is None and threshold is None:
        return
    best_first = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    wanted = best_first[:top]
    if threshold is not None:
        wanted = [i for i in wanted if scores[i] >= threshold]
    wanted = wanted or best_first[:1]
    kept = narrow_rows(np.array(scores), top=top, threshold=threshold)
    assert kept.tolist() == sorted(wanted)
    assert kept.dtype == np.int64


def test_rows_by_hand() -> None:
    scores = np.array([0.5, 2.0, 0.5, 1.0])
    assert narrow_rows(scores, top=3).tolist() == [0, 1, 3]  # of the two at 0.5 the first stays
    assert narrow_rows(scores, threshold=0.5).tolist() == [0, 1, 2, 3]
    assert narrow_rows(scores, threshold=9).tolist() == [1]
    assert narrow_rows(scores, top=1, threshold=0.5).tolist() == [1]
    assert narrow_rows(np.array([-math.inf, 1.0]), threshold=0).tolist() == [1]


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        ([1.0], {}, "neither top nor threshold"),
        ([1.0], {"top": 0}, "top: given 0"),
        ([1.0], {"top": 1.5}, "top: given 1.5"),
        ([1.0], {"top": math.inf}, "top: given inf"),
        ([1.0], {"top": True}, "top: given True"),
        ([1.0], {"threshold": math.nan}, "threshold"),
        ([1.0], {"threshold": "0.5"}, "threshold"),
        ([], {"top": 1}, "at least one"),
        ([[1.0]], {"top": 1}, "shape"),
        ([1.0, math.nan], {"top": 1}, "candidate 1 has NaN"),
    ],
)
def test_bad_rows_are_refused(scores: list[float], options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        narrow_rows(np.array(scores), **options)  # type: ignore[arg-type]


def test_narrow_keeps_the_best_candidates_of_each_unit() -> None:
    space = load_space("ofa_mbv3")
    rng = np.random.default_rng(0)
    scores = {unit.name: rng.normal(size=unit.size) for unit in space.units}
    small = narrow_units(space, scores, top=5)
    assert [unit.size for unit in small.units] == [5] * 5
    assert small.size == 5**5
    for old, new in zip(space.units, small.units, strict=True):
        best = {old.candidate(int(i)).text for i in np.argsort(-scores[old.name])[:5]}
        assert {new.candidate(i).text for i in range(new.size)} == best
    uneven = narrow_units(space, scores, threshold=3.0)
    for unit in uneven.units:
        assert unit.size == max(1, int((scores[unit.name] >= 3.0).sum()))
    assert str(small.sample(1, seed=0)[0])


def test_the_note_says_both_sizes() -> None:
    space = load_space("ofa_mbv3")
    small = narrow_units(space, {unit.name: np.arange(unit.size) for unit in space.units}, top=10)
    note = narrowing_note(space, small)
    assert "ofa_mbv3: 2.2e19 -> 100,000 architectures" in note
    assert f"{space.units[0].name} 7,371 -> 10" in note


def test_scores_that_do_not_fit_the_space_are_refused() -> None:
    space = load_space("ofa_mbv3")
    scores = {unit.name: np.zeros(unit.size) for unit in space.units}
    name = space.units[0].name
    with pytest.raises(ConfigError, match=f"did you mean.*{name}"):
        narrow_units(space, {**scores, name + "x": np.zeros(3)}, top=1)
    with pytest.raises(ConfigError, match=r"7371"):
        narrow_units(space, {**scores, name: np.zeros(3)}, top=1)
    with pytest.raises(ConfigError, match="missing"):
        narrow_units(space, {key: value for key, value in scores.items() if key != name}, top=1)
    with pytest.raises(ConfigError, match=f"{name}.*NaN"):
        narrow_units(space, {**scores, name: np.full(7371, math.nan)}, top=1)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (7371, "7,371"),
        (999_999, "999,999"),
        (1_000_000, "1.0e6"),
        (7371**5, "2.2e19"),
        (9_949_999, "9.9e6"),
        (9_950_000, "1.0e7"),
        (10**400 - 1, "1.0e400"),
        (10**9 - 1, "1.0e9"),
        (10**15, "1.0e15"),
        (-(7371**5), "-2.2e19"),
    ],
)
def test_readable_counts(count: int, text: str) -> None:
    assert readable_count(count) == text


@pytest.mark.parametrize(
    ("largest", "divided"),
    [(0, (1, "bytes")), (999, (1, "bytes")), (1000, (1e3, "kB")), (26_570_000, (1e6, "MB")), (1_064e6, (1e9, "GB"))],
)
def test_bytes_are_written_with_few_digits(largest: float, divided: tuple[float, str]) -> None:
    assert byte_unit(largest) == divided


@given(st.integers(10**6, 10**60))
def test_readable_counts_are_within_their_last_digit(count: int) -> None:
    mantissa, power = readable_count(count).split("e")
    assert abs(int(mantissa.replace(".", "")) * 10 ** (int(power) - 1) - count) * 2 <= 10 ** (int(power) - 1)


def test_a_space_of_more_architectures_than_a_float_counts() -> None:
    """794 layers with six choices each, as SDXL's U-Net has."""
    space = sequence_space("huge", {f"u{i}": 1 for i in range(794)}, {"q": list(range(6))}, text="q{q}")
    assert "7.1e617 architectures" in repr(space)
    (arch,) = space.sample(1, seed=3)
    assert space.parse(arch.text) == SearchSpace.from_json(space.to_json()).parse(arch.text) == arch
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 6, (5, 794))
    probable = Probable(indices, np.full(5, 0.2), np.full(5, 0.2))
    small, _ = narrow_probable(space, {unit.name: rng.normal(size=6) for unit in space.units}, probable, share=1e-300)
    assert 0 < small.size <= space.size // 10**300
    with pytest.raises(SpaceError, match="its largest unit about 1e477 candidates; accepted: up to 1e4000, and 1e300"):
        sequence_space("deep", {"a": 1000}, {"q": [1, 2, 3]})


def test_a_huge_space_is_shown() -> None:
    space = sequence_space("big", {"a": 350}, {"q": list(range(7))}, text="q{q}")
    assert space.size == 7**350
    assert "6.1e295 architectures" in repr(space)
