"""Quantisation spaces by name, for the command line: ``space=quant:digits_dit``, ``space=quant:sdxl_unet``.

The names are those of the two models that ship, and of :func:`autobuild.quant.published.published`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autobuild.quant.digits.networks import CLASSES, SIDE, load_digits_network
from autobuild.quant.digits.train import denoising_loss, real_digits
from autobuild.quant.published import load_published, published
from autobuild.quant.space import quant_space
from autobuild.spaces import SearchSpace

BATCHES = 8  # of calibration
PROBED = 64  # pictures of the one-layer probe


def digits_losses(model: nn.Module) -> Iterator[Tensor]:
    """Denoising losses of batches of real digits, the same in every call."""
    pictures, classes = real_digits()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(BATCHES):
            rows = torch.randint(len(pictures), (64,))
            yield denoising_loss(model, pictures[rows], classes[rows])


def digits_dit(
    methods: Sequence[str] = ("uaq", "kmc", "kma"), bits: Sequence[int] = (3, 4), grain: str = "layer"
) -> SearchSpace:
    """Mixed precision of the small diffusion transformer that ships."""
    return _digits("digits_dit", methods, bits, grain)


def digits_unet(
    methods: Sequence[str] = ("uaq", "kmc", "kma"), bits: Sequence[int] = (3, 4), grain: str = "layer"
) -> SearchSpace:
    """Mixed precision of the small U-Net that ships."""
    return _digits("digits_unet", methods, bits, grain)


def _digits(name: str, methods: Sequence[str], bits: Sequence[int], grain: str) -> SearchSpace:
    options: dict[str, Any] = {"methods": methods, "bits": bits, "grain": grain}
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn((PROBED, 1, SIDE, SIDE), generator=generator)
    probe = noisy, torch.rand((PROBED,), generator=generator), torch.arange(PROBED) % CLASSES
    return quant_space(load_digits_network(name), probe, losses=digits_losses, probe=True, name=name, **options)


def __getattr__(name: str) -> Callable[..., SearchSpace]:
    """The space of a published model."""
    if name not in published():
        raise AttributeError(f"no quantisation space {name!r}")

    def space(
        methods: Sequence[str] = ("uaq", "kmc", "kma"),
        bits: Sequence[int] = (3, 4),
        grain: str = "layer",
        activations: int | None = None,
        checkpoint: str | None = None,
        fold: bool = False,
    ) -> SearchSpace:
        model, inputs = load_published(name, checkpoint)
        chosen: dict[str, Any] = {"methods": methods, "bits": bits, "grain": grain, "activations": activations}
        return quant_space(model, inputs, fold=fold, name=name, **chosen)

    return space


def __dir__() -> list[str]:
    return ["digits_dit", "digits_unet", *published()]
