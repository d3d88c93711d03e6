"""Solving under limits against brute force over all assemblies."""

from __future__ import annotations

import itertools
import math
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autobuild.construct import Additive, Problem, SearchLimit, k_best, parse_where
from autobuild.construct.dominance import undominated
from autobuild.errors import ConfigError

few = st.integers(-2, 2).map(float)  # many ties, all sums exact
tenths = st.integers(-5, 5).map(lambda x: x / 10)  # sums that only differ below rounding
anything = st.floats(-100, 100)


@st.composite
def problems(draw):
    """A score, up to three metrics, and limits whose bounds are values that assemblies have."""
    element = draw(st.sampled_from([few, tenths, anything]))
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))

    def additive():
        tables = tuple(np.array(draw(st.lists(element, min_size=size, max_size=size))) for size in sizes)
        return Additive(draw(element), tables)

    score, metrics = additive(), {f"m{i}": additive() for i in range(draw(st.integers(0, 3)))}
    texts = []
    for name, metric in metrics.items():
        values = [float(value) for value in metric.totals(everything(score))]
        for _ in range(draw(st.integers(1, 2))):
            texts.append(f"{name} {draw(st.sampled_from(['<=', '<', '>=', '>']))} {draw(st.sampled_from(values))!r}")
    return score, metrics, parse_where(" and ".join(texts)) if texts else ()


def everything(score):
    return list(itertools.product(*map(range, score.sizes)))


def brute_force(score, metrics, limits):
    """Feasible assemblies sorted by exact score, then by indices."""
    rows = everything(score)
    right = np.ones(len(rows), dtype=bool)
    for limit in limits:
        right &= limit.holds(limit.additive(metrics).totals(rows))
    exact = [
        (-sum((Fraction(float(t[i])) for t, i in zip(score.tables, row, strict=True)), Fraction(score.constant)), row)
        for row in np.array(rows)[right].tolist()
    ]
    return [tuple(row) for _, row in sorted(exact)]


@settings(max_examples=300, deadline=None)
@given(problems(), st.integers(1, 12))
def test_the_k_best_equal_brute_force(problem, k):
    score, metrics, limits = problem
    found = Problem(score, metrics).k_best(limits, k)
    expected = brute_force(score, metrics, limits)
    assert found.complete
    assert [indices for _, indices in found] == expected[:k]
    assert found.scores.tolist() == score.totals(expected[:k]).tolist()
    assert found.proven == len(found) == min(k, len(expected))


@settings(max_examples=300, deadline=None)
@given(problems())
def test_the_best_equals_brute_force_and_nothing_fits_where_nothing_does(problem):
    score, metrics, limits = problem
    solved = Problem(score, metrics).best(limits)
    expected = brute_force(score, metrics, limits)
    if not expected:
        assert (solved.status, solved.best) == ("infeasible", None)
        return
    assert solved.status == "optimal"
    assert solved.score == score.totals(expected[:1])[0] == solved.bound
    assert solved.best in expected  # dropping dominated candidates may pick another one of equal score
    assert solved.gap == 0


@settings(max_examples=100, deadline=None)
@given(problems())
def test_all_feasible_assemblies_come_lazily_in_order(problem):
    score, metrics, limits = problem
    found = list(Problem(score, metrics).assemblies(limits, first=1))
    assert [indices for _, indices in found] == brute_force(score, metrics, limits)


@settings(max_examples=100, deadline=None)
@given(problems())
def test_the_nearest_network_has_the_least_violation(problem):
    score, metrics, limits = problem
    found = Problem(score, metrics).why_infeasible(limits)
    if brute_force(score, metrics, limits):
        assert found is None
        return
    rows = everything(score)
    total = np.zeros(len(rows))
    for limit in limits:
        tables = limit.additive(metrics)
        span = tables.greatest - tables.least
        size = abs(limit.bound) if abs(limit.bound) > 1e-3 * span else span or 1.0
        total += np.array([limit.excess(value) for value in tables.totals(rows)]) / size
    assert found.proven
    assert found.violation == pytest.approx(total.min(), abs=1e-6)
    assert found.indices in [tuple(row) for row in rows]
    # what is said to be feasible is, with this very network, and best among what satisfies it
    relaxed = brute_force(score, metrics, found.relaxed)
    assert found.indices in relaxed
    assert score.totals(relaxed[:1])[0] == found.score
    for item in found.limits:
        values = item.limit.additive(metrics).totals(rows)
        assert item.alone == bool(item.limit.holds(values).any())
        assert item.reachable == (values.min() if item.limit.sign > 0 else values.max())


