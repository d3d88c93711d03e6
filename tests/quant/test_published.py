"""Spaces of other libraries' models: sizes against the models' own parameters, blocks, weights from a checkpoint."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import autobuild as ab
from autobuild.cli import main
from autobuild.errors import ConfigError, QuantisationError, SpaceError
from autobuild.quant import config_of, weight_layers
from autobuild.quant import published as module
from autobuild.quant.published import load_published, published


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.ModuleDict({name: nn.Linear(8, 8) for name in "qkvo"})
        self.mlp = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8))

    def forward(self, x):
        q, k, v = (self.attn[name](x) for name in "qkv")
        x = x + self.attn["o"](torch.softmax(q @ k.transpose(1, 2), -1) @ v)
        return x + self.mlp(x)


class Small(nn.Module):
    """Two inputs, of which one is nested."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 8)
        self.time = nn.Linear(4, 8)
        self.blocks = nn.ModuleList([Block(), Block()])

    def forward(self, tokens, more):
        x = self.table(tokens) + self.time(more["time"])
        for block in self.blocks:
            x = block(x)
        return x


INPUTS = {"tokens": torch.zeros((1, 5), dtype=torch.int64), "more": {"time": (1, 5, 4)}}


def without_values(make):
    with torch.device("meta"):
        return make().eval(), {"tokens": torch.zeros((1, 5), dtype=torch.int64), "more": {"time": (1, 5, 4)}}


def test_sizes_are_known_without_values():
    """The same units, bits, sizes and BOPs as with weights; errors are left out, and the note says so."""
    torch.manual_seed(0)
    options = {"methods": ("uaq", "kmc"), "bits": (2, 3), "name": "small"}
    full, empty = ab.quant_space(Small(), INPUTS, **options), ab.quant_space(*without_values(Small), **options)
    assert [unit.name for unit in empty.units] == [unit.name for unit in full.units]
    assert set(empty.joins) == set(full.joins)
    archs = [arch.text for arch in full.sample(5, seed=0)]
    for name in ("avg_bits", "bops", "stored_bits", "size_bytes"):
        assert np.array_equal(ab.costs(empty)[name](archs), ab.costs(full)[name](archs)), name
    assert "quant_error" in ab.costs(full)
    assert "quant_error" not in ab.costs(empty)
    assert "errors are not known" in empty.note
    model = Small()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1e-6)  # 16 bits hold few digits of such scales
    for half, agree in ((True, True), (False, False)):
        with ab.quantise(model, config_of(empty, archs[0]), half=half) as quantised:
            assert (quantised.size_bytes == ab.costs(empty)["size_bytes"](archs[:1])[0]) == agree


