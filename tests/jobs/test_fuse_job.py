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


def test_an_onnx_file_is_its_architecture():
    """The exporter leaves out biases that are zero, as those of fresh batch norms are: four bytes a channel."""
    pytest.importorskip("onnx")
    assert main(["export", f"arch={ARCH}", "format=onnx", "out=net"]) == 0
    assert main(["fuse", "model=onnx:net/network.onnx", "buffer=4KiB", "scheme=lbdf", "plots=false", "out=file"]) == 0
    assert main(["fuse", f"model=space:{ARCH}", "buffer=4KiB", "scheme=lbdf", "plots=false", "out=arch"]) == 0
    file, arch = (json.loads(Path(f"{name}/metrics.json").read_text()) for name in ("file", "arch"))
    assert file["operations"] == arch["operations"]
    graph = ab.graph_of("net/network.onnx", shapes={"images": (1, 1, 20, 20)})
    zero = ab.graph_of(ab.space("tiny_mbconv"), ARCH).params - graph.params
    assert arch["unfused_dram_bytes"] - file["unfused_dram_bytes"] == 4 * zero > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "fuse needs model="),
        (["model=torchvisio:resnet18"], "did you mean 'torchvision'"),
        (["model=onnx:nix.onnx"], "nix.onnx"),
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
    for text in ("0", "-1", "1.5", "many", "2GiBB", ""):
        with pytest.raises(ConfigError, match="buffer="):
            bytes_of(text)
