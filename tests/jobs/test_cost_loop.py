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

SPACE = ab.space("ofa_mbv3")
LIMIT = 4.2e6


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Sixty networks whose accuracy grows with kernels, expansions and depth."""
    archs = ab.sample_design(SPACE, 60, "depth", seed=0)
    rng = np.random.default_rng(0)
    acc = [
        70 + sum(0.1 * layer["expand"] + 0.05 * layer["kernel"] for run in SPACE.layers(arch) for layer in run)
        for arch in archs
    ]
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    pd.DataFrame({"arch": [arch.text for arch in archs], "acc": acc + rng.normal(0, 0.1, 60)}).to_csv(path, index=False)
    return path


def bytes_of(text, hardware="edge_npu"):
    """Independent of what builds: the network is made, traced, folded, and partitioned, nothing being shared."""
    device = read_hardware(hardware)
    graph = fold(ab.graph_of(SPACE.realise(text, num_classes=1000), (1, 3, 224, 224)))
    return exact_partition(GroupCosts(graph, device.buffer_bytes)).dram_bytes


def run(labels, monkeypatch, folder, *words):
    monkeypatch.chdir(folder)
    common = ["space=ofa_mbv3", f"labels={labels}", "model=gp", "plots=false", "build.top=3", "out=run"]
    code = main(["build", *common, *words])
    return code, Path(folder) / "run"


def test_networks_are_built_under_a_limit_on_dram_bytes(labels, monkeypatch, tmp_path):
    code, out = run(labels, monkeypatch, tmp_path, f"build.where=dram_bytes <= {LIMIT} and params < 5e6")
    assert code == 0
    built = pd.read_csv(out / "built.csv")
    assert len(built) == 3
    for arch, told in zip(built["arch"], built["cost.dram_bytes"], strict=True):
        assert bytes_of(arch) == told <= LIMIT
    assert built["cost.dram_bytes"].max() > 0.98 * LIMIT  # the limit is used, not shunned
    assert (ab.costs(SPACE)["params"](list(built["arch"])) < 5e6).all()
    assert not pd.read_csv(out / "prices.csv").empty
    free = ab.load_model(out / "model").explain().build(top=1)
    assert bytes_of(free[0].text) > LIMIT


def test_dram_bytes_in_a_target_are_computed_for_the_hardware(labels, monkeypatch, tmp_path):
    target = "acc - 2e-6*dram_bytes"
    code, out = run(labels, monkeypatch, tmp_path, f"target={target}", "hardware=mobile_npu")
    assert code == 0
    built = pd.read_csv(out / "built.csv")
    model = ab.load_model(out / "model")
    exact = [bytes_of(arch, "mobile_npu") for arch in built["arch"]]
    learned = model.learned.predict_mean(list(built["arch"]))
    np.testing.assert_allclose(built["predicted"], learned - 2e-6 * np.array(exact), rtol=1e-9)
    numbers = json.loads((out / "metrics.json").read_text())
    assert (numbers["learned_target"], numbers["target"]) == ("acc", target)


def test_unknown_names_and_unreachable_limits_are_told(labels, monkeypatch, tmp_path, capsys):
    assert run(labels, monkeypatch, tmp_path, "build.where=dram_byte <= 1e6")[0] == 2
    assert "did you mean 'dram_bytes'" in capsys.readouterr().err
    assert run(labels, monkeypatch, tmp_path, "build.where=dram_bytes <= 1e5", "out=other")[0] == 2
    told = capsys.readouterr().err
    assert "dram_bytes <= 100000: out of reach whatever the other limits" in told