def test_the_job_writes_the_size_that_a_space_without_values_promised(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = "nn.Sequential(nn.Linear(64, 8), nn.Linear(8, 8))"
    lines = (
        "from torch import nn",
        "def load():",
        f"    net = {network}",
        "    net[0].weight.data *= 1e-6",
        "    return net",
    )
    Path("two_layers.py").write_text("\n".join(lines))
    with torch.device("meta"):
        space = ab.quant_space(nn.Sequential(nn.Linear(64, 8), nn.Linear(8, 8)), (1, 64), bits=(2, 3), name="mine")
    Path("mine.json").write_text(space.to_json())
    words = ["quantise", "model=two_layers:load", "space=mine.json", "config=uaq3|uaq2", "out=out"]
    assert main([*words, "export=compressed_tensors"]) == 0
    found = json.loads(Path("out/metrics.json").read_text())
    assert found["size_bytes"] == ab.costs(space)["size_bytes"](["uaq3|uaq2"])[0]
    about = json.loads(Path("out/compressed_tensors/config.json").read_text())["quantization_config"]
    assert [group["targets"] for group in about["config_groups"].values()] == [["1"], ["0"]]
    assert load_file("out/compressed_tensors/model.safetensors")["1.weight"].dtype == torch.int8


def test_what_needs_values_is_refused():
    model, inputs = without_values(Small)
    with pytest.raises(QuantisationError, match="losses and probe run the model"):
        ab.quant_space(model, inputs, probe=True)
    with pytest.raises(QuantisationError, match=r"time: the weight has no values \(meta device\)"):
        ab.quantise(model, {"time": "uaqt2"})


def test_an_attention_and_a_feed_forward_are_blocks_of_their_own():
    space = ab.quant_space(*without_values(Small), methods=("uaq",), grain="block")
    names = [unit.name.split("+") for unit in space.units]
    for block in ("blocks.0", "blocks.1"):
        assert [f"{block}.attn.{part}" for part in "qkvo"] in names
        assert [f"{block}.mlp.0", f"{block}.mlp.2"] in names
    assert len(names) == 6


def test_unknown_names():
    with pytest.raises(SpaceError, match="sdxl_unet"):
        ab.space("quant:sdxl_une")
    with pytest.raises(ConfigError, match="sd15_unet"):
        load_published("sd15")
    with pytest.raises(ConfigError, match="no such checkpoint"):
        load_published("sd15_unet", "nowhere")


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(ConfigError, match=r"needs diffusers: pip install 'autobuild-nas\[diffusion\]'"):
        load_published("dit_xl_2")


def small(monkeypatch, name, **config):
    """The published model with a smaller configuration."""
    about = published()[name]
    monkeypatch.setitem(module.published(), name, {**about, "config": {**about["config"], **config}})


def test_a_tiny_diffusion_transformer(monkeypatch, tmp_path):
    """From its configuration, then with weights that the library wrote and reads, quantised by the job."""
    pytest.importorskip("diffusers", reason="needs diffusers")
    small(monkeypatch, "dit_xl_2", num_layers=2, num_attention_heads=2, attention_head_dim=8, sample_size=32)
    space = ab.space("quant:dit_xl_2", bits=(2, 4), methods=("uaq",))
    model, _ = load_published("dit_xl_2")
    layers = weight_layers(model)[0]
    weights = sum(layer.weight.numel() for layer in layers.values())
    assert len(space.units) == len(layers)
    assert f"{weights:,} weights" in space.about
    bits = ab.costs(space)
    uniform = "|".join(["uaq4"] * len(layers))
    others = sum(t.nbytes for n, t in model.state_dict().items() if n.removesuffix(".weight") not in layers)
    channels = sum(len(layer.weight) for layer in layers.values())
    assert bits["avg_bits"]([uniform])[0] == 4
    assert bits["size_bytes"]([uniform])[0] == weights // 2 + 3 * channels + others
    real = type(model).from_config(model.config)
    real.save_pretrained(tmp_path / "dit")
    full = ab.space("quant:dit_xl_2", bits=(2,), methods=("uaq",), checkpoint=str(tmp_path / "dit"))
    error = ab.costs(full)["quant_error"](["|".join(["uaq2"] * len(layers))])[0]
    with ab.quantise(real, "uaq2") as quantised:
        assert quantised.quant_error == pytest.approx(error)
    deeper = type(model).from_config({**model.config, "num_layers": 3})
    deeper.save_pretrained(tmp_path / "deeper")
    (tmp_path / "deeper" / "config.json").write_text((tmp_path / "dit" / "config.json").read_text())
    with pytest.raises(QuantisationError, match="unexpected keys"):
        load_published("dit_xl_2", tmp_path / "deeper")


def test_a_published_vision_transformer(tmp_path):
    pytest.importorskip("timm", reason="needs timm")
    space = ab.space("quant:vit_small", methods=("uaq",), grain="block")
    names = [unit.name for unit in space.units]
    assert "blocks.11.attn.qkv+blocks.11.attn.proj" in names
    assert "blocks.11.mlp.fc1+blocks.11.mlp.fc2" in names
    assert len(space.stages) == 50  # 12 blocks of 4 layers, patches, head
    model, _ = load_published("vit_small")
    torch.save({"head.weight": torch.zeros(1)}, tmp_path / "damaged.pt")
    with pytest.raises(QuantisationError, match="Missing key"):
        load_published("vit_small", tmp_path / "damaged.pt")
    assert sum(p.numel() for p in model.parameters()) == 22_050_664
