"""Ensembles: what cross-validation sees, weights, intervals, and the way to disk and back."""

import itertools
import json
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import autobuild as ab
from autobuild.errors import ConfigError, LabelError, ModelError, SpaceError
from autobuild.models import EnsembleModel, ensemble_fit
from autobuild.models.gp_family import GPMember
from autobuild.models.stacking import combine, stack
from autobuild.models.trees import fit_trees
from autobuild.rank import srcc

CONFIG = ab.FitConfig(epochs=8)
DEAD = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


@pytest.fixture(scope="module")
def labels():
    return ab.LabelledSet.read("tiny_mbconv", ab.space("tiny_mbconv"), n=90)


@pytest.fixture(scope="module")
def model(labels):
    return ab.fit(labels, "acc", config=CONFIG)


@pytest.fixture(scope="module")
def gp(labels):
    return ab.fit(labels, "acc", model="gp", folds=2)


def test_weights_are_shares_and_said(model):
    assert isinstance(model, EnsembleModel)
    assert sum(model.weights.values()) == pytest.approx(1)
    assert min(model.weights.values()) > 0
    assert set(model.weights) == set(model.members)
    rows = {row["member"]: row for row in model.report["members"]}
    assert set(rows) == {"gp", "linear", "trees", "graph"}
    for name, row in rows.items():
        assert row["weight"] == model.weights.get(name, 0.0)
    assert "cross-validated SRCC" in model.report["picked"]
    assert json.dumps(model.report)


def test_held_out_rows_are_all_rows_and_their_folds_never_saw_them(labels, model):
    held = model.heldout
    assert list(held["arch"]) == list(labels.frame["arch"])
    assert set(held["fold"]) == {0, 1, 2, 3, 4}
    assert model.report["test_srcc"] == pytest.approx(srcc(held["predicted"], held["measured"]))
    keys = labels.keys
    folds = {}
    for key, fold in zip(keys, held["fold"], strict=True):
        assert folds.setdefault(key, fold) == fold  # equal networks stay together
    # a label changes no prediction of its own row, given the bend that all rows choose
    frame = labels.frame
    frame.loc[5, "acc"] = float(frame["acc"].median())
    changed = ab.fit(ab.LabelledSet.from_frame(frame, labels.space), "acc", model="trees", config=CONFIG)
    same = ab.fit(labels, "acc", model="trees", config=CONFIG)
    a, b = (m.warp.latent(m.heldout["predicted"]) for m in (same, changed))
    assert abs(a[5] - b[5]) < np.abs(a - b).max()


def test_unknown_families_and_folds_are_refused(labels):
    with pytest.raises(ConfigError, match="did you mean 'graph'"):
        ab.fit(labels, "acc", model="grahp")
    with pytest.raises(ConfigError, match="folds=1"):
        ab.fit(labels, "acc", folds=1)


def test_the_same_seed_gives_the_same_model(labels, model):
    again = ab.fit(labels, "acc", config=CONFIG)
    archs = labels.space.sample(20, seed=4)
    assert again.weights == model.weights
    np.testing.assert_array_equal(again.predict_mean(archs), model.predict_mean(archs))


def test_a_model_comes_back_from_disk(model, tmp_path):
    archs = model.space.sample(25, seed=2)
    folder = model.save(tmp_path / "model")
    back = ab.FittedModel.load(folder)
    assert isinstance(back, EnsembleModel)
    np.testing.assert_allclose(back.predict_mean(archs), model.predict_mean(archs), rtol=1e-9)
    one, other = model.predict(archs, level=0.8), back.predict(archs, level=0.8)
    np.testing.assert_allclose(one[["lower", "upper"]], other[["lower", "upper"]], rtol=1e-7)
    assert back.report == json.loads(json.dumps(model.report))
    header = json.loads((folder / "model.json").read_text())
    header["format"] = "autobuild.model/2"  # whose model.json has no checksum
    header["ensemble"]["weights"]["nobody"] = 0.5
    (folder / "model.json").write_text(json.dumps(header))
    with pytest.raises(ModelError, match="nobody"):
        ab.FittedModel.load(folder)


def test_intervals_cover_and_widen_where_labels_are_far():
    """On rows that were not fitted: 90 % intervals hold about 90 %, averaged over splits."""
    labels = ab.LabelledSet.read("tiny_mbconv", ab.space("tiny_mbconv"))
    values, shares = labels.frame["acc"].to_numpy(), []
    for seed in range(6):
        rows = np.random.default_rng(seed).permutation(len(labels))
        model = ab.fit(labels.subset(rows[:120]), "acc", model="gp", seed=seed)
        frame = model.predict([labels.archs[row] for row in rows[120:]])
        own = values[rows[120:]]
        shares.append(((frame["lower"] <= own) & (own <= frame["upper"])).mean())
    assert 0.84 < np.mean(shares) < 0.96


