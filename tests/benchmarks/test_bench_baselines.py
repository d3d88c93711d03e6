import numpy as np
import pytest

import autobuild as ab
from autobuild.rank import srcc
from benchmarks.baselines import Scale, boosted_trees, gaussian_process, ridge
from benchmarks.columns import Columns
from benchmarks.panel import beyond

pytest.importorskip("xgboost")

SPACE = ab.space("mnasnet")
ARCHS = SPACE.sample(420, 0)
COLUMNS = Columns(SPACE)


def planted(archs, bent: bool) -> np.ndarray:
    """A sum over blocks; bent, with a product of two blocks on top."""
    layers = [SPACE.layers(arch) for arch in archs]
    deep = np.array([[len(stage) for stage in own] for own in layers], dtype=float)
    wide = np.array([[stage[0]["expand"] for stage in own] for own in layers], dtype=float)
    plain = deep @ np.linspace(1, 3, 7) + wide @ np.linspace(2, 1, 7)
    return plain + (6 * (deep[:, 2] - 2) * (wide[:, 4] - 4) if bent else 0)


@pytest.mark.parametrize("fitter", [ridge, gaussian_process, boosted_trees])
@pytest.mark.parametrize("knowledge", [False, True])
def test_a_planted_sum_is_found(fitter, knowledge):
    x = COLUMNS.knowledge(ARCHS) if knowledge else COLUMNS.one_hot(ARCHS)
    y = planted(ARCHS, bent=False)
    assert srcc(fitter(x[:120], y[:120], 0)(x[120:]), y[120:]) > 0.93


def test_a_product_over_blocks_is_found_by_those_that_can():
    x, y = COLUMNS.one_hot(ARCHS), planted(ARCHS, bent=True)
    found = {f.__name__: srcc(f(x[:300], y[:300], 0)(x[300:]), y[300:]) for f in (ridge, boosted_trees)}
    assert found["boosted_trees"] > found["ridge"] + 0.01


def test_predictions_are_in_units_of_the_target():
    x, y = COLUMNS.one_hot(ARCHS), planted(ARCHS, bent=False)
    for fitter in (ridge, gaussian_process, boosted_trees):
        small, large = fitter(x[:100], y[:100], 0)(x[100:]), fitter(x[:100], 50 + 1000 * y[:100], 0)(x[100:])
        assert np.allclose(large, 50 + 1000 * small, rtol=1e-2)


def test_the_seed_decides():
    x, y = COLUMNS.one_hot(ARCHS), planted(ARCHS, bent=True)
    first, again = (boosted_trees(x[:60], y[:60], 5)(x[60:90]) for _ in range(2))
    assert np.array_equal(first, again)


def test_constant_columns_say_nothing():
    x = np.array([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0]])
    scale = Scale(x)
    assert np.allclose(scale(x).mean(axis=0), 0)
    assert (scale(np.array([[2.0, 9.0]])) == 0).all()
    assert (scale(x) ** 2).sum(axis=1).mean() == pytest.approx(1)


def test_one_hot_columns_tell_all_architectures_apart():
    space = ab.space("ofa_mbv3")
    archs = list(dict.fromkeys([*space.neighbours(space.sample(1, 0)[0]), *space.sample(200, 1)]))
    x = Columns(space).one_hot(archs)
    assert set(np.unique(x)) == {0.0, 1.0}
    assert len(np.unique(x, axis=0)) == len(archs)


def test_equal_networks_have_equal_columns_and_others_do_not():
    space = ab.space("nas_bench_macro")
    archs = space.sample(400, 0)
    columns = Columns(space)
    for x in (columns.one_hot(archs), columns.knowledge(archs)):
        _, group = np.unique(x.round(9), axis=0, return_inverse=True)
        keys = [space.key(arch) for arch in archs]
        assert len(set(zip(group.ravel().tolist(), keys, strict=True))) == len(set(keys)) == group.max() + 1


def test_own_costs_of_stages_sum_to_the_networks():
    columns = Columns(SPACE)
    costs = np.stack([cost(ARCHS) for cost in columns.costs.values()], axis=1).astype(float)
    own = sum(np.stack([columns._run(s, arch.runs[s])[2][-3:] for arch in ARCHS]) for s in range(7))
    assert np.allclose((1 + own) * columns._base, costs)


def test_the_panel_predicts_beyond_what_it_was_fitted_on():
    table = beyond(COLUMNS, ARCHS, planted(ARCHS, bent=False), 0.1).set_index("member")
    assert table.loc["panel", "SRCC"] > 0.7
    assert abs(table.loc["GP", "mean error"]) < abs(table.loc["XGBoost", "mean error"])  # trees cannot extrapolate
