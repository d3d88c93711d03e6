"""Costs in the loop: limits and targets over DRAM traffic, from the command line, checked on whole networks."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import autobuild as ab
from autobuild.cli import main
from autobuild.cost import read_hardware
from autobuild.cost.fusion import GroupCosts, fold
from autobuild.cost.fusion.partition.exact import exact_partition
from autobuild.spaces.registry import declared_by

LIMIT = 4.2e6


def made_up(name, folder, count=60):
    """Networks whose accuracy grows with depth and with what their layers choose."""
    space = ab.space(name)
    archs = ab.sample_design(space, count, "depth", seed=0)
    rng = np.random.default_rng(0)
    chosen = [[v for run in space.layers(arch) for layer in run for v in layer.values()] for arch in archs]
    acc = [70 + sum(0.1 * (len(v) if isinstance(v, str) else v) for v in values) for values in chosen]
    frame = pd.DataFrame({"arch": [arch.text for arch in archs], "acc": np.array(acc) + rng.normal(0, 0.1, count)})
    frame.to_csv(folder / "labels.csv", index=False)


def bytes_of(space, text, hardware="edge_npu"):
    """Independent of what builds: the network is made, traced, folded, and partitioned, nothing being shared."""
    file = declared_by(space)
    classes = {"num_classes": file.NUM_CLASSES} if hasattr(file, "NUM_CLASSES") else {}
    net = space.realise(text, **classes)
    graph = fold(ab.graph_of(net, (1, *file.INPUT_SHAPE)))
    return exact_partition(GroupCosts(graph, read_hardware(hardware).buffer_bytes)).dram_bytes


@pytest.fixture
def build(monkeypatch, tmp_path):
    """Runs the job in an empty folder; gives the exit code, and the folder of the run."""
    monkeypatch.chdir(tmp_path)

    def run(name, *words, out="run"):
        if not (tmp_path / "labels.csv").exists():
            made_up(name, tmp_path)
        common = [f"space={name}", "labels=labels.csv", "model=gp", "plots=false", "build.top=2", f"out={out}"]
        return main(["build", *common, *words]), Path(tmp_path) / out

    return run


def test_networks_are_built_under_a_limit_on_dram_bytes(build):
    code, out = build("ofa_mbv3", f"where=dram_bytes <= {LIMIT} and params < 5e6")
    assert code == 0
    space, built = ab.space("ofa_mbv3"), pd.read_csv(out / "built.csv")
    assert len(built) == 2
    for arch, told in zip(built["arch"], built["dram_bytes"], strict=True):
        assert bytes_of(space, arch) == told <= LIMIT
    assert built["dram_bytes"].max() > 0.98 * LIMIT  # the limit is used, not shunned
    assert (ab.costs(space)["params"](list(built["arch"])) < 5e6).all()
    assert not pd.read_csv(out / "prices.csv").empty


def test_dram_bytes_in_a_target_are_computed_for_the_hardware(build):
    target = "acc - 2e-6*dram_bytes"
    code, out = build("nas_bench_macro", f"target={target}", "hardware=mobile_npu")
    assert code == 0
    space, built = ab.space("nas_bench_macro"), pd.read_csv(out / "built.csv", dtype={"arch": str})
    model = ab.load_model(out / "model")
    exact = [bytes_of(space, arch, "mobile_npu") for arch in built["arch"]]
    learned = model.learned.predict_mean(list(built["arch"]))
    np.testing.assert_allclose(built["predicted"], learned - 2e-6 * np.array(exact), rtol=1e-9)
    numbers = json.loads((out / "metrics.json").read_text())
    assert (numbers["learned_target"], numbers["target"]) == ("acc", target)


def test_unknown_names_and_unreachable_limits_are_told(build, capsys):
    assert build("nas_bench_macro", "where=dram_byte <= 1e6")[0] == 2
    assert "did you mean 'dram_bytes'" in capsys.readouterr().err
    assert build("nas_bench_macro", "where=dram_bytes <= 1e5", out="other")[0] == 2
    assert "dram_bytes <= 100000: out of reach whatever the other limits" in capsys.readouterr().err
    assert build("nas_bench_macro", "hardware=egde_npu", out="third")[0] == 2
    assert "did you mean 'edge_npu'" in capsys.readouterr().err


def test_limits_on_what_is_no_sum_over_the_edges_of_a_cell():
    space = ab.space("nas_bench_201")
    archs, costs = space.sample(40, seed=0), ab.costs(space)
    frame = pd.DataFrame({"arch": [arch.text for arch in archs], "acc": 10 * np.log(costs["macs"](archs))})
    scores = ab.fit(ab.LabelledSet.from_frame(frame, space), "acc", model="gp", seed=0).explain()
    limits = {name: int(np.quantile(costs[name](archs), 0.4)) for name in ("dram_bytes", "activation_peak_bytes")}
    built = scores.build(3, where=" and ".join(f"{name} <= {limit}" for name, limit in limits.items()))
    assert len(built) == 3
    for arch, told in zip(built, built.values["cost.dram_bytes"], strict=True):
        assert bytes_of(space, arch) == told <= limits["dram_bytes"]
    assert (costs["activation_peak_bytes"](list(built)) <= limits["activation_peak_bytes"]).all()
    kept = np.all([costs[name](archs) <= limit for name, limit in limits.items()], axis=0)
    assert built.predicted[0] >= scores.model.predict_mean(np.array(archs)[kept].tolist()).max()


@pytest.mark.parametrize(
    "name", ["mnasnet", "nas_bench_201", "nas_bench_macro", "ofa_mbv3", "ofa_proxyless", "ofa_resnet50", "tiny_mbconv"]
)
def test_dram_bytes_in_a_target_are_exact_in_build_and_search_of_every_space(name, tmp_path):
    """To the byte, which is what 1e-12 of a target near 70 is worth."""
    space, target = ab.space(name), "acc - 1e-9*dram_bytes"
    made_up(name, tmp_path, 24)  # few, as the cost of each is computed
    labels = ab.LabelledSet.read(tmp_path / "labels.csv", space)
    model = ab.fit(labels, target, model="linear", seed=0)
    built = model.explain().build(top=1)
    learned = model.learned.predict_mean(list(built))[0]
    assert built.predicted[0] == pytest.approx(learned - 1e-9 * bytes_of(space, built[0].text), rel=1e-12)

    found = ab.search(space, lambda arch: {"acc": 70.0 + len(arch.text)}, target=target, n_trials=3, sampler="random")
    assert list(found.evaluated["state"]) == ["COMPLETE"] * 3
    row = found.best.iloc[0]
    assert row[target] == pytest.approx(row["acc"] - 1e-9 * bytes_of(space, row["arch"]), rel=1e-12)
