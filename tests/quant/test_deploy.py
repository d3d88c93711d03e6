"""Formats of deployment libraries: what is written computes what the quantised model computes."""

import pytest
import torch
from torch import nn

import autobuild as ab
from autobuild.errors import QuantisationError
from autobuild.quant.deploy import torchao_state


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
    with ab.quantise(model, "kmc3") as quantised, pytest.raises(QuantisationError, match="0: kmc3: no deployment"):
        torchao_state(quantised)
    with (
        ab.quantise(model, "uaq4", activations=8) as quantised,
        pytest.raises(QuantisationError, match="activations=8"),
    ):
        torchao_state(quantised)
