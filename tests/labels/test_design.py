from __future__ import annotations

import re

import numpy as np
import pytest

from autobuild.errors import ConfigError
from autobuild.labels import sample_design
from autobuild.labels.sampling_designs import DESIGNS
from autobuild.spaces import Architecture, SearchSpace, load_space, sequence_space
from autobuild.spaces.additive import Additive


def seen(space: SearchSpace, archs: list[Architecture]) -> dict[tuple[object, ...], int]:
    """How many architectures show each value of each feature of each stage, and each depth of each stage and unit."""
    counts: dict[tuple[object, ...], int] = {}
    for arch in archs:
        shown: set[tuple[object, ...]] = set()
        for stage, layers in enumerate(space.layers(arch)):
            shown.add((stage, "depth", len(layers)))
            shown |= {(stage, name, value) for layer in layers for name, value in layer.items()}
        shown |= {("unit", u, space.candidate(arch, u).depth) for u in range(len(space.units))}
        for item in shown:
            counts[item] = counts.get(item, 0) + 1
    return counts


def everything(space: SearchSpace) -> set[tuple[object, ...]]:
    items: set[tuple[object, ...]] = set()
    for s, stage in enumerate(space.stages):
        items |= {(s, "depth", depth) for depth in stage.depths}
        items |= {(s, feature.name, value) for feature in stage.features for value in feature.values}
    return items | {("unit", u, depth) for u, unit in enumerate(space.units) for depth in unit.depths}


def enough(space: SearchSpace, k: int) -> int:
    with pytest.raises(ConfigError) as raised:
        sample_design(space, 1, "cover", cover=k)
    found = re.search(r"give n=(\d+) or more", str(raised.value))
    assert found
    return int(found[1])


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("name", ["ofa_mbv3", "ofa_proxyless"])
@pytest.mark.parametrize("seed", [0, 1])
def test_cover_shows_everything_k_times_at_the_smallest_n_it_names(name: str, k: int, seed: int) -> None:
    space = load_space(name)
    n = enough(space, k)
    assert n == 3 * k  # three depths, each k times: fewer is impossible, and layers show the rest on the way
    for size in (n, n + 40):
        archs = sample_design(space, size, "cover", seed=seed, cover=k)
        counts = seen(space, archs)
        assert all(counts.get(item, 0) >= k for item in everything(space))
        assert len({space.key(arch) for arch in archs}) == size
    counts = seen(space, archs[:n])
    assert all(counts.get(item, 0) >= k for item in everything(space))  # the covering ones come first


def test_cover_of_joined_units_too_large_to_list() -> None:
    space = load_space("ofa_mbv3").join_units(0, 1, 2, 3, 4)
    n = enough(space, 2)
    assert n >= 22  # depths 10 to 20, twice each
    counts = seen(space, sample_design(space, n, "cover", cover=2))
    assert all(counts.get(item, 0) >= 2 for item in everything(space))


def test_cover_of_a_narrowed_space_asks_only_for_what_is_left(mbv3: SearchSpace) -> None:
    unit = mbv3.units[0]
    rare = [unit.index("e3k3-e3k3"), unit.index("e3k3-e6k3"), unit.index("e3k3-e3k3-e3k3")]
    small = mbv3.restrict({unit.name: np.array(rare, dtype=np.int64)})
    n = enough(small, 2)
    archs = sample_design(small, n, "cover", cover=2)
    assert all(arch in small for arch in map(str, archs))
    counts = seen(small, archs)
    assert counts[0, "expand", 6] >= 2
    assert counts[0, "depth", 3] >= 2
    assert (0, "kernel", 7) not in counts
    assert all(counts[1, "kernel", kernel] >= 2 for kernel in (3, 5, 7))


@pytest.mark.parametrize("design", sorted({*DESIGNS} - {"stratified", "guided"}))
def test_same_seed_same_networks_and_none_twice(mbv3: SearchSpace, design: str) -> None:
    first = sample_design(mbv3, 50, design, seed=4)
    assert first == sample_design(mbv3, 50, design, seed=4)
    assert first != sample_design(mbv3, 50, design, seed=5)
    assert len(set(first)) == 50


def test_depth_is_uniform_over_depth_and_uniform_is_not(mbv3: SearchSpace) -> None:
    def share_of_shallow(design: str) -> float:
        return float(np.mean([len(layers) == 2 for a in sample_design(mbv3, 300, design) for layers in mbv3.layers(a)]))

    assert share_of_shallow("uniform") < 0.05
    assert 0.28 < share_of_shallow("depth") < 0.39


def test_twins_count_once_and_a_small_space_runs_out(with_identity: SearchSpace) -> None:
    everyone = [with_identity.parse(f"{a}{b}{c}") for a in range(3) for b in range(3) for c in range(3)]
    distinct = len({with_identity.key(arch) for arch in everyone})
    assert distinct == 1 + 2 + 4 + 8  # none to three layers of two real operations
    for design in ("uniform", "depth"):
        archs = sample_design(with_identity, distinct, design, seed=2)
        assert len({with_identity.key(arch) for arch in archs}) == distinct
        with pytest.raises(ConfigError, match=f"has {distinct} distinct networks"):
            sample_design(with_identity, distinct + 1, design)
    with pytest.raises(ConfigError, match="has 27 architectures"):
        sample_design(with_identity, 28)


