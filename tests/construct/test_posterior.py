"""Narrowing by joint draws: what goes first, what is promised, what limits drop, and what widening brings back."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import autobuild as ab
from autobuild.construct import (
    Additive,
    Limited,
    Metric,
    NoNetworkError,
    Probable,
    narrow_probable,
    parse_where,
    probable_networks,
    widen,
)
from autobuild.errors import ConfigError


@pytest.fixture(scope="module")
def planted():
    return ab.sequence_space(
        "planted",
        units={"a": 1, "b": 1, "c": 1},
        features={"width": [1, 2, 3, 4], "kernel": [3, 5]},
        text="w{width}k{kernel}",
    )


def scores_of(space, seed=0):
    rng = np.random.default_rng(seed)
    return {unit.name: rng.normal(size=unit.size) for unit in space.units}


def probable_of(space, seed, n=12):
    rng = np.random.default_rng(seed)
    rows = np.stack([rng.integers(unit.size, size=n) for unit in space.units], axis=1)
    rows = np.unique(rows, axis=0)
    weight, best = rng.dirichlet(np.full(len(rows), 0.4)), rng.dirichlet(np.full(len(rows), 0.4))
    return Probable(rows, weight, best)


def inside(small, space, rows):
    return np.array([space.assemble(row) in small for row in rows])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.002, 1.0))
def test_a_share_is_kept_to_and_what_is_promised_holds(seed, share):
    space = ab.sequence_space("p", {"a": 1, "b": 1, "c": 1}, {"w": [1, 2, 3, 4], "k": [3, 5]}, text="w{w}k{k}")
    probable, scores = probable_of(space, seed), scores_of(space, seed)
    small, held = narrow_probable(space, scores, probable, share=share)
    assert small.size <= max(1, share * space.size)
    assert held == pytest.approx(probable.best[inside(small, space, probable.indices)].sum())
    larger, more = narrow_probable(space, scores, probable, share=min(1.0, 2 * share))
    assert more >= held - 1e-9
    for old, new in zip(small.units, larger.units, strict=True):
        assert {c.text for c in old} <= {c.text for c in new}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 1.0))
def test_a_mass_is_kept_and_no_single_candidate_more_could_go(seed, mass):
    space = ab.sequence_space("p", {"a": 1, "b": 1, "c": 1}, {"w": [1, 2, 3, 4], "k": [3, 5]}, text="w{w}k{k}")
    probable, scores = probable_of(space, seed), scores_of(space, seed)
    small, held = narrow_probable(space, scores, probable, mass=mass)
    assert held >= mass - 1e-9
    for unit in small.units:
        for candidate in range(unit.size if unit.size > 1 else 0):
            fewer = small.restrict({unit.name: [c for c in range(unit.size) if c != candidate]})
            assert probable.best[inside(fewer, space, probable.indices)].sum() < mass + 1e-9


def test_what_no_probable_network_has_goes_first_and_the_worst_of_it_before(planted):
    scores = {unit.name: np.arange(8.0) for unit in planted.units}
    probable = Probable(np.array([[0, 1, 2], [7, 7, 7]]), np.array([0.5, 0.5]), np.array([0.9, 0.1]))
    small, held = narrow_probable(planted, scores, probable, share=(8 * 8 * 7) / 512)
    assert [unit.size for unit in small.units] == [8, 7, 8]  # unit b, candidate 0: the largest gap that nothing has
    assert held == pytest.approx(1.0)
    assert planted.units[1].candidate(0).text not in small.units[1]
    small, held = narrow_probable(planted, scores, probable, share=8 / 512)
    assert held == pytest.approx(1.0)
    assert sorted(unit.size for unit in small.units) == [2, 2, 2]
    small, held = narrow_probable(planted, scores, probable, mass=0.85)
    assert (small.size, held) == (1, pytest.approx(0.9))


class Sure:
    """A model that knows the truth, with noise that makes two networks equally likely to be the best."""

    def __init__(self, space, truth, sd=0.0):
        self.space, self.truth, self.sd, self.training_archs = space, truth, sd, []

    def predict_mean(self, archs):
        return np.array([self.truth(arch) for arch in archs])

    def intervals(self, archs, level):
        mean = self.predict_mean(archs)
        return mean, mean - 1.28 * self.sd, mean + 1.28 * self.sd

    def draw(self, archs, count, seed):
        return None


def test_joint_interactions_are_kept_where_sums_cannot_see_them(planted):
    """The best networks have (w4, w4) or (w1, w1) in units a and b: each alone is no better than the others."""

    def truth(arch):
        widths = [layer["width"] for (layer,) in planted.layers(arch)]
        return 5.0 * (widths[0] == widths[1] and widths[0] in (1, 4)) + 0.1 * widths[2]

    model = Sure(planted, truth, sd=0.05)
    probable = probable_networks(model, planted, {unit.name: np.zeros(8) for unit in planted.units})
    assert probable.weight.sum() == pytest.approx(1)
    assert probable.best.sum() == pytest.approx(1)
    small, held = narrow_probable(planted, scores_of(planted), probable, share=0.25)
    assert small.size <= 128
    assert held > 0.95
    best = [
        planted.parse(f"w{w}k{k}|w{w}k{m}|w4k{n}") for w in (1, 4) for k, m, n in itertools.product((3, 5), repeat=3)
    ]
    assert np.mean([arch in small for arch in best]) > 0.7


def test_a_model_that_draws_jointly_is_asked_to(small_labels):
    model = ab.fit(small_labels, "acc", model="gp", seed=0)
    small = model.explain().narrow(mass=0.95)
    assert "w2k5-w2k5|w2k5-w2k5" in small  # the best there is
    assert small.size < 60
    again = model.explain().narrow(mass=0.95)
    assert again.to_json() == small.to_json()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_limits_drop_exactly_what_cannot_hold(seed):
    """Brute force: with one exact limit a candidate stays exactly if some network within it has it."""
    space = ab.sequence_space("p", {"a": 1, "b": 1, "c": 1}, {"w": [1, 2, 3], "k": [3, 5]}, text="w{w}k{k}")
    rng = np.random.default_rng(seed)
    cost = Additive(float(rng.normal()), tuple(rng.normal(size=6).round(2) for _ in range(3)))
    every = np.array(list(itertools.product(range(6), repeat=3)))
    values = cost.totals(every)
    bound = float(np.quantile(values, rng.uniform(0.02, 0.6)))
    sense = ("<=", ">=")[seed % 2]
    limits = parse_where(f"ms {sense} {bound:.12g}")
    metric = Metric(lambda archs: cost.totals([space.indices(a) for a in archs]), cost)
    limited = Limited(space, Additive(0.0, (np.zeros(6),) * 3), limits, {"ms": metric})
    fits = values <= bound + 1e-9 if sense == "<=" else values >= bound - 1e-9
    for unit, rows in enumerate(limited.possible()):
        assert set(rows) == set(every[fits, unit])
    impossible = parse_where(f"ms <= {values.min() - 1}")
    with pytest.raises(NoNetworkError, match="ms"):
        Limited(space, Additive(0.0, (np.zeros(6),) * 3), impossible, {"ms": metric}).possible()


def test_widening_gives_back_the_surroundings_of_the_best(planted):
    small = planted.restrict({"a": ["w2k3", "w2k5"], "b": ["w1k3"], "c": ["w4k5", "w3k5"]})
    best = planted.parse("w2k3|w1k3|w4k5")
    wide = widen(planted, small, [best])
    assert {c.text for c in wide.units[0]} == {"w1k3", "w2k3", "w3k3", "w4k3", "w2k5"}
    assert {c.text for c in wide.units[1]} == {"w1k3", "w2k3", "w3k3", "w4k3", "w1k5"}
    assert all(arch in wide for arch in small.sample(20, 0))
    assert all(arch in wide for arch in planted.neighbours(best))
    scores = {name: np.zeros(8) for name in "abc"}
    scores["b"] = np.array([1.0, 0.5, 0, 0, 0, 0, 0, 0])
    some = widen(planted, small, [best], scores, margin=0.6)
    assert {c.text for c in some.units[1]} == {"w1k3", "w1k5"}
    assert widen(planted, planted, [best]) is planted
    assert widen(planted, wide, [planted.parse("w2k3|w1k3|w4k5")]) is wide
    with pytest.raises(ConfigError, match="units differ"):
        widen(planted, planted.join_units("a", "b"), [best])


def test_mistakes_are_named(planted):
    probable, scores = probable_of(planted, 0), scores_of(planted)
    for wrong in ({}, {"mass": 0.5, "share": 0.5}, {"mass": 0}, {"share": 1.5}, {"share": "2%"}, {"mass": True}):
        with pytest.raises(ConfigError, match=r"mass|share"):
            narrow_probable(planted, scores, probable, **wrong)
