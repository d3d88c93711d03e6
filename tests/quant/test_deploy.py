"""Formats of deployment libraries: what is written computes what the quantised model computes."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import autobuild as ab
from autobuild.errors import QuantisationError
from autobuild.quant.deploy import compressed_tensors, torchao_state


def test_torchao_computes_the_same(tmp_path):
    pytest.importorskip("torchao", reason="needs torchao")

    def fresh():
        return nn.Sequential(nn.Conv1d(3, 6, 1), nn.Flatten(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 8))

    torch.manual_seed(0)
    model, x = fresh().eval(), torch.randn(5, 3, 4)
    for bits in (2, 5, 8):
        with torch.no_grad(), ab.quantise(model, {"0": "uaqt2", "2": f"uaq{bits}", "4": f"uaqt{bits}"}) as quantised:
            state, floating = torchao_state(quantised)
            wanted = model(x)
        torch.save(state, tmp_path / "model.pt")
        again = fresh().eval()
        again.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True), assign=True)
        assert floating == ["0"]
        assert again[2].weight.target_dtype == getattr(torch, f"int{bits}")
        with torch.no_grad():
            torch.testing.assert_close(again(x), wanted)


def test_what_torchao_cannot_hold_is_refused():
    pytest.importorskip("torchao", reason="needs torchao")
    model = nn.Sequential(nn.Linear(24, 16))
    with (
        ab.quantise(model, "kmc3") as quantised,
        pytest.raises(QuantisationError, match="0: kmc3: torchao has no"),
    ):
        torchao_state(quantised)
    with (
        ab.quantise(model, "uaq4", activations=8) as quantised,
        pytest.raises(QuantisationError, match="activations=8"),
    ):
        torchao_state(quantised)


def test_compressed_tensors_say_the_same_weights():
    """Read by hand: signed codes minus zero point, times scale."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(3, 6, 1), nn.Flatten(), nn.Linear(23, 37), nn.Linear(37, 5))
    for bits in (3, 8):
        with ab.quantise(model, {"0": "uaq2", "2": f"uaq{bits}", "3": "uaqt2"}) as quantised:
            state, about, floating = compressed_tensors(quantised)
            wanted = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        assert floating == ["0"]
        for name, own in (("2", bits), ("3", 2)):
            codes, zero = state.pop(f"{name}.weight"), state.pop(f"{name}.weight_zero_point")
            assert codes.dtype == zero.dtype == torch.int8
            assert -(2 ** (own - 1)) <= int(codes.min()) <= int(codes.max()) < 2 ** (own - 1)
            made = (codes.float() - zero) * state.pop(f"{name}.weight_scale")
            assert torch.equal(made, wanted.pop(f"{name}.weight"))
        assert all(torch.equal(state.pop(name), tensor) for name, tensor in wanted.items())
        assert not state
        groups = about["quantization_config"]["config_groups"].values()
        assert {g["weights"]["num_bits"]: g["targets"] for g in groups} == {2: ["3"], bits: ["2"]}


def test_transformers_read_what_is_exported(tmp_path):
    """A small language model, mixed bits; a matrix of embeddings that the last layer shares stays as it is."""
    pytest.importorskip("compressed_tensors", reason="needs compressed-tensors")
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    pytest.importorskip("accelerate", reason="needs accelerate, with which transformers loads")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    model, tokens = transformers.LlamaForCausalLM(config).eval(), torch.arange(9)[None]
    layers = [name for name, layer in model.model.named_modules() if isinstance(layer, nn.Linear)]
    choices = {f"model.{name}": f"uaq{(3, 4, 8)[i % 3]}" for i, name in enumerate(layers)}
    with torch.no_grad(), ab.quantise(model, choices) as quantised:
        state, about, floating = compressed_tensors(quantised)
        wanted = model(tokens).logits
    assert not floating
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(about))
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(again(tokens).logits, wanted)
