"""Train the networks of the digits example again: ``python -m autobuild.quant.digits.train [NAME ...]``.

Minutes on one CPU core for each network. The weights that ship were made by this script.
"""

from __future__ import annotations

import copy
import math
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from autobuild.quant.digits.networks import NETWORKS, WEIGHTS

STEPS = {"digits_dit": 4000, "digits_unet": 4000, "digits_classifier": 800}
BATCH = 64
LEARNING_RATE = 2e-3
AVERAGING = 0.998  # decay of the exponential moving average of the weights
SEED = 0


def real_digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's 1,797 digits: pictures in [-1, 1], shape ``(n, 1, 8, 8)``, and classes, shape ``(n,)``."""
    from sklearn.datasets import load_digits

    source = load_digits()
    pictures = torch.tensor(source.images, dtype=torch.float32)[:, None] / 8 - 1
    return pictures, torch.tensor(source.target, dtype=torch.int64)


def train(name: str, steps: int | None = None, seed: int = SEED) -> nn.Module:
    """Train one network: AdamW, one cosine cycle, averaged weights.

    Args:
        name: One of :data:`~autobuild.quant.digits.networks.NETWORKS`.
        steps: Number of batches. Default: those of the weights that ship.
        seed: Seed of weights, batches and noise.

    Returns:
        The network with averaged weights, in evaluation mode.
    """
    torch.manual_seed(seed)
    pictures, classes = real_digits()
    network: nn.Module = NETWORKS[name]()
    averaged = copy.deepcopy(network)
    total = steps or STEPS[name]
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=total, pct_start=0.05)
    for step in range(total):
        rows = torch.randint(len(pictures), (BATCH,))
        loss = _loss(network, pictures[rows], classes[rows])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        decay = min(AVERAGING, step / (step + 10))
        with torch.no_grad():
            for mean, own in zip(averaged.parameters(), network.parameters(), strict=True):
                mean.lerp_(own, 1 - decay)
        if step % 500 == 0:
            print(f"{name} step {step} of {total}: loss {loss.item():.4f}", flush=True)
    return averaged.eval()


def denoising_loss(network: nn.Module, pictures: Tensor, classes: Tensor) -> Tensor:
    """Mean squared error of the predicted ``v`` at random times, with torch's generator."""
    times, noise = torch.rand(len(pictures)), torch.randn_like(pictures)
    cos, sin = (f(times * math.pi / 2)[:, None, None, None] for f in (torch.cos, torch.sin))
    return functional.mse_loss(network(cos * pictures + sin * noise, times, classes), cos * noise - sin * pictures)


def _loss(network: nn.Module, pictures: Tensor, classes: Tensor) -> Tensor:
    if hasattr(network, "features"):
        noisy = pictures + 0.1 * torch.randn_like(pictures)
        return functional.cross_entropy(network(noisy), classes)
    return denoising_loss(network, pictures, classes)


def main(names: list[str]) -> None:
    """Train the named networks, or all, and write their weights."""
    from safetensors.torch import save_file

    WEIGHTS.mkdir(exist_ok=True)
    for name in names or list(NETWORKS):
        network = train(name)
        save_file(network.state_dict(), Path(WEIGHTS) / f"{name}.safetensors")


if __name__ == "__main__":
    main(sys.argv[1:])