def test_stated_intervals_are_wider_only_beyond_all_labels():
    """Half of the labels are withheld, the best ones; what is stated of those predicted beyond the others is wider."""
    labels = ab.LabelledSet.read("tiny_mbconv", ab.space("tiny_mbconv"))
    values = labels.frame["acc"].to_numpy()
    order = np.argsort(values)
    low, high = order[: len(order) // 2], order[len(order) // 2 :]
    model = ab.fit(labels.subset(low), "acc", model="gp")
    archs = [labels.archs[row] for row in high]
    predicted, lower, upper = model.intervals(archs, 0.9)
    stated = model.predict(archs, level=0.9)
    np.testing.assert_array_equal(stated["predicted"], predicted)
    beyond = predicted > values[low].max()
    assert 10 < beyond.sum() < len(archs)
    assert (stated["lower"] < lower)[beyond].all()
    assert (stated["upper"] > upper)[beyond].all()
    np.testing.assert_array_equal(stated["lower"][~beyond], lower[~beyond])
    inside = [((own[0] <= values[high]) & (values[high] <= own[1]))[beyond].mean()
              for own in ((lower, upper), (stated["lower"], stated["upper"]))]  # fmt: skip
    assert inside[1] > inside[0]
    built = model.explain().build(3)
    np.testing.assert_array_equal(built.lower, model.predict(list(built))["lower"])


def test_trees_are_scikit_learns(monkeypatch):
    """Without draws of rows and columns, and with a cut between any two values."""
    from sklearn.ensemble import GradientBoostingRegressor

    from autobuild.models.trees import SHALLOW

    for name, value in {"trees": 60, "rows": 1.0, "columns": 1.0, "cuts": 80}.items():
        monkeypatch.setitem(SHALLOW, name, value)
    rng = np.random.default_rng(0)
    columns, wanted = rng.normal(size=(80, 9)), rng.normal(size=80)
    theirs = GradientBoostingRegressor(n_estimators=60, learning_rate=0.05, max_depth=3).fit(columns, wanted)
    np.testing.assert_allclose(fit_trees(columns, wanted, 3).predict(columns), theirs.predict(columns), atol=1e-5)


def test_trees_over_constant_columns_predict_the_mean():
    wanted = np.array([1.0, 2.0, 6.0, 7.0])
    for width in (0, 2):
        fitted = fit_trees(np.ones((4, width)), wanted, 0)
        np.testing.assert_allclose(fitted.predict(np.ones((2, width))), 4.0, atol=1.5)


def test_stacking_finds_planted_weights_and_ignores_noise():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=400), rng.normal(size=400)
    truth = 0.7 * a + 0.3 * b
    weights = stack({"a": a, "b": b, "c": rng.normal(size=400)}, truth + 0.01 * rng.normal(size=400), "a")
    assert weights["a"] == pytest.approx(0.7, abs=0.02)
    assert weights["b"] == pytest.approx(0.3, abs=0.02)
    assert "c" not in weights
    np.testing.assert_allclose(combine({"a": a, "b": b}, {"a": 0.7, "b": 0.3}), truth)
    few = stack({"a": a[:6], "b": a[:6] + 1e-3 * b[:6]}, truth[:6], "a")
    assert few == {"a": 1.0}  # members that hardly differ: nothing moves


def test_the_base_member_shares_the_warp_of_the_others(labels, monkeypatch, tmp_path):
    monkeypatch.setattr(ensemble_fit, "MEMBERS", ("gp", "linear"))
    monkeypatch.setattr(GPMember, "parts", ())  # knows nothing of the networks, so that the linear one is the base
    model = ab.fit(labels, "acc", folds=3)
    assert model.base == "linear"
    assert {member.process.warp for member in model.members.values()} == {model.warp}
    loaded = ab.FittedModel.load(model.save(tmp_path / "m"))
    np.testing.assert_allclose(loaded.predict_mean(labels.archs), model.predict_mean(labels.archs))


def test_labels_of_few_distinct_networks():
    space = ab.space("nas_bench_201")
    archs = [space.assemble(indices) for indices in itertools.product(range(5), repeat=6)]
    dead = [arch.text for arch in archs if space.key(arch) == space.key(space.parse(DEAD))]
    values = np.random.default_rng(0).normal(size=24)
    one = ab.LabelledSet.from_frame(pd.DataFrame({"arch": dead[:24], "acc": values}), space)
    with pytest.raises(LabelError, match="24 usable rows are one network"):
        ab.fit(one, "acc", model="gp")
    texts = [*dead[:22], *(arch.text for arch in space.sample(2, seed=0))]
    few = ab.LabelledSet.from_frame(pd.DataFrame({"arch": texts, "acc": values}), space)
    assert ab.fit(few, "acc", model="linear").report["folds"] == len(set(few.keys)) == 3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("weights", None),
        ("weights", {}),
        ("weights", {"gp": 2.0}),
        ("base", "nobody"),
        ("warp", []),
        ("warp", {"mean": 0.0, "sd": 1.0, "bend": 0.0, "knots": [[0.0, 0.0], [0.0, 1.0]]}),
        ("members", None),
    ],
)
def test_an_edited_header_is_refused(gp, tmp_path, key, value):
    folder = gp.save(tmp_path / "m")
    header = json.loads((folder / "model.json").read_text())
    header["format"] = "autobuild.model/2"  # whose model.json has no checksum
    header["ensemble"][key] = value
    (folder / "model.json").write_text(json.dumps(header))
    with pytest.raises(ModelError, match=r"model\.json is damaged"):
        ab.FittedModel.load(folder)


