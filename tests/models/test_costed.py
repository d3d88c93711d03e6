"""Targets with cost terms: labels are learned, costs are computed."""

import json

import numpy as np
import pandas as pd
import pytest

import autobuild as ab
from autobuild.cost import make_cost, read_hardware
from autobuild.errors import ConfigError, ModelError, TargetError
from autobuild.models import CostedModel, EnsembleModel

SPACE = ab.space("mnasnet")


@pytest.fixture(scope="module")
def labels():
    """An accuracy that grows with kernels and expansions."""
    archs = ab.sample_design(SPACE, 60, "depth", seed=0)
    rng = np.random.default_rng(0)
    acc = [
        60 + sum(0.3 * layer["expand"] + 0.4 * layer["kernel"] for run in SPACE.layers(arch) for layer in run[:1])
        for arch in archs
    ]
    frame = pd.DataFrame({"arch": [arch.text for arch in archs], "acc": acc + rng.normal(0, 0.05, 60)})
    return ab.LabelledSet.from_frame(frame, SPACE)


@pytest.fixture(scope="module")
def model(labels):
    return ab.fit(labels, "acc - 2e-6*dram_bytes", model="gp", hardware="mobile_npu")


def exact(archs, hardware="mobile_npu"):
    cost = make_cost("dram_bytes", hardware)
    return np.array([-2e-6 * cost(ab.graph_of(SPACE, arch))["dram_bytes"] for arch in archs])


def test_only_the_labels_are_learned(model, labels):
    assert isinstance(model, CostedModel)
    assert (model.learned.target, model.report["exact_target"]) == ("acc", "-(2e-06 * dram_bytes)")
    plain = ab.fit(labels, "acc", model="gp")
    archs = SPACE.sample(5, seed=9)
    computed = exact(archs)
    np.testing.assert_allclose(model.predict_mean(archs), plain.predict_mean(archs) + computed, rtol=1e-12)
    for own, other in zip(model.intervals(archs, 0.9), plain.intervals(archs, 0.9), strict=True):
        np.testing.assert_allclose(own, other + computed, rtol=1e-12)
    np.testing.assert_allclose(model.draw(archs, 3, 0), plain.draw(archs, 3, 0) + computed, rtol=1e-12)
    trained = model.training
    np.testing.assert_allclose(trained["target"], labels.frame["acc"] + exact(labels.archs), rtol=1e-12)
    errors = model.heldout["measured"] - model.heldout["predicted"]
    np.testing.assert_allclose(errors, plain.heldout["measured"] - plain.heldout["predicted"], atol=1e-9)
    assert model.report["test_mae"] == pytest.approx(plain.report["test_mae"])


def test_scores_add_the_sums_that_enclose_the_cost(model):
    scores = model.explain()
    archs = SPACE.sample(30, seed=4)
    sums, predicted = scores.projection.sums(archs), model.predict_mean(archs)
    assert np.corrcoef(sums, predicted)[0, 1] > 0.95
    assert np.abs(sums - predicted).mean() < 3 * scores.projection.remainder_sd


def test_what_is_built_is_best_by_the_exact_cost(model):
    scores = model.explain()
    built = scores.build(top=3)
    np.testing.assert_allclose(built.predicted, model.predict_mean(list(built)), rtol=1e-12)
    rng = [SPACE.mutate(built[0], seed=seed) for seed in range(30)]
    assert model.predict_mean(rng).max() <= built.predicted[0] + 1e-9
    assert built.predicted[0] > model.predict_mean(SPACE.sample(60, seed=1)).max()


