"""Bits of every layer by NVIDIA Model-Optimizer's ``auto_quantize``: results/quant_modelopt.json.

Runs in its own environment (``requirements_modelopt.txt``), from the root of the checkout:

    PYTHONPATH=. python benchmarks/peers/quant_modelopt.py [model ...]

It takes each network, the calibration batches and losses of its quantisation space, and weight-only integer formats
with a scale for every output channel; it adds "not quantised" (16 bits) by itself. Its gradient score and its search
are as they come. Layers that it does not quantise (embeddings) get the most bits that the space has.
"""

from __future__ import annotations

import copy
import sys
import warnings
from importlib.metadata import version
from typing import Any

import modelopt.torch.quantization as mtq
import torch
from shared import write
from torch import nn

from autobuild.quant import weight_layers
from autobuild.quant.digits.networks import load_digits_network
from autobuild.quant.digits.train import denoising_loss, real_digits

MODELS = {"digits_dit": (3, 4), "digits_unet": (3, 4)}
BUDGETS = (3.4, 3.7, 4.0)


def batches() -> list[Any]:
    """Calibration batches: real digits and their classes."""
    pictures, classes = real_digits()
    torch.manual_seed(0)
    rows = [torch.randint(len(pictures), (64,)) for _ in range(8)]
    return [(pictures[own], classes[own]) for own in rows]


def loss_of(network: nn.Module, batch: Any) -> torch.Tensor:
    """The loss that the network was trained with; the same noise for every configuration."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return denoising_loss(network, *batch)


def chosen(model: str, network: nn.Module, budget: float) -> dict[str, int]:
    """Bits of every layer; 16 where it is not quantised."""

    def backward(net: nn.Module, batch: Any) -> None:
        loss_of(net, batch).backward()

    formats = [
        {
            "quant_cfg": [
                {"quantizer_name": "*", "enable": False},
                {"quantizer_name": "*weight_quantizer", "cfg": {"num_bits": bits, "axis": 0}, "enable": True},
            ],
            "algorithm": "max",
        }
        for bits in MODELS[model]
    ]
    quantised, _ = mtq.auto_quantize(
        copy.deepcopy(network),
        constraints={"effective_bits": budget},
        quantization_formats=formats,
        data_loader=batches(),
        forward_step=lambda net, batch: loss_of(net, batch),
        forward_backward_step=backward,
        num_calib_steps=8,
        num_score_steps=8,
    )
    out = {}
    for name in weight_layers(network)[0]:
        quantizer = getattr(quantised.get_submodule(name), "weight_quantizer", None)
        if quantizer is None:
            out[name] = max(MODELS[model])
        else:
            out[name] = int(quantizer.num_bits) if quantizer.is_enabled else 16
    return out


def main() -> None:
    """Ask for all models and budgets, and write the answers."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = []
    for model in sys.argv[1:] or MODELS:
        network = load_digits_network(model)
        for budget in BUDGETS:
            rows.append({"model": model, "budget": budget, "bits": chosen(model, network, budget)})
    write("quant_modelopt", {"nvidia-modelopt": version("nvidia-modelopt"), "torch": torch.__version__}, rows)


if __name__ == "__main__":
    main()