def test_a_seed_out_of_range_in_a_header_is_refused(gp, tmp_path):
    folder = gp.save(tmp_path / "m")
    header = json.loads((folder / "model.json").read_text())
    header["format"] = "autobuild.model/2"  # whose model.json has no checksum
    (folder / "model.json").write_text(json.dumps({**header, "seed": 1e999}))
    with pytest.raises(ModelError, match=r"model\.json is damaged"):
        ab.FittedModel.load(folder)


def test_networks_of_another_family_and_levels_that_are_no_numbers_are_refused(gp):
    with pytest.raises(SpaceError, match=r"architecture 1: .* is of 'nas_bench_macro', not 'tiny_mbconv'"):
        gp.predict(ab.space("nas_bench_macro").sample(1, seed=0))
    for level in ("0.9", None):
        with pytest.raises(ConfigError, match="level"):
            gp.predict([], level=level)


@pytest.mark.parametrize("family", ["linear", "gp"])
def test_the_worst_networks_are_told_apart_near_the_labels(family):
    """Saturating accuracies bend the target; what lay beyond the bend's end was predicted at one value far below."""
    units, features = {name: [1, 2, 3] for name in "abc"}, {"kernel": [1, 3, 5], "expand": [1, 2, 3]}
    space = ab.sequence_space("bent", units, features, text="k{kernel}e{expand}")

    def accuracy(archs):
        size = [
            sum(0.25 * layer["kernel"] + 0.3 * layer["expand"] for run in space.layers(a) for layer in run)
            for a in archs
        ]
        return 95 - 85 * np.exp(-(np.array(size) - 1) / 4)

    archs = list(dict.fromkeys(space.sample(160, 3, "depth")))
    values = accuracy(archs) + np.random.default_rng(0).normal(size=len(archs))
    labels = ab.LabelledSet.from_frame(pd.DataFrame({"arch": [arch.text for arch in archs], "acc": values}), space)
    model = ab.fit(labels, "acc", model=family)
    assert model.warp.bend > 0.1
    worst = ["k1e1|k1e1|k1e1", "k1e1|k1e1|k1e2", "k3e1|k1e1|k1e1", "k1e1|k3e1|k1e2", "k3e1|k3e1|k1e1"]
    predicted = model.predict_mean([*worst, *space.sample(1500, 5, "depth")])
    assert len(np.unique(predicted[: len(worst)])) == len(worst)
    assert predicted[0] == predicted.min()
    reach = 0.25 * (values.max() - values.min())
    assert values.min() - reach < predicted.min()
    assert predicted.max() < values.max() + reach
    frame = model.predict(worst)
    assert (frame["lower"] < frame["predicted"]).all()
    assert (frame["lower"] > values.min() - 2 * reach).all()


def test_an_iterator_is_predicted_in_chunks(monkeypatch, labels):
    model = ab.fit(labels, "acc", model="linear")
    whole = model.predict_mean(labels.archs)
    monkeypatch.setattr("autobuild.models.model.CHUNK", 50)
    texts = (arch.text for arch in labels.archs)
    np.testing.assert_allclose(model.predict_mean(texts), whole, rtol=1e-9)
    assert model.predict_mean(iter([])).shape == (0,)


@pytest.mark.skipif("AUTOBUILD_DATA" not in os.environ, reason="AUTOBUILD_DATA is not set")
def test_cells_that_do_not_work_do_not_set_the_scale(tmp_path):
    """Scene classification of TransNAS-Bench-101: some cells are no better than chance, the others close together."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = Path(os.environ["AUTOBUILD_DATA"]) / "trans_nas_bench_micro.csv"
        labels = ab.LabelledSet.read(file, ab.space("trans_nas_bench_micro"))
        order = np.random.default_rng(0).permutation(len(labels))
        model = ab.fit(labels.subset(np.sort(order[:156])), "class_scene", model="gp")
    assert model.report["by_ranks"]
    truth = labels.frame["class_scene"].to_numpy()[order[156:1156]]
    judged = [labels.archs[row] for row in order[156:1156]]
    assert ab.rank.kendall_tau(model.predict_mean(judged), truth) > 0.77  # .75 without ranks
    pd.testing.assert_frame_equal(
        ab.FittedModel.load(model.save(tmp_path / "model")).predict(judged[:50]), model.predict(judged[:50])
    )
