"""``autobuild fuse``: frames, numbers and pictures; and what it refuses."""

import json
from pathlib import Path

import pandas as pd
import pytest

import autobuild as ab
from autobuild.cli import main
from autobuild.errors import ConfigError
from autobuild.jobs.fuse import bytes_of

ARCH = "e3k3s1-e3k5s0|e2k3s0|e1k5s0-e3k3s1"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_an_architecture_in_groups(capsys):
    assert main(["fuse", f"model=space:{ARCH}", "buffer=4KiB", "scheme=lbdf", "sweep=true", "out=run"]) == 0
    told, groups = json.loads(Path("run/metrics.json").read_text()), pd.read_csv("run/groups.csv")
    assert list(groups) == ["group", "ops", "scheme", "dram_bytes", "buffer_bytes", "valid"]
    assert groups["dram_bytes"].sum() == told["dram_bytes"]
    space = ab.space("tiny_mbconv")
    assert (
        told["dram_bytes"] == ab.fuse(ab.graph_of(space, ARCH), buffer_bytes=4096, scheme="lbdf").metrics["dram_bytes"]
    )
    for key in ("unfused_dram_bytes", "reduction", "status", "lower_bound", "optimum_gap", "seconds"):
        assert key in told
    assert set(pd.read_csv("run/sweep.csv")["scheme"]) == {"lbdf", "brr", "mixed"}
    for name in ("groups", "traffic", "sweep"):
        assert Path(f"run/{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "optimal: no partition moves less" in capsys.readouterr().out


@pytest.mark.parametrize("split", ["gnnexplainer", "pgexplainer", "rg", "oracle"])
def test_a_search_says_how_far_it_is_known_to_be_and_what_was_fitted(split, capsys):
    words = [f"model=space:{ARCH}", "buffer=4KiB", "scheme=lbdf", "plots=false", "budget=30", "time_limit_s=6"]
    assert main(["fuse", *words, "algorithm=local", f"split={split}", "out=run"]) == 0
    told, groups = json.loads(Path("run/metrics.json").read_text()), pd.read_csv("run/groups.csv")
    assert (told["status"], told["algorithm"]) == ("heuristic", "local")
    assert told["optimum_gap"] == pytest.approx(told["dram_bytes"] / told["lower_bound"] - 1)
    assert groups["valid"].all()
    assert groups["dram_bytes"].sum() == told["dram_bytes"]
    assert main(["fuse", *words, "out=best"]) == 0
    assert told["dram_bytes"] >= json.loads(Path("best/metrics.json").read_text())["dram_bytes"]
    assert (0 < told["training_seconds"] < told["seconds"]) == (split != "oracle")
    assert ("fitted the classifier and the explainer" in capsys.readouterr().out) == (split != "oracle")


def test_an_onnx_file_is_its_architecture():
    """The exporter leaves out biases that are zero, as those of fresh batch norms are: four bytes a channel."""
    pytest.importorskip("onnx")
    assert main(["export", f"archs={ARCH}", "format=onnx", "out=net"]) == 0
    assert main(["fuse", "model=onnx:net/network.onnx", "buffer=4KiB", "scheme=lbdf", "plots=false", "out=file"]) == 0
    assert main(["fuse", f"model=space:{ARCH}", "buffer=4KiB", "scheme=lbdf", "plots=false", "out=arch"]) == 0
    file, arch = (json.loads(Path(f"{name}/metrics.json").read_text()) for name in ("file", "arch"))
    assert file["operations"] == arch["operations"]
    graph = ab.graph_of("net/network.onnx", shapes={"images": (1, 1, 20, 20)})
    zero = ab.graph_of(ab.space("tiny_mbconv"), ARCH).folded_params - graph.folded_params
    assert arch["unfused_dram_bytes"] - file["unfused_dram_bytes"] == 4 * zero > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "fuse needs model="),
        (["model=torchvisio:resnet18"], "did you mean 'torchvision'"),
        (["model=onnx:nix.onnx"], "nix.onnx"),
        (["model=nix.onnx"], "model=nix.onnx: there is no such file"),
        (["model=torchvision/no_such_net"], "no_such_net"),
        ([f"model=space:{ARCH}", "buffer=0"], "buffer=0"),
        ([f"model=space:{ARCH}", "hardware=edge_np"], "edge_npu"),
        ([f"model=space:{ARCH}", "split=oracl", "algorithm=local"], "did you mean 'oracle'"),
        ([f"model=space:{ARCH}", "shape=[1,32]"], "shape="),
    ],
)
def test_mistakes_are_told(words, said, capsys):
    assert main(["fuse", *words]) == 2
    assert said in capsys.readouterr().err


def test_sizes():
    assert [bytes_of(text) for text in ("1048576", "512KiB", "2 MiB", "1.5KiB", "3MB")] == [
        2**20, 2**19, 2**21, 1536, 3_000_000,
    ]  # fmt: skip
    assert bytes_of(str(2**62 + 1)) == 2**62 + 1  # floats hold no such number
    assert bytes_of("9" * 400) == 10**400 - 1
    for text in ("0", "-1", "1.5", "many", "2GiBB", ""):
        with pytest.raises(ConfigError, match="buffer="):
            bytes_of(text)


