"""Climbing a front: against all networks of a small space, from proposals that know little."""

import itertools

import numpy as np
import pytest

import autobuild as ab
from autobuild.construct.dominance import undominated
from autobuild.construct.local_search import climb_front

SPACE = ab.sequence_space("s", {"a": [1, 2], "b": [1, 2], "c": 1}, {"w": [1, 2, 3], "k": [1, 2]}, text="w{w}k{k}")
ALL = [SPACE.assemble(i) for i in itertools.product(*(range(unit.size) for unit in SPACE.units))]


def targets(archs):
    """Accuracy saturates and layers act on each other; cost grows with width times kernel."""
    rows = []
    for arch in archs:
        layers = [layer for run in SPACE.layers(arch) for layer in run]
        width, kernel = sum(layer["w"] for layer in layers), sum(layer["k"] for layer in layers)
        cost = sum(layer["w"] * layer["k"] ** 2 for layer in layers)
        rows.append((np.sqrt(width * kernel), -cost))
    return np.array(rows, dtype=float)


@pytest.mark.parametrize("start", [0, 7, len(ALL) // 2])
def test_the_front_of_all_networks_is_reached_from_any_one(start):
    archs, values = climb_front(SPACE, [ALL[start]], targets)
    truth = targets(ALL)
    assert {tuple(row) for row in values} == {tuple(row) for row in truth[undominated(truth)]}
    assert targets(archs) == pytest.approx(values)
    assert (np.diff(values[:, 0]) <= 0).all()


def test_nothing_is_judged_twice_and_the_limit_holds():
    seen = []

    def judge(archs):
        seen.extend(arch.text for arch in archs)
        return targets(archs)

    climb_front(SPACE, ALL[:3] * 2, judge, most=3)
    assert seen == [arch.text for arch in ALL[:3]]
    climb_front(SPACE, ALL[:3], judge, most=40)
    assert len(seen[3:]) == len(set(seen[3:]))


def test_a_front_holds_the_best_network_of_each_target(small_labels):
    models = [ab.fit(small_labels, target, model="gp") for target in ("acc", "-latency")]
    scores = [model.explain() for model in models]
    front = ab.pareto(scores)
    for model, own in zip(models, scores, strict=True):
        best = own.build(top=1)
        assert front[model.target].max() >= best.predicted[0] - 1e-9


def test_a_network_without_a_value_is_on_no_front():
    def judge(archs):
        values = targets(archs)
        values[[arch == ALL[-1] for arch in archs], 1] = -np.inf  # the best of all in the first target
        return values

    archs, values = climb_front(SPACE, ALL, judge)
    assert ALL[-1] not in archs
    assert np.isfinite(values).all()
    assert len(archs) > 1
