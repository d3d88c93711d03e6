"""Expensive exact values: what is built is what evaluating all networks exactly would give."""

import itertools
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import autobuild as ab
from autobuild.construct import Evaluator, Limited, Metric, NoNetworkError, build_refined, parse_where
from autobuild.construct._evaluators import WithinLimits
from autobuild.construct.local_search import Pool
from autobuild.spaces.additive import Additive, Bounds
from autobuild.spaces.fitted import fitted_sum

SPACE = ab.sequence_space("s", {"a": [1, 2], "b": [1, 2], "c": 1}, {"w": [1, 2, 3], "k": [1, 2]}, text="w{w}k{k}")
ALL = [SPACE.assemble(i) for i in itertools.product(*(range(unit.size) for unit in SPACE.units))]
INDICES = np.array([SPACE.indices(arch) for arch in ALL])
PLACE = {arch.text: place for place, arch in enumerate(ALL)}


class Slow(Evaluator):
    """Upper bounds that are too high, exact values on request, and limits of which some are decided at once."""

    cheap = False

    def __init__(self, rng, undecided):
        self.values = rng.integers(0, 40, len(ALL)).astype(float)  # many ties
        self.values[rng.random(len(ALL)) < 0.05] = np.nan
        self.hope = np.nan_to_num(self.values, nan=20.0) + rng.exponential(3, len(ALL)) * rng.integers(0, 2, len(ALL))
        self.right = rng.random(len(ALL)) < 0.5
        self.known = rng.random(len(ALL)) > undecided
        self.settled, self.looked_at = [], []

    def bounds(self, archs):
        return self.hope[[PLACE[arch.text] for arch in archs]], np.zeros(len(archs), dtype=bool)

    def exact(self, archs):
        self.settled += [arch.text for arch in archs]
        return self.values[[PLACE[arch.text] for arch in archs]]

    def decide(self, archs):
        places = [PLACE[arch.text] for arch in archs]
        return np.where(self.known[places], np.where(self.right[places], 1, -1), 0)

    def feasible(self, archs):
        self.looked_at += [arch.text for arch in archs]
        return self.right[[PLACE[arch.text] for arch in archs]]


def expected(slow):
    good = [i for i in range(len(ALL)) if slow.right[i] and np.isfinite(slow.values[i])]
    return sorted(good, key=lambda i: (-slow.values[i], ALL[i].text))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.4, 1.0]))
def test_the_order_is_that_of_the_last_word(seed, undecided):
    slow = Slow(np.random.default_rng(seed), undecided)
    pool = Pool(SPACE, WithinLimits(slow, slow), checks=len(ALL))
    pool.add(ALL)
    best = [PLACE[pool.archs[key].text] for key in pool.best(10)]
    assert best == expected(slow)[:10]
    assert len(set(slow.settled)) == len(slow.settled)  # nobody is asked twice
    assert len(slow.settled) < len(ALL) / 3  # most were never asked about
    assert not {text for text in slow.looked_at if slow.known[PLACE[text]]}
    assert [PLACE[pool.archs[key].text] for key in pool.ranked()] == expected(slow)


def test_climbing_goes_to_what_is_better_by_the_last_word():
    slow = Slow(np.random.default_rng(3), 0.5)
    slow.values = np.array([float(sum(layer["w"] for run in SPACE.layers(arch) for layer in run)) for arch in ALL])
    slow.hope = slow.values + 2
    slow.right[:] = True
    pool = Pool(SPACE, WithinLimits(slow, slow))
    pool.add(ALL[:3])
    pool.climb()
    assert slow.values[PLACE[pool.archs[pool.best(1)[0]].text]] == slow.values.max()


def test_no_more_than_so_many_are_settled():
    slow = Slow(np.random.default_rng(1), 1.0)
    pool = Pool(SPACE, WithinLimits(slow, slow), checks=50)
    pool.add(ALL)
    assert all(slow.right[PLACE[pool.archs[key].text]] for key in pool.ranked())
    assert len(slow.looked_at) == 50


