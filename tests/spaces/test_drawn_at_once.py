"""Architectures of many units are drawn with one call of the generator, and are the same as drawn one by one."""

import numpy as np
import pytest

import autobuild as ab
from autobuild.spaces.sampling import _drawer


@pytest.mark.parametrize("kept", [False, True])
def test_the_same_numbers_give_the_same_architectures(kept):
    units = {f"u{i}": 1 + i % 3 for i in range(12)}
    space = ab.sequence_space("many", units, {"q": [1, 2, 3], "w": list(range(7))}).join_units("u3", "u4")
    if kept:
        space = space.restrict({0: [1, 5, 6], "u7": np.arange(9), "u3+u4": [3, 1000]})
    rng = np.random.default_rng(5)
    drawers = [_drawer(unit, "depth", rng) for unit in space.units]
    assert all(draw.bounds() for draw in drawers)
    one_by_one = [tuple(run for draw in drawers for run in draw()) for _ in range(40)]
    assert [arch.runs for arch in space.sample(40, seed=5)] == one_by_one
    again = np.random.default_rng(5)
    space.sample(40, again)
    assert again.integers(10**9) == rng.integers(10**9)  # the generator is where it was


def test_what_takes_unequal_numbers_is_drawn_one_by_one():
    for space in (ab.space("tiny_mbconv"), ab.space("mnasnet")):
        rng = np.random.default_rng(0)
        assert any(_drawer(unit, "depth", rng).bounds() is None for unit in space.units)
