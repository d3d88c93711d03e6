"""Few labels, and what is known from elsewhere: costs, sources and features."""

import numpy as np
import pandas as pd
import pytest

import autobuild as ab
from autobuild.errors import ConfigError, FitWarning, LabelError, ModelError, TargetError
from autobuild.rank import srcc

SPACE = ab.space("nas_bench_macro")


def proxy(archs):
    """Nearly the accuracy, for architectures of NAS-Bench-Macro."""
    return np.array([sum((1 + place) * int(digit) for place, digit in enumerate(str(arch))) for arch in archs], float)


@pytest.fixture(scope="module")
def labels():
    archs = list({SPACE.key(arch): arch for arch in SPACE.sample(150, seed=3)}.values())[:120]
    rng = np.random.default_rng(0)
    accuracy, latency = proxy(archs), 1e-8 * ab.costs(SPACE)["macs"](archs) ** 0.8
    table = {
        "acc": accuracy + rng.normal(0, 0.3, len(archs)),
        "other": np.exp(accuracy / 20) + rng.normal(0, 0.02, len(archs)),
        "noise": rng.normal(0, 1, len(archs)),
        "latency_ms": latency * np.exp(rng.normal(0, 0.02, len(archs))),
        "copy": 3.0,
    }
    return ab.LabelledSet.from_frame(pd.DataFrame({"arch": archs, **table}), SPACE)


@pytest.fixture(scope="module")
def rest(labels):
    return labels.subset(np.arange(20, len(labels)))


@pytest.mark.filterwarnings("ignore::autobuild.errors.FitWarning")
def test_five_labels_are_enough_and_their_intervals_wide(labels, rest):
    model = ab.fit(labels.head(5), "acc", model="gp")
    assert model.report["folds"] == 5
    frame = model.predict(rest.archs, level=0.9)
    inside = (frame["lower"] <= rest.frame["acc"]) & (rest.frame["acc"] <= frame["upper"])
    assert inside.mean() >= 0.85
    with pytest.raises(LabelError, match=r"4 usable rows.*at least 5"):
        ab.fit(labels.head(4), "acc", model="gp")
    with pytest.raises(TargetError, match="the same for all 5"):
        ab.fit(labels.head(5), "copy", model="gp")
    assert set(ab.fit(labels.head(8), "acc").weights) <= {"gp", "linear"}


@pytest.mark.filterwarnings("ignore::autobuild.errors.FitWarning")
def test_ten_latencies_vary_about_the_costs(labels, rest):
    model = ab.fit(labels.head(10), "-latency_ms", model="gp")
    assert model.trend
    truth, macs = rest.frame["latency_ms"].to_numpy(), ab.costs(SPACE)["macs"](rest.archs)
    without = ab.fit(labels.head(10), "-latency_ms", model="gp", equal="function")
    assert not without.trend
    found = srcc(-model.predict_mean(rest.archs), truth)
    assert found > max(srcc(-without.predict_mean(rest.archs), truth), srcc(macs, truth) - 0.02)


@pytest.mark.filterwarnings("ignore::autobuild.errors.FitWarning")
def test_a_source_helps_and_one_that_does_not_is_dropped(labels, rest, tmp_path):
    few, truth = labels.head(10), rest.frame["acc"].to_numpy()
    alone = ab.fit(few, "acc", model="gp")
    model = ab.fit(few, "acc", model="gp", sources=[(labels, "other"), (labels, "noise")])
    kept = {row["source"].split()[0]: row["kept"] for row in model.report["sources"]}
    assert kept == {"other": True, "noise": False}
    assert srcc(model.predict_mean(rest.archs), truth) > max(0.95, srcc(alone.predict_mean(rest.archs), truth))
    back = ab.load_model(model.save(tmp_path / "model"))
    np.testing.assert_allclose(back.predict_mean(rest.archs[:9]), model.predict_mean(rest.archs[:9]))
    again = ab.fit(few, "acc", model="gp", sources=[model.known[0].model])
    np.testing.assert_allclose(again.predict_mean(rest.archs[:9]), model.predict_mean(rest.archs[:9]), rtol=1e-6)
    assert len(model.explain().build(top=2)) == 2


@pytest.mark.filterwarnings("ignore::autobuild.errors.FitWarning")
def test_features_are_columns_or_functions(labels, rest, tmp_path):
    known = ab.LabelledSet.from_frame(labels.frame.assign(proxy=proxy(labels.archs)).head(40), SPACE)
    by_column = ab.fit(known.head(15), "acc", model="gp", features=["proxy"])
    assert srcc(by_column.predict_mean(known.archs[:15]), proxy(known.archs[:15])) > 0.99
    with pytest.raises(ConfigError, match=r"features='proxy': no value of '.*or a function"):
        by_column.predict_mean(known.archs[15:])
    by_function = ab.fit(known.head(15), "acc", model="gp", features=[proxy])
    assert srcc(by_function.predict_mean(rest.archs), proxy(rest.archs)) > 0.98
    np.testing.assert_allclose(by_function.predict_mean(known.archs[:3]), by_column.predict_mean(known.archs[:3]))
    by_function.save(tmp_path / "model")
    with pytest.raises(ModelError, match="a file alone runs no code"):
        ab.load_model(tmp_path / "model")
    back = ab.load_model(tmp_path / "model", features=[proxy])
    np.testing.assert_allclose(back.predict_mean(rest.archs[:5]), by_function.predict_mean(rest.archs[:5]))
    nameless = ab.fit(known.head(15), "acc", model="gp", features=[lambda archs: proxy(archs)])
    with pytest.raises(ModelError, match=r"package\.module:function"):
        nameless.save(tmp_path / "other")


def test_a_feature_that_is_the_label_warns(labels):
    copied = ab.LabelledSet.from_frame(labels.frame.assign(proxy=labels.frame["acc"] * 2).head(25), SPACE)
    with pytest.warns(FitWarning, match="'proxy' orders the labels exactly"):
        ab.fit(copied, "acc", model="gp", features=["proxy"])


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"sources": [3]}, r"sources=3: accepted are a labelled set"),
        ({"features": [3]}, r"features=3: accepted are columns"),
        ({"features": [lambda archs: archs[0].no_such]}, r"it raised AttributeError: .*no_such"),
        ({"features": [lambda archs: ["x"] * len(archs)]}, r"it raised ValueError: could not convert"),
        ({"config": {"lr": 0.1}}, r"config=.*accepted is ab.FitConfig"),
        ({"encoder": "gat"}, r"encoder='gat': accepted is ab.EncoderConfig"),
        ({"features": "noise"}, r"features='noise': a list is accepted"),
        ({"features": ["nothing"]}, r"features='nothing': accepted are columns of the labels \(acc, other"),
        ({"features": [lambda archs: np.ones(1)]}, r"it gave an array of shape \(1,\)"),
        ({"sources": ["other"], "model": "graph"}, "not for model=graph"),
    ],
)
def test_what_is_refused(labels, given, reason):
    with pytest.raises(ConfigError, match=reason):
        ab.fit(labels.head(20), "acc", **{"model": "gp", **given})


def test_a_source_of_a_space_without_common_features_is_refused(labels):
    tiny = ab.LabelledSet.read("tiny_mbconv", ab.space("tiny_mbconv"), n=30)
    with pytest.raises(ConfigError, match="tiny_mbconv has no features in common with nas_bench_macro"):
        ab.fit(labels.head(20), "acc", model="gp", sources=[tiny])
