from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autobuild.construct import Additive, additive_front, hypervolume
from autobuild.construct.dominance import undominated
from autobuild.errors import ConfigError

whole = st.integers(-3, 3).map(float)


def unbeaten(values):
    return {tuple(row) for row in values if not any((other >= row).all() and (other > row).any() for other in values)}


@st.composite
def targets(draw):
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    return [
        Additive(1.0, tuple(np.array(draw(st.lists(whole, min_size=size, max_size=size))) for size in sizes))
        for _ in range(draw(st.integers(2, 3)))
    ]


@settings(max_examples=200, deadline=None)
@given(targets())
def test_the_front_equals_brute_force(goals):
    rows = list(itertools.product(*map(range, goals[0].sizes)))
    values = np.stack([goal.totals(rows) for goal in goals], axis=1)
    front = additive_front(goals)
    assert front.exact
    assert len(front) == len(unbeaten(values))
    assert set(map(tuple, front.values)) == unbeaten(values)
    assert np.array_equal(np.stack([goal.totals(front.indices) for goal in goals], axis=1), front.values)
    assert front.values[:, 0].tolist() == sorted(front.values[:, 0], reverse=True)


@pytest.mark.parametrize("columns", [2, 3, 4])
def test_large_fronts_of_rows(columns):
    values = np.random.default_rng(columns).normal(size=(12_000, columns)).round(2)
    kept = undominated(values)
    assert set(map(tuple, values[kept])) == unbeaten(values[kept])
    for row in values[::37]:  # everything is equalled or beaten by some row of the front
        assert (values[kept] >= row).all(axis=1).any()
    assert len(set(map(tuple, values[kept]))) == len(kept)


@pytest.mark.parametrize("count", [2, 3])
def test_a_thinned_front_loses_no_more_than_it_says(count):
    rng = np.random.default_rng(count)
    goals = [Additive(0.0, tuple(rng.uniform(size=40) ** 2 for _ in range(4))) for _ in range(count)]
    if count == 2:
        goals[1] = Additive(0.0, tuple(1 - table + 0.01 * rng.normal(size=40) for table in goals[0].tables))
    full, thin = additive_front(goals, max_front=1_000_000), additive_front(goals, max_front=60)
    assert full.exact
    assert not thin.exact
    assert len(thin) <= 60
    for value in full.values:
        assert (thin.values + thin.epsilon >= value - 1e-12).all(axis=1).any()


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 3).flatmap(lambda d: st.lists(st.tuples(*[st.integers(-1, 4)] * d), max_size=12)))
def test_hypervolume_counts_unit_cubes(points):
    if not points:
        assert hypervolume(np.zeros((0, 2)), (0, 0)) == 0
        return
    columns = len(points[0])
    cubes = itertools.product(range(4), repeat=columns)
    dominated = sum(any(all(p > c for p, c in zip(point, cube, strict=True)) for point in points) for cube in cubes)
    assert hypervolume(points, np.zeros(columns)) == dominated


def test_bad_input_is_refused():
    goal = Additive(0.0, (np.ones(2),))
    with pytest.raises(ConfigError, match="two or three"):
        additive_front([goal])
    with pytest.raises(ConfigError, match="target 2"):
        additive_front([goal, Additive(0.0, (np.ones(3),))])
    with pytest.raises(ConfigError, match="hypervolume"):
        hypervolume(np.zeros((3, 4)), np.zeros(4))
