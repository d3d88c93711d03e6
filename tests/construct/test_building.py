"""Building by the full predictor: the true optimum of small spaces, limits that hold, prices, fronts, and diversity."""

import itertools

import numpy as np
import pytest

import autobuild as ab
from autobuild.construct import Evaluator, NoNetworkError, build_refined
from autobuild.construct.local_search import layers_apart, propose_and_climb
from autobuild.errors import ConfigError

SPACE = ab.sequence_space("s", {"a": [1, 2], "b": [1, 2], "c": 1}, {"w": [1, 2, 3], "k": [1, 2]}, text="w{w}k{k}")
ALL = [SPACE.assemble(i) for i in itertools.product(*(range(unit.size) for unit in SPACE.units))]
RNG = np.random.default_rng(0)
TRUTH = {arch.text: value for arch, value in zip(ALL, RNG.normal(size=len(ALL)), strict=True)}


def judge(archs):
    return np.array([TRUTH[arch.text] for arch in archs])


def tables(seed):
    rng = np.random.default_rng(seed)
    return {unit.name: rng.normal(size=unit.size) for unit in SPACE.units}


def test_with_enough_proposals_the_order_is_the_predictors_own():
    built = build_refined(SPACE, tables(1), Evaluator(judge), top=25, proposals=len(ALL))
    order = sorted(ALL, key=lambda arch: (-TRUTH[arch.text], arch.text))
    assert built == order[:25]


def test_climbing_reaches_what_was_not_proposed():
    """A smooth truth, and proposals in the order of a score that knows nothing."""
    smooth = {arch.text: sum(layer["w"] + layer["k"] for run in SPACE.layers(arch) for layer in run) for arch in ALL}
    worst = iter(sorted(ALL, key=lambda arch: smooth[arch.text]))
    evaluator = Evaluator(lambda archs: np.array([float(smooth[a.text]) for a in archs]))
    pool = propose_and_climb(SPACE, worst, evaluator, 5)
    best = pool.archs[pool.best(1)[0]]
    assert smooth[best.text] == max(smooth.values())


def test_networks_are_as_far_apart_as_asked():
    built = build_refined(SPACE, tables(2), Evaluator(judge), top=6, apart=3)
    assert len(built) == 6
    assert min(layers_apart(a, b) for a, b in itertools.combinations(built, 2)) >= 3
    assert built[0] == build_refined(SPACE, tables(2), Evaluator(judge), top=1)[0]
    with pytest.raises(ConfigError, match="apart=-1"):
        build_refined(SPACE, tables(2), Evaluator(judge), apart=-1)


@pytest.fixture(scope="module")
def limited():
    rng = np.random.default_rng(1)
    cost = {unit.name: rng.uniform(1, 3, unit.size) for unit in SPACE.units}
    rows = [ALL[i] for i in rng.permutation(len(ALL))[:150]]
    acc, ms = [], []
    for arch in rows:
        indices = dict(zip(cost, SPACE.indices(arch), strict=True))
        ms.append(sum(1.0 + layer["w"] * layer["k"] for run in SPACE.layers(arch) for layer in run))
        acc.append(sum(layer["w"] + 0.7 * layer["k"] for run in SPACE.layers(arch) for layer in run))
        assert indices
    import pandas as pd

    noise = 0.05 * rng.normal(size=(2, len(rows)))
    frame = {"arch": [a.text for a in rows], "acc": np.array(acc) + noise[0], "ms": np.array(ms) + noise[1]}
    return ab.LabelledSet.from_frame(pd.DataFrame(frame), SPACE)


def milliseconds(arch):
    return sum(1.0 + layer["w"] * layer["k"] for run in SPACE.layers(arch) for layer in run)


def accuracy(arch):
    return sum(layer["w"] + 0.7 * layer["k"] for run in SPACE.layers(arch) for layer in run)


def test_limits_hold_and_the_best_under_them_is_found(limited):
    scores = ab.fit(limited, "acc", model="gp").explain()
    built = scores.build(top=5, where="ms <= 14.5")
    assert (built.frame["ms"] <= 14.5).all()
    best = max((arch for arch in ALL if milliseconds(arch) <= 14.5), key=accuracy)
    assert accuracy(built[0]) >= accuracy(best) - 0.31  # the next values below the best are 0.3 apart
    assert milliseconds(built[0]) <= 14.5 + 0.5  # predicted, not measured
    prices = built.prices
    assert prices["limit"].tolist() == ["ms <= 14.5"]
    assert prices["gain"].iloc[0] >= 0


def test_another_limit_is_solved_without_refitting(limited, monkeypatch):
    scores = ab.fit(limited, "acc", model="gp").explain()
    first = scores.build(top=1, where="ms <= 14.5")
    monkeypatch.setattr("autobuild.construct._limit_metrics.fit_again", None)  # whatever fits now fails
    looser = scores.build(top=1, where="ms <= 17")
    assert looser.predicted[0] > first.predicted[0]


def test_an_unreachable_limit_names_itself_and_the_nearest_network(limited):
    scores = ab.fit(limited, "acc", model="gp").explain()
    with pytest.raises(NoNetworkError, match=r"ms <= 2: out of reach .* the least that a network has is") as error:
        scores.build(where="ms <= 2")
    assert milliseconds(error.value.nearest) == min(map(milliseconds, ALL))
    with pytest.raises(ConfigError, match="did you mean 'ms'"):
        scores.build(where="msec <= 2")


def test_the_predicted_front_is_not_beaten_by_the_rest(limited):
    up, fast = (ab.fit(limited, target, model="gp").explain() for target in ("acc", "-ms"))
    front = ab.pareto([up, fast])
    assert list(front.columns) == ["arch", "acc", "-ms"]
    values = np.column_stack([scores.model.predict_mean(ALL) for scores in (up, fast)])
    known = front[["acc", "-ms"]].to_numpy()
    beaten = [(values >= row).all(axis=1) & (values > row + 0.05).any(axis=1) for row in known]
    assert np.mean([own.any() for own in beaten]) < 0.2  # the front of sums proposes; a remainder may hide a few
    with pytest.raises(ConfigError, match="two or three"):
        ab.pareto([up])
    with pytest.raises(ConfigError, match="accepted are different ones"):
        ab.pareto([up, up])
    for given, told in (
        ({"time_limit_s": 0}, "time_limit_s"),
        ({"time_limit_s": float("nan")}, "time_limit_s"),
        ({"top": 10**6}, "from 1 to 100,000"),
    ):
        with pytest.raises(ConfigError, match=told):
            up.build(**given)
    assert len(up.build(top=np.int64(2), apart=np.int64(1))) == 2
    for wrong, call in ((up.model, ab.build), (up, ab.explain)):
        with pytest.raises(ConfigError, match="accepted, as"):
            call(wrong)


def test_a_column_that_is_a_cost_written_down_means_the_cost():
    labels = ab.LabelledSet.read("tiny_mbconv", ab.space("tiny_mbconv"), n=80)
    scores = ab.fit(labels, "acc", model="gp").explain()
    built = scores.build(top=2, where="params <= 6000")
    assert (built.frame["params"] == ab.costs(labels.space)["params"](list(built))).all()
    assert (built.frame["params"] <= 6000).all()
    frame = labels.frame.assign(params=labels.frame["params"] / 1e6)
    other = ab.LabelledSet.from_frame(frame, labels.space)  # in millions: no longer the cost
    with pytest.raises(ConfigError, match=r"label\.params or cost\.params"):
        scores.build(where="params <= 6000", labels=other)
