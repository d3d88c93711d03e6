"""``autobuild cost``: a table of costs, and why a number is missing."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

import autobuild as ab
from autobuild.cli import main
from autobuild.resources import resource_dir


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_all_costs_of_drawn_architectures(capsys):
    assert main(["cost", "space=mnasnet", "n=3", "out=costs"]) == 0
    frame = pd.read_csv("costs/costs.csv")
    numbers = json.loads(Path("costs/metrics.json").read_text())
    assert {"params", "macs", "activation_peak_bytes", "roofline_ms", "roofline_mj"} <= set(frame)
    known = ab.costs(ab.space("mnasnet"))
    for metric in numbers["units"]:
        assert frame[metric].tolist() == pytest.approx(known[metric](list(frame["arch"])).tolist())
    assert (numbers["missing"], numbers["hardware"]["buffer_bytes"], numbers["units"]["roofline_ms"]) == (
        0,
        2**20,
        "ms",
    )
    assert "roofline_ms in ms" in capsys.readouterr().out
    assert main(["cost", "space=mnasnet", "arch=costs/costs.csv", "cost=macs", "out=again"]) == 0
    again = pd.read_csv("again/costs.csv")
    assert list(again.columns) == ["arch", "macs", "reason"]
    assert again["macs"].tolist() == frame["macs"].tolist()


def test_hardware_by_name_by_file_and_in_a_sweep(capsys):
    mine = yaml.safe_load((resource_dir("conf") / "hardware" / "edge_npu.yaml").read_text())
    Path("mine.yaml").write_text(yaml.safe_dump({**mine, "dram_bytes_per_s": 12.8e9}))
    one = ["cost", "space=nas_bench_macro", "arch=00000000", "cost=roofline"]
    assert main([*one, "hardware=mine.yaml", "out=mine"]) == 0
    assert main([*one, "-m", "hardware=edge_npu,large_npu", "out=sweep"]) == 0
    times = [pd.read_csv(folder / "costs.csv")["roofline_ms"][0] for folder in sorted(Path("sweep").glob("*-*"))]
    assert times[0] > pd.read_csv("mine/costs.csv")["roofline_ms"][0] > times[1]
    capsys.readouterr()
    assert main([*one, "hardware=egde_npu"]) == 2
    assert "did you mean 'edge_npu'" in capsys.readouterr().err


def test_what_has_no_number_says_why(capsys):
    assert main(["cost", "space=sd_unet", "n=1", "cost=params,roofline", "out=none"]) == 0
    frame = pd.read_csv("none/costs.csv")
    assert frame[["params", "roofline_ms", "roofline_mj"]].isna().all(axis=None)
    assert "no_network: " in frame["reason"][0]
    assert "does not say how large its inputs are" in capsys.readouterr().out
    assert json.loads(Path("none/metrics.json").read_text())["missing"] == 3
    assert main(["cost", "cost=roofline,latencies"]) == 2
    assert "cost=latencies: unknown name" in capsys.readouterr().err
    assert main(["cost", "cost=?"]) == 0
    assert "roofline_mj [mJ]" in capsys.readouterr().out


def test_what_is_asked_for_is_named_as_it_was_given(capsys):
    assert main(["cost", "cost=,"]) == 2
    assert "cost=,: names none of params, macs" in capsys.readouterr().err
    assert main(["cost", "arch=nothing"]) == 2
    assert "error: arch=nothing: " in capsys.readouterr().err
