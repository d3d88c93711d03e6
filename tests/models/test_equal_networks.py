"""Targets of the function that networks compute, and targets of their execution."""

import numpy as np
import pandas as pd
import pytest

import autobuild as ab
from autobuild.errors import ConfigError
from autobuild.evaluate import TableEvaluator
from autobuild.models import Describer
from autobuild.rank import srcc

SPACE = ab.space("nas_bench_201")
WORTH = {"none": 0, "skip_connect": 0, "avg_pool_3x3": 1, "nor_conv_1x1": 2, "nor_conv_3x3": 5}
DEAD = "|nor_conv_3x3~0|+|nor_conv_3x3~0|{}~1|+|skip_connect~0|none~1|none~2|"  # edges to nodes that lead nowhere


def _labels(n=90, seed=0, noise=0.05):
    """Cells whose accuracy is of their function, and whose latency is of what is executed."""
    rng = np.random.default_rng(seed)
    archs = list({str(arch): arch for arch in SPACE.sample(n, seed=seed)}.values())
    whole = Describer(SPACE)(archs).whole
    accuracy = 50 + 5 * whole[:, 0] / max(1.0, whole[:, 0].max()) + whole[:, -1] + rng.normal(0, noise, len(archs))
    latency = [3 + sum(WORTH[layer["op"]] for (layer,) in SPACE.layers(arch)) for arch in archs]
    columns = {"acc": accuracy, "latency_ms": latency + rng.normal(0, noise, len(archs)), "alpha": accuracy}
    return ab.LabelledSet.from_frame(pd.DataFrame({"arch": archs, **columns, "beta": columns["latency_ms"]}), SPACE)


@pytest.fixture(scope="module")
def labels():
    return _labels()


@pytest.mark.parametrize(
    ("target", "of"),
    [("acc", "function"), ("-latency_ms", "execution"), ("acc - latency_ms", "execution"), ("alpha", "function"),
     ("-beta", "execution")],
)  # fmt: skip
def test_names_and_twins_tell_what_equal_networks_share(labels, target, of):
    found = labels.target(target)
    assert found.equality.of == of
    assert found.labels.space.equal == of
    keys = len(set(found.labels.keys))
    assert keys == len(labels) if of == "execution" else keys < len(labels)


def test_twins_overrule_a_name(labels):
    many = _labels(400)
    told = ab.LabelledSet.from_frame(many.frame.assign(acc=many.frame["latency_ms"]), SPACE).target("acc").equality
    assert told.of == "execution"
    assert "comparisons" in told.why
    assert labels.target("latency_ms", equal="function").equality.of == "function"
    with pytest.raises(ConfigError, match=r"equal='shape'.*function"):
        labels.target("acc", equal="shape")


def test_latencies_of_twins_are_told_apart(labels, tmp_path):
    model = ab.fit(labels, "-latency_ms", model="gp")
    assert (model.report["equal"]["of"], model.report["views"]) == ("execution", ["written"])
    short, long = (DEAD.format(op) for op in ("none", "nor_conv_3x3"))
    assert SPACE.key(short) == SPACE.key(long)
    assert np.diff(model.predict_mean([long, short])) == pytest.approx(5, abs=1.0)
    other = ab.fit(labels, "acc", model="gp")
    assert np.diff(other.predict_mean([long, short])) == pytest.approx(0)
    again = ab.load_model(model.save(tmp_path / "m"))
    np.testing.assert_allclose(again.predict_mean([long, short]), model.predict_mean([long, short]))
    assert again.space.key(short) != again.space.key(long)


def test_a_compiler_that_prunes_is_recognised():
    archs = list({str(arch): arch for arch in SPACE.sample(120, seed=1)}.values())
    pruned = Describer(SPACE, views=["pruned"])
    latency = [3.0 + sum(WORTH[SPACE.stages[0].layers[d][0]] for (d,) in pruned.simplified(a, "pruned")) for a in archs]
    labels = ab.LabelledSet.from_frame(pd.DataFrame({"arch": archs, "latency_ms": latency}), SPACE)
    model = ab.fit(labels.subset(np.arange(80)), "-latency_ms", model="gp", equal="execution")
    assert model.report["views"] == ["pruned"]
    rest = labels.subset(np.arange(80, len(labels)))
    assert srcc(-model.predict_mean(rest.archs), rest.frame["latency_ms"].to_numpy()) > 0.97


@pytest.fixture(scope="module")
def small():
    """Five cells of one function, as operations of a dead edge differ."""
    kept = [SPACE.indices(DEAD.format("none"))[number : number + 1] for number in range(6)]
    kept[2] = tuple(range(5))
    return SPACE.restrict(dict(zip((unit.name for unit in SPACE.units), kept, strict=True)))


def test_limits_choose_among_equal_networks(labels, small):
    scores = ab.fit(labels, "acc", model="linear").explain(small)
    assert len(scores.build(top=5)) == 1
    least = float(ab.costs(SPACE)["macs"]([SPACE.parse(DEAD.format("none"))])[0])
    (built,) = scores.build(top=5, where=f"macs <= {least}")
    assert ab.costs(SPACE)["macs"]([built])[0] <= least
    assert len(ab.fit(labels, "-latency_ms", model="linear").explain(small).build(top=5)) == 5


def test_a_table_gives_no_latency_of_a_twin():
    short, long = (DEAD.format(op) for op in ("none", "nor_conv_3x3"))
    frame = pd.DataFrame({"arch": [short], "acc": [90.0], "latency_ms": [4.0]})
    table = TableEvaluator.of(ab.LabelledSet.from_frame(frame, SPACE))
    assert table(SPACE, short, 0) == {"acc": 90.0, "latency_ms": 4.0}
    found = table(SPACE.executed(), long, 0)
    assert found["acc"] == 90.0
    assert np.isnan(found["latency_ms"])


@pytest.mark.parametrize(("target", "networks"), [("acc", 1), ("-latency_ms", 5), (("acc", "-latency_ms"), 5)])
def test_a_search_evaluates_a_function_once_and_every_execution(small, target, networks):
    seen = []
    metrics = {"acc": 1.0, "latency_ms": 2.0}
    found = ab.search(
        small, lambda arch: seen.append(str(arch)) or metrics, target=target, n_trials=5, sampler="random"
    )
    assert len(seen) == len(set(seen)) == networks == len(found.evaluated)


def test_executed_spaces_are_stored_and_narrowed():
    told = SPACE.executed()
    assert (
        ab.SearchSpace.from_dict(told.to_dict()).equal
        == told.restrict(op=("none", "nor_conv_3x3")).equal
        == "execution"
    )
    assert told.function().key(DEAD.format("none")) == told.function().key(DEAD.format("nor_conv_3x3"))
    macro = ab.space("nas_bench_macro")
    assert macro.executed() is macro