def test_exact_values_of_several_networks_at_once():
    slow = Slow(np.random.default_rng(5), 0.5)
    within = WithinLimits(slow, slow)
    bounds, exact = within.bounds(ALL)
    kept = np.flatnonzero(~np.isnan(bounds))
    assert not exact[kept].any()
    assert slow.right[kept].any()
    assert not slow.right[kept].all()
    values = within.exact([ALL[row] for row in kept])
    np.testing.assert_array_equal(values, np.where(slow.right, slow.values, np.nan)[kept])
    assert (np.nan_to_num(values, nan=-np.inf) <= bounds[kept]).all()
    assert set(slow.looked_at) == {ALL[row].text for row in kept if not slow.known[row]}


def enclosed(rng):
    """A cost between two sums: the lower one, and a share of the way that differs from network to network."""
    low = Additive(3.0, tuple(rng.uniform(0, 4, unit.size) for unit in SPACE.units))
    high = Additive(3.5, tuple(table + rng.uniform(0, 2, table.size) for table in low.tables))
    share = 0.4 + rng.uniform(-0.2, 0.2, len(ALL))
    lower, upper = low.totals(INDICES), high.totals(INDICES)
    return Bounds(low, high), lower + share * (upper - lower)


def limited(bounds, cost, where, score, slow=True):
    def evaluate(archs):
        return cost[[PLACE[arch.text] for arch in archs]]

    table, off = bounds.likely(INDICES[::7], cost[::7])
    metric = Metric(evaluate, table, margin=off, bounds=bounds, slow=slow)
    return Limited(SPACE, score, parse_where(where), {"cost": metric})


def assert_builds_the_best(problem, score, true):
    """Of the networks that keep the limits, which ``true`` says."""
    truth = score.totals(INDICES)
    tables = dict(zip((unit.name for unit in SPACE.units), score.tables, strict=True))
    evaluator = Evaluator(lambda archs: truth[[PLACE[arch.text] for arch in archs]])
    built = build_refined(SPACE, tables, evaluator, top=5, limited=problem)
    assert all(true[PLACE[arch.text]] for arch in built)
    best = sorted(truth[true], reverse=True)[:5]
    assert [truth[PLACE[arch.text]] for arch in built] == pytest.approx(best, abs=0.05)


@pytest.mark.parametrize("where", ["cost <= 9", "2*cost - 1 < 16", "cost >= 11", "7 <= cost <= 9", "-cost >= -9"])
@pytest.mark.parametrize("seed", range(4))
def test_sums_that_enclose_a_cost_decide_rightly_and_the_rest_is_computed(where, seed):
    rng = np.random.default_rng(seed)
    bounds, cost = enclosed(rng)
    score = Additive(0.0, tuple(rng.normal(size=unit.size) for unit in SPACE.units))
    problem = limited(bounds, cost, where, score)
    true = np.all([limit.holds(limit.evaluate(lambda name: cost)) for limit in problem.limits], axis=0)
    verdict = problem.decide(ALL)
    assert true[verdict == 1].all()
    assert (~true[verdict == -1]).mean() > 0.97  # what is unlikely is left out as well
    if (problem.limits[0].linear or {}).get("cost"):
        hardest = [problem._at(limit, pessimistic=True) for limit in problem.limits]
        for arch in itertools.islice(problem._assembled(hardest), 50):
            assert true[PLACE[arch.text]]  # certain means certain
    assert_builds_the_best(problem, score, true)


def nearly_a_sum(rng):
    """An effect of every layer's width and kernel, and some chance."""
    effect = {name: rng.uniform(0, 3, 4) for name in "wk"}
    of_layers = [sum(effect[name][layer[name]] for run in SPACE.layers(arch) for layer in run for name in "wk")
                 for arch in ALL]  # fmt: skip
    return np.array(of_layers) + rng.normal(0, 0.5, len(ALL))