def test_a_saved_model_computes_the_same_for_the_same_hardware(model, tmp_path):
    model.save(tmp_path)
    again = ab.load_model(tmp_path)
    assert isinstance(again, CostedModel)
    assert again.exact.costs.hardware == read_hardware("mobile_npu")
    archs = SPACE.sample(4, seed=2)
    np.testing.assert_allclose(again.predict_mean(archs), model.predict_mean(archs), rtol=1e-12)
    pd.testing.assert_frame_equal(again.training, model.training)
    pd.testing.assert_frame_equal(again.heldout, model.heldout)
    assert again.report["test_srcc"] == model.report["test_srcc"]
    header = json.loads((tmp_path / "model.json").read_text())
    header["format"] = "autobuild.model/2"  # whose model.json has no checksum
    header["exact"]["expression"] = "-gone_bytes"
    (tmp_path / "model.json").write_text(json.dumps(header))
    with pytest.raises(ModelError, match=r"costs are not all known here: .*gone_bytes"):
        ab.load_model(tmp_path)


def test_what_mixes_both_is_learned_and_so_are_costs_alone(labels):
    for target in ("acc/log(macs)", "-log(macs)"):
        assert isinstance(ab.fit(labels, target, model="linear"), EnsembleModel)
    mixed = ab.fit(labels, "2*(acc - log(macs)) + acc/log(params)", model="linear")
    assert mixed.report["exact_target"] == "2 * -log(macs)"
    macs = ab.costs(SPACE)["macs"]
    archs = SPACE.sample(3, seed=0)
    np.testing.assert_allclose(
        mixed.predict_mean(archs) - mixed.learned.predict_mean(archs), -2 * np.log(macs(archs)), rtol=1e-12
    )
    assert len(mixed.explain().build(top=2)) == 2  # not linear: no sums, but quick


def test_rounds_ask_by_the_whole_target(labels):
    from autobuild.construct.rounds import Rounds

    asking = Rounds(labels, "acc - 1e-3*roofline_ms", model="gp", costs=ab.costs(SPACE))
    asked = asking.ask(4)
    assert len(asked) == 4
    told = asking.tell(asked, [{"acc": 70.0}] * 4)
    own = ab.costs(SPACE)["roofline_ms"](list(asked["arch"]))
    np.testing.assert_allclose(told["measured"], 70 - 1e-3 * own)


def test_networks_that_the_hardware_cannot_run_are_dropped_and_never_built():
    space = ab.space("tiny_mbconv")
    archs = ab.sample_design(space, 30, "depth", seed=0)
    acc = [70 + sum(layer["expand"] + layer["kernel"] for run in space.layers(arch) for layer in run) for arch in archs]
    labels = ab.LabelledSet.from_frame(pd.DataFrame({"arch": [arch.text for arch in archs], "acc": acc}), space)
    small = read_hardware("edge_npu", buffer_bytes=1500)
    costs = ab.costs(space, small)
    values = costs["dram_bytes"](archs)
    assert 0 < np.isnan(values).sum() < 20
    model = ab.fit(labels, "acc - 1e-4*dram_bytes", model="gp", costs=costs)
    assert model.report["dropped"] == np.isnan(values).sum()
    built = model.explain().build(top=2)
    assert np.isfinite(costs["dram_bytes"](list(built))).all()


def test_a_space_without_costs_says_why_where_a_target_or_limit_names_one():
    space = ab.sequence_space("own", {"a": [1, 2], "b": [1, 2]}, {"w": [1, 2, 3], "k": [3, 5]}, text="w{w}k{k}")
    archs = list(dict.fromkeys(space.sample(40, seed=0)))
    frame = pd.DataFrame({"arch": [arch.text for arch in archs], "acc": [float(len(arch.text)) for arch in archs]})
    own = ab.LabelledSet.from_frame(frame, space)
    why = r"'dram_bytes': .*; there are no costs: .*own"
    for target in ("acc - 1e-9*dram_bytes", "acc - 1e-9*cost.dram_bytes"):
        with pytest.raises(TargetError, match=why.replace("'dram", "'(cost.)?dram")):
            ab.fit(own, target, model="linear")
    with pytest.raises(ConfigError, match=f"limit .*{why}"):
        ab.fit(own, "acc", model="linear").explain().build(where="dram_bytes <= 1e6")