def test_without_limits_it_is_the_plain_k_best():
    rng = np.random.default_rng(0)
    tables = [rng.normal(size=300).round(2) for _ in range(4)]
    found = Problem(Additive(0.0, tuple(tables))).k_best((), 500)
    expected = list(k_best(tables, 500))
    assert found.scores.tolist() == [score for score, _ in expected]
    assert [indices for _, indices in found] == [indices for _, indices in expected]


def test_a_dominated_candidate_may_be_second_best():
    problem = Problem(Additive(0.0, (np.array([3.0, 2.0, 0.0]),)), {"ms": Additive(0.0, (np.array([1.0, 2.0, 0.5]),))})
    limits = parse_where("ms <= 2")
    assert problem.best(limits).dropped == 1
    assert [indices for _, indices in problem.k_best(limits, 3)] == [(0,), (1,), (2,)]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.tuples(*[few | st.just(-math.inf)] * n), max_size=30)))
def test_undominated_rows(rows):
    values = np.array(rows).reshape(len(rows), len(rows[0]) if rows else 3)
    expected = [
        i
        for i, row in enumerate(values)
        if not any((other >= row).all() and ((other > row).any() or j < i) for j, other in enumerate(values))
    ]
    assert undominated(values).tolist() == expected


def random_problem(seed, units=7, size=1000, hard=False):
    rng = np.random.default_rng(seed)
    metrics = {f"m{i}": Additive(0.0, tuple(rng.uniform(size=size) for _ in range(units))) for i in range(3)}
    noise = [rng.normal(size=size) for _ in range(units)]
    if hard:  # nearly a combination of the limited costs
        weighted = zip((1.0, 0.7, 1.3), metrics.values(), strict=True)
        parts = [[weight * table for table in metric.tables] for weight, metric in weighted]
        noise = [sum(unit) + 1e-3 * own for *unit, own in zip(*parts, noise, strict=True)]
    return Problem(Additive(0.0, tuple(noise)), metrics, time_limit_s=10)


@pytest.mark.parametrize("seed", range(3))
def test_seven_units_of_a_thousand_with_three_limits_in_seconds(seed):
    problem = random_problem(seed)
    limits = parse_where("m0 <= 2.5 and m1 <= 2 and m2 <= 1.5")
    started = time.monotonic()
    solved = problem.best(limits)
    assert time.monotonic() - started < 10
    assert solved.status == "optimal"
    ten = problem.k_best(limits, 10)
    assert ten.scores[0] == solved.score
    from scipy.optimize import Bounds, LinearConstraint, milp

    sizes, score = problem.score.sizes, np.concatenate(problem.score.tables)
    owner = np.repeat(np.arange(7), sizes)
    use = np.array([np.concatenate(metric.tables) for metric in problem.metrics.values()])
    both = [
        LinearConstraint((owner == np.arange(7)[:, None]).astype(float), 1, 1),
        LinearConstraint(use, -np.inf, [2.5, 2, 1.5]),
    ]
    other = milp(
        -score, integrality=np.ones(score.size), bounds=Bounds(0, 1), constraints=both, options={"mip_rel_gap": 0}
    )
    assert -other.fun == pytest.approx(solved.score, abs=1e-7)