def only_fitted(cost, where, score):
    """A cost that no sums enclose: its sum is fitted to a few networks."""

    def evaluate(archs):
        return cost[[PLACE[arch.text] for arch in archs]]

    fit = partial(fitted_sum, SPACE)
    some = np.random.default_rng(0).choice(len(ALL), 60, replace=False)
    table, off = fit(INDICES[some], cost[some])
    metric = Metric(evaluate, table, margin=off, fit=fit, known=(INDICES[some], cost[some]), slow=True)
    return Limited(SPACE, score, parse_where(where), {"cost": metric})


@pytest.mark.parametrize("where", ["cost <= 13", "2*cost - 1 < 26", "cost >= 13", "11 <= cost <= 13"])
@pytest.mark.parametrize("seed", range(3))
def test_a_fitted_sum_leads_to_the_best_networks_and_decides_nothing_for_certain(where, seed):
    rng = np.random.default_rng(seed)
    cost = nearly_a_sum(rng)
    score = Additive(0.0, tuple(rng.normal(size=unit.size) for unit in SPACE.units))
    problem = only_fitted(cost, where, score)
    true = np.all([limit.holds(limit.evaluate(lambda name: cost)) for limit in problem.limits], axis=0)
    verdict = problem.decide(ALL)
    assert set(verdict) <= {0, -1}
    assert (~true[verdict == -1]).mean() > 0.97
    assert_builds_the_best(problem, score, true)
    for unit, kept in enumerate(problem.possible()):  # nothing is dropped that some network within the limits has
        assert set(INDICES[true, unit]) <= set(kept.tolist())


def test_a_limit_that_no_network_keeps_is_refused_with_what_was_computed():
    nothing = {unit.name: np.zeros(unit.size) for unit in SPACE.units}
    problem = only_fitted(nearly_a_sum(np.random.default_rng(0)), "cost <= -9", Additive(0.0, tuple(nothing.values())))
    with pytest.raises(NoNetworkError, match=r"cost <= -9: cost of \d+ networks near it is "):
        build_refined(SPACE, nothing, Evaluator(lambda archs: np.zeros(len(archs))), limited=problem)


def test_a_sum_is_found_again_and_what_is_none_has_a_margin():
    rng = np.random.default_rng(0)
    some = rng.choice(len(ALL), 80, replace=False)
    additive = np.array([1.0 + 3 * sum(layer["w"] == 2 for run in SPACE.layers(arch) for layer in run) for arch in ALL])
    for noise in (0.0, 0.7):
        values = additive + rng.normal(0, noise, len(ALL))
        given = values[some]
        given[:5] = np.nan
        table, off = fitted_sum(SPACE, INDICES[some], given)
        error = table.totals(INDICES) - values
        assert np.sqrt((error**2).mean()) == pytest.approx(off, rel=0.3, abs=1e-3)
        assert off == pytest.approx(noise, rel=0.3, abs=1e-3)
    few, off = fitted_sum(SPACE, INDICES[:1], [4.0])
    assert few.totals(INDICES[:3]).tolist() == [4.0] * 3
    assert off == 0


def test_an_impossible_limit_is_proven_by_the_lower_sums():
    bounds, cost = enclosed(np.random.default_rng(0))
    score = Additive(0.0, tuple(np.zeros(unit.size) for unit in SPACE.units))
    problem = limited(bounds, cost, f"cost <= {bounds.lower.least - 0.1}", score)
    assert "out of reach whatever the other limits" in str(problem.refuse())


@given(st.integers(0, 10**6))
def test_the_likely_sum_lies_between_and_comes_near(seed):
    rng = np.random.default_rng(seed)
    bounds, cost = enclosed(rng)
    table, off = bounds.likely(INDICES, cost)
    found = table.totals(INDICES)
    assert (found >= bounds.lower.totals(INDICES) - 1e-9).all()
    assert (found <= bounds.upper.totals(INDICES) + 1e-9).all()
    assert off == pytest.approx(np.sqrt(((found - cost) ** 2).sum() / (len(cost) - 4)))
    middle = (bounds.lower.totals(INDICES) + bounds.upper.totals(INDICES)) / 2
    assert ((found - cost) ** 2).sum() <= ((middle - cost) ** 2).sum() + 1e-9