def test_cover_fills_a_small_space_to_the_last_network() -> None:
    space = sequence_space("small", {"a": [1, 2], "b": 1}, {"kernel": [3, 5]})
    archs = sample_design(space, int(space.size), "cover", cover=2)
    assert len(set(archs)) == space.size == 12


def test_cover_says_when_the_space_is_too_small_for_k() -> None:
    space = sequence_space("one", {"a": 1}, {"kernel": [3, 5, 7]})
    assert len(sample_design(space, 3, "cover", cover=1)) == 3
    with pytest.raises(ConfigError, match=r"design 'cover' with cover=2|networks are enough"):
        sample_design(space, 3, "cover", cover=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n=0: accepted is an integer of at least 1"),
        ({"n": 2.5}, "n=2.5"),
        ({"n": True}, "n=True"),
        ({"n": 3, "cover": 0, "design": "cover"}, "cover=0"),
        ({"n": 3, "design": "covers"}, "did you mean 'cover'"),
        ({"n": 3, "between": (1, 2)}, "between: given with design=depth, accepted with guided"),
        ({"n": 3, "seed": -1}, "seed=-1"),
    ],
)
def test_unusable_arguments_are_refused(mbv3: SearchSpace, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        sample_design(mbv3, **arguments)  # type: ignore[arg-type]


def test_stratified_covers_the_range_of_a_sum_evenly() -> None:
    space = sequence_space("bits", {f"l{u}": 1 for u in range(12)}, {"bits": (3, 4), "method": ("a", "b", "c")})
    shares = np.linspace(1, 3, 12)
    by = Additive(2.0, tuple(share * np.repeat([0.0, 1.0], 3) for share in shares))
    archs = sample_design(space, 40, "stratified", seed=1, by=by)
    assert archs == sample_design(space, 40, "stratified", seed=1, by=by)
    assert len({space.key(arch) for arch in archs}) == 40
    sums = np.sort(by.totals([space.indices(arch) for arch in archs]))
    middles = by.least + (np.arange(40) + 0.5) / 40 * (by.greatest - by.least)
    assert np.abs(sums - middles).max() < 1  # of 24; uniform draws leave the outer quarters empty
    plain = by.totals([space.indices(arch) for arch in sample_design(space, 40, "uniform", seed=1)])
    assert plain.min() - by.least > 4
    with pytest.raises(ConfigError, match="needs by"):
        sample_design(space, 4, "stratified")
    with pytest.raises(ConfigError, match=r"units of \(2,\) candidates"):
        sample_design(space, 4, "stratified", by=Additive(0, ([0.0, 1.0],)))
    with pytest.raises(ConfigError, match="for all architectures"):
        sample_design(space, 4, "stratified", by=by.scaled(0))


def test_guided_networks_are_optima_of_perturbed_estimates_within_limits() -> None:
    space = sequence_space("bits", {f"l{u}": 1 for u in range(12)}, {"bits": (2, 3, 4), "method": ("a", "b", "c")})
    rng = np.random.default_rng(0)
    by = Additive(0.0, tuple(np.repeat([2.0, 3.0, 4.0], 3) for _ in range(12)))
    harm = Additive(0.0, tuple(4.0**-table * np.exp(2 * rng.normal()) * rng.uniform(1, 1.5, 9) for table in by.tables))
    how = {"by": by, "estimates": [harm], "between": (30.0, 42.0)}
    archs = sample_design(space, 40, "guided", seed=1, **how)  # type: ignore[arg-type]
    assert archs == sample_design(space, 40, "guided", seed=1, **how)  # type: ignore[arg-type]
    assert len({space.key(arch) for arch in archs}) == 40
    rows = [space.indices(arch) for arch in archs]
    used = by.totals(rows)
    plain = [space.indices(arch) for arch in sample_design(space, 40, "stratified", seed=1, by=by)]
    least = least_harm(harm, by)
    ratio, plain_ratio = (harm.totals(own) / [least[bits] for bits in by.totals(own)] for own in (rows, plain))
    assert np.isclose(ratio, 1).any()  # the optimum of the estimate itself is among them
    assert np.median(ratio) < 1.5 < 2 < np.median(plain_ratio)
    assert ((used > 29) & (used <= 42)).sum() >= 32
    for wrong, message in (
        ({"estimates": []}, "needs estimates"),
        ({"estimates": [harm.scaled(-1)]}, "negative"),
        ({"between": (42.0, 30.0)}, "accepted are two ascending numbers from 24 on"),
        ({"by": None}, "needs by"),
    ):
        with pytest.raises(ConfigError, match=message):
            sample_design(space, 4, "guided", **(how | wrong))  # type: ignore[arg-type]


def least_harm(harm: Additive, by: Additive) -> dict[float, float]:
    """Whole number -> the least sum of ``harm`` with ``by`` equal to it, by dynamic programming."""
    least = {0.0: 0.0}
    for own, cost in zip(harm.tables, by.tables, strict=True):
        sums = [(bits + float(c), value + h) for bits, value in least.items() for h, c in zip(own, cost, strict=True)]
        least = {bits: min(value for b, value in sums if b == bits) for bits in {bits for bits, _ in sums}}
    return least