def onnx_file(path, nodes, inputs, **given):
    onnx = pytest.importorskip("onnx")
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    info = {name: [helper.make_tensor_value_info(*pair) for pair in pairs] for name, pairs in given.items()}
    whole = helper.make_tensor_value_info("y", number, (1, 3, 8, 8))
    graph = helper.make_graph([helper.make_node(*node[:3], name=node[0], **node[3]) for node in nodes], "g",
                              [helper.make_tensor_value_info("x", number, inputs)], [whole], **info)  # fmt: skip
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), path)


def test_an_open_file_is_told_by_the_key_that_closes_it(capsys):
    onnx_file("open.onnx", [("Relu", ["x"], ["y"], {})], ("N", 3, "H", "W"))
    assert main(["fuse", "model=onnx:open.onnx", "out=run"]) == 2
    said = "its input 'x' has the shape (N, 3, H, W): give the open sizes, for example shape=[3,224,224]"
    assert said in capsys.readouterr().err
    assert main(["fuse", "model=onnx:open.onnx", "shape=[3,8,8]", "out=run"]) == 0
    assert json.loads(Path("run/metrics.json").read_text())["dram_bytes"] == 2 * 3 * 8 * 8


def test_a_file_by_its_path_with_shapes_and_an_open_batch(capsys):
    onnx_file("open.onnx", [("Relu", ["x"], ["y"], {})], ("N", 3, "H", "W"))
    for number, given in enumerate(("x:1x3x8x8", "{'x': (1, 3, 8, 8)}", "x=[1,3,8,8]")):
        assert main(["fuse", "model=open.onnx", f"shapes={given}", "plots=false", f"out={number}"]) == 0
        assert json.loads(Path(f"{number}/metrics.json").read_text())["dram_bytes"] == 2 * 3 * 8 * 8
    assert main(["fuse", "model=open.onnx", "shapes=x:1x3x0x8", "out=run"]) == 2
    assert "accepted are names and sizes above 0" in capsys.readouterr().err
    assert main(["fuse", f"model=space:{ARCH}", "shapes=x:1x3x8x8", "out=run"]) == 2
    assert "accepted for ONNX files; a space network takes shape=" in capsys.readouterr().err
    onnx_file("batch.onnx", [("Relu", ["x"], ["y"], {})], (-1, 3, 8, 8))
    assert main(["fuse", "model=batch.onnx", "plots=false", "out=again"]) == 0
    assert "input 'x' has the open batch -1 in (-1, 3, 8, 8); 1 is taken" in capsys.readouterr().out
    with pytest.warns(UserWarning, match="open batch"):
        assert ab.fuse("batch.onnx").metrics["dram_bytes"] == 2 * 3 * 8 * 8
    assert ab.fuse("open.onnx", shapes={"x": (2, 3, 8, 8)}).metrics["dram_bytes"] == 4 * 3 * 8 * 8


def test_shapes_that_a_file_says_of_custom_operators_are_kept():
    nodes = [("Mine", ["x"], ["a"], {"domain": "mine"}), ("Relu", ["a"], ["y"], {})]
    onnx_file("own.onnx", nodes, (1, 3, 8, 8), value_info=[("a", 1, (1, 3, 8, 8))])
    with pytest.warns(UserWarning, match="operation 'Mine' .* is a barrier that never fuses"):
        assert main(["fuse", "model=onnx:own.onnx", "out=run"]) == 0
    assert list(pd.read_csv("run/groups.csv")["scheme"]) == ["resident", "lbdf"]


def test_what_fits_in_no_way_is_told_with_what_it_needs(capsys):
    onnx_file("tanh.onnx", [("Tanh", ["x"], ["y"], {})], (1, 3, 8, 8))
    assert main(["fuse", "model=onnx:tanh.onnx", "buffer=1", "sweep=true", "plots=false", "out=run"]) == 0
    assert "Tanh fits in no way: it needs 48 bytes of buffer" in capsys.readouterr().out  # a row in and a row out
    assert pd.read_csv("run/sweep.csv")["buffer_bytes"].min() == 1


def test_a_network_without_operations_moves_nothing(capsys):
    onnx_file("same.onnx", [("Identity", ["x"], ["y"], {})], (1, 3, 8, 8))
    assert main(["fuse", "model=onnx:same.onnx", "out=run"]) == 0
    assert "0 operations in 0 groups move 0 bytes" in capsys.readouterr().out


def test_unusable_hardware_and_files_leave_no_folder(capsys):
    Path("folder").mkdir()
    for word in ("model=onnx:folder", f"hardware=nix.yaml model=space:{ARCH}"):
        assert main(["fuse", *word.split(" "), "out=run"]) == 2
        assert "no such file" in capsys.readouterr().err
    assert not Path("run").exists()