def test_a_hard_instance_comes_back_in_time_with_bound_and_gap():
    problem = random_problem(0, hard=True)
    limits = parse_where("m0 <= 2.5 and m1 <= 2.5 and m2 <= 2.5")
    started = time.monotonic()
    solved = Problem(problem.score, problem.metrics, time_limit_s=10).best(limits)
    assert time.monotonic() - started < 40  # a busy machine may take longer than asked to notice
    assert solved.status == "time limit"
    assert solved.best is not None
    assert all(limit.holds(limit.additive(problem.metrics).totals([solved.best]))[0] for limit in limits)
    assert solved.gap == solved.bound - solved.score
    assert solved.gap > 0  # how small depends on what else the machine is doing
    relaxed = Problem(problem.score, problem.metrics).best()
    assert solved.score < solved.bound < relaxed.score  # the limits cost something, and the bound knows it
    assert "not proven best: none scores more than" in str(solved)


@pytest.mark.parametrize("seed", [0, 1])
def test_eight_hundred_units_under_two_limits_are_solved_exactly(seed):
    """Mixed precision at the size of a large U-Net. No better configuration differs in one or two units."""
    rng = np.random.default_rng(seed)
    sizes = rng.choice([1e5, 4e5, 1.6e6, 6.5e6, 1.3e7], 800)
    bits, work = np.array([2.0, 3.0, 4.0]), sizes * rng.choice([16384, 4096, 1024, 77], 800)
    loss = rng.lognormal(size=800) * np.sqrt(sizes)
    score = Additive(0.0, tuple(-loss_ * 4.0**-bits * np.exp(rng.normal(0, 0.1, 3)) for loss_ in loss))
    metrics = {
        "bits": Additive(0.0, tuple(size * bits / sizes.sum() for size in sizes)),
        "bops": Additive(0.0, tuple(own * bits / work.sum() for own in work)),
    }
    limits = parse_where("bits <= 3.1 and bops <= 3.0")
    solved = Problem(score, metrics, time_limit_s=120).best(limits)
    assert solved.status == "optimal"
    best = np.array(solved.best)
    tables = [np.stack(item.tables) for item in (score, *metrics.values())]
    rows = np.arange(800)
    value, *used = (table[rows, best].sum() for table in tables)
    assert max(used[0] / 3.1, used[1] / 3.0) <= 1
    gain, *more = (table - table[rows, best][:, None] for table in tables)
    gain, more = gain.ravel(), [own.ravel() for own in more]
    first = np.argsort(-gain)[:800]
    better = gain[first, None] + gain > 1e-9 * abs(value)
    fits = np.ones_like(better)
    for own, use, bound in zip(more, used, (3.1, 3.0), strict=True):
        fits &= use + own[first, None] + own <= bound - 1e-9
    other = (first // 3)[:, None] != np.arange(2400) // 3
    assert not (better & fits & other).any()


def test_hundreds_of_units_come_back_where_the_work_ends():
    """Nothing is found in bands, so that a beam search gives what there is."""
    rng = np.random.default_rng(0)
    score, metric = (Additive(0.0, tuple(rng.normal(size=(1200, 3)))) for _ in range(2))
    limits = parse_where(f"m <= {metric.least / 2!r}")
    found = Problem(score, {"m": metric}, max_work=1, time_limit_s=0.02).best(limits)
    assert found.status == "time limit"
    assert limits[0].holds(metric.totals([found.best]))[0]


def test_a_search_that_ends_early_says_how_many_are_proven():
    problem = random_problem(1)
    limits = parse_where("m0 <= 1.5 and m1 <= 1.5 and m2 <= 1.5")
    full = problem.k_best(limits, 2000)
    small = Problem(problem.score, problem.metrics, max_work=20_000)
    part = small.k_best(limits, 2000)
    assert full.complete
    assert not part.complete
    assert part.proven < 2000
    assert part.scores[: part.proven].tolist() == full.scores[: part.proven].tolist()
    came = []
    with pytest.raises(SearchLimit, match="are proven the best ones") as error:
        came.extend(small.assemblies(limits))
    assert error.value.proven >= part.proven
    lazily = list(itertools.islice(small.assemblies(limits), error.value.proven))
    assert [score for score, _ in lazily] == full.scores[: error.value.proven].tolist()


def test_prices_are_finite_differences():
    problem = random_problem(4, units=3, size=20)
    limits = parse_where("m0 <= 0.8 and m1 <= 0.8 and m2 >= 1.2 and m0 >= 0.01")
    frame = problem.prices(limits, step=0.2)
    base = problem.score.totals(brute_force(problem.score, problem.metrics, limits)[:1])[0]
    for number, row in enumerate(frame.itertuples(index=False)):
        looser = [*limits[:number], limits[number].with_bound(row.relaxed_to), *limits[number + 1 :]]
        best = problem.score.totals(brute_force(problem.score, problem.metrics, looser)[:1])[0]
        assert row.gain == pytest.approx(best - base, abs=1e-12)
        assert row.gain_per_unit == pytest.approx((best - base) / abs(row.relaxed_to - row.bound))
        assert row.slack >= 0
        assert row.proven
        assert row.local_price >= 0
    assert (frame["gain"] > 0).any()
    assert frame["limit"].tolist() == [limit.text for limit in limits]
    with pytest.raises(ConfigError, match="no network to start from"):
        problem.prices(parse_where("m0 <= 0.0001"))


def test_the_message_names_limit_amount_and_what_would_do():
    metrics = {
        "latency": Additive(1.0, (np.array([4.0, 6.0]), np.array([5.0, 7.0]))),
        "params": Additive(0.0, (np.array([30.0, 10.0]), np.array([30.0, 10.0]))),
    }
    score = Additive(0.0, (np.array([1.0, 2.0]), np.array([3.0, 4.0])))
    one = Problem(score, metrics).why_infeasible(parse_where("latency <= 8 and params <= 100"))
    assert "latency <= 8: out of reach whatever the other limits, the least that a network has is 10" in one.message
    assert "latency = 10, 2 above 8" in one.message
    assert "feasible would be: latency <= 10 and params <= 100" in one.message
    together = Problem(score, metrics).why_infeasible(parse_where("latency <= 12 and params <= 30"))
    assert "no network satisfies all limits together" in together.message
    assert Problem(score, metrics).why_infeasible(parse_where("latency <= 12")) is None


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Additive(0.0, ()), "given no unit"),
        (lambda: Additive(math.nan, (np.ones(1),)), "the constant is nan"),
        (lambda: Additive(0.0, (np.ones(1), np.array([1.0, math.inf]))), "unit 1: candidate 1 has inf"),
        (lambda: Problem(Additive(0.0, (np.ones(2),)), {"ms": Additive(0.0, (np.ones(3),))}), "tables of 'ms'"),
        (lambda: Problem(Additive(0.0, (np.ones(2),)), time_limit_s=0), "time_limit_s=0"),
        (lambda: Problem(Additive(0.0, (np.ones(2),))).k_best((), 0), "k=0"),
        (lambda: Problem(Additive(0.0, (np.ones(2),))).best(parse_where("ms <= 3")), "no additive table of 'ms'"),
    ],
)
def test_bad_input_is_refused(make, said):
    with pytest.raises(ConfigError) as error:
        make()
    assert said in str(error.value)


@pytest.mark.parametrize("held", [1 << 21, 500])
@pytest.mark.parametrize("rest", [1 << 18, 1, 40])
def test_two_limits_close_to_each_other(held, rest, monkeypatch):
    monkeypatch.setattr("autobuild.construct._branch_and_bound.HELD", held)
    monkeypatch.setattr("autobuild.construct._branch_and_bound.REST", rest)
    problem = random_problem(3, units=4, size=14)
    limits = parse_where("m0 >= 1.9 and m0 <= 1.91 and m1 <= 2")
    solved = problem.k_best(limits, 30)
    assert solved.complete
    assert len(solved) == 30
    expected = brute_force(problem.score, problem.metrics, limits)[:30]
    assert [tuple(row) for row in solved.indices.tolist()] == expected
