"""``autobuild cost``: a table of costs, and why a number is missing."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

import autobuild as ab
from autobuild.cli import main
from autobuild.cost.hardware import PRESETS


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
    assert main(["cost", "space=mnasnet", "archs=costs/costs.csv", "cost=macs", "out=again"]) == 0
    again = pd.read_csv("again/costs.csv")
    assert list(again.columns) == ["arch", "macs", "reason"]
    assert again["macs"].tolist() == frame["macs"].tolist()


def test_hardware_by_name_by_file_and_in_a_sweep(capsys):
    mine = yaml.safe_load((PRESETS / "edge_npu.yaml").read_text())
    Path("mine.yaml").write_text(yaml.safe_dump({**mine, "dram_bytes_per_s": 12.8e9}))
    one = ["cost", "space=nas_bench_macro", "archs=00000000", "cost=roofline"]
    assert main([*one, "hardware=mine.yaml", "out=mine"]) == 0
    assert main([*one, "-m", "hardware=edge_npu,large_npu", "out=sweep"]) == 0
    times = [pd.read_csv(path)["roofline_ms"][0] for path in sorted(Path("sweep").glob("*/costs.csv"))]
    assert times[0] > pd.read_csv("mine/costs.csv")["roofline_ms"][0] > times[1]
    capsys.readouterr()
    assert main([*one, "hardware=egde_npu"]) == 2
    assert "did you mean 'edge_npu'" in capsys.readouterr().err


def test_what_has_no_number_says_why(capsys):
    tiny = yaml.safe_load((PRESETS / "edge_npu.yaml").read_text())
    Path("tiny.yaml").write_text(yaml.safe_dump({**tiny, "buffer_bytes": 300}))
    assert main(["cost", "space=mnasnet", "n=1", "cost=params,dram_bytes", "hardware=tiny.yaml", "out=none"]) == 0
    frame = pd.read_csv("none/costs.csv")
    assert frame["params"].notna().all()
    assert frame[["dram_bytes", "unfused_dram_bytes"]].isna().all(axis=None)
    assert "infeasible: " in frame["reason"][0]
    assert "cannot be scheduled" in capsys.readouterr().out
    assert json.loads(Path("none/metrics.json").read_text())["missing"] == 2
    assert main(["cost", "cost=roofline,latencies"]) == 2
    assert "cost='latencies': unknown cost: did you mean 'latency'" in capsys.readouterr().err
    assert main(["cost", "cost=?"]) == 0
    assert "roofline_mj [mJ]" in capsys.readouterr().out


@pytest.mark.parametrize("cost", ["dram_bytes,roofline", "params,dram_bytes", "null"])
def test_a_space_of_which_no_graph_can_be_made_is_refused_at_once(cost, capsys):
    assert main(["cost", "space=sd_unet", "n=2", f"cost={cost}", "out=none"]) == 2
    assert "take 3 inputs (sample, timestep, encoder_hidden_states)" in capsys.readouterr().err
    assert not Path("none").exists()
    assert main(["fuse", f"model=space:{ab.space('sd_unet').example}", "space=sd_unet", "shape=[9,64,64]"]) == 2
    assert "take 3 inputs" in capsys.readouterr().err


@pytest.mark.parametrize("shape", ["null", "[3,8,8]"])
def test_a_space_that_builds_no_networks_is_refused_by_that(shape, capsys):
    Path("plain.yaml").write_text("name: plain\nunits: {a: 1-2}\nfeatures: {k: [3, 5]}\ntext: 'k{k}'\n")
    assert main(["cost", "space=plain.yaml", "n=2", f"shape={shape}", "out=none"]) == 2
    assert capsys.readouterr().err.startswith("error: space 'plain' declares graphs only and builds no networks")
    assert not Path("none").exists()


def test_inputs_of_another_size(capsys):
    words = ["cost", "space=nas_bench_macro", "archs=00000000", "cost=macs,dram_bytes"]
    for shape, out in (("null", "own"), ("[3,64,64]", "larger")):
        assert main([*words, f"shape={shape}", f"out={out}"]) == 0
    own, larger = (pd.read_csv(f"{out}/costs.csv", dtype={"arch": str}) for out in ("own", "larger"))
    graph = ab.graph_of(ab.space("nas_bench_macro").realise("00000000"), (1, 3, 64, 64))
    assert larger["macs"][0] == graph.macs > 3 * own["macs"][0]
    assert larger["dram_bytes"][0] == ab.fuse(graph).metrics["dram_bytes"] > own["dram_bytes"][0]
    assert main([*words, "shape=[3,64]"]) == 2
    assert "shape=[3, 64]: channels, height and width" in capsys.readouterr().err


def test_what_is_asked_for_is_named_as_it_was_given(capsys):
    assert main(["cost", "cost=,"]) == 2
    assert "cost=,: names none of params, macs" in capsys.readouterr().err
    assert main(["cost", "archs=nothing"]) == 2
    assert "error: archs=nothing: " in capsys.readouterr().err


def test_costs_of_an_onnx_file_and_what_they_leave_out(tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("MatMul", ["w", "x"], ["a"]), helper.make_node("Unsqueeze", ["a", "last"], ["b"]),
             helper.make_node("DFT", ["b"], ["y"])]  # fmt: skip
    held = [helper.make_tensor("w", number, (32, 16), [0.5] * 512), helper.make_tensor("last", 7, (1,), [-1])]
    given = helper.make_tensor_value_info("x", number, ("N", 16, 100))

    def save(name, count, output):
        graph = helper.make_graph(nodes[:count], "g", [given], [onnx.ValueInfoProto(name=output)], held)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), name)

    save("product.onnx", 1, "a")
    for model, shapes, macs in (("onnx:product.onnx", [], 51_200), ("product.onnx", ["shapes=x:3x16x100"], 153_600)):
        assert main(["cost", f"model={model}", *shapes, f"out={macs}"]) == 0
        frame = pd.read_csv(f"{macs}/costs.csv")
        assert (frame["network"][0], frame["macs"][0], frame["params"][0]) == ("product", macs, 512)
        assert ("1 is taken" in capsys.readouterr().out) == (not shapes)
    save("wave.onnx", 3, "y")
    assert main(["cost", "model=wave.onnx", "cost=params,macs", "out=wave"]) == 0
    assert "MACs leave out 1 DFT: there is no rule for them" in capsys.readouterr().out
    assert pd.isna(pd.read_csv("wave/costs.csv")["macs"][0])
    for words, said in ((["model=nix.onnx"], "no such file"), (["shapes=x:1"], "accepted with model="),
                        (["model=wave.onnx", "archs=a"], "one is accepted")):  # fmt: skip
        assert main(["cost", *words]) == 2
        assert said in capsys.readouterr().err
