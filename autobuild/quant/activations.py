"""Online quantisation of activations: every token's values are rounded to a grid over their own range."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autobuild.errors import QuantisationError

ACTIVATION_BITS = (6, 8)


def quantise_tokens(x: Tensor, bits: int, dim: int = -1) -> Tensor:
    """Round values to ``2^bits`` evenly spaced ones between the least and the greatest along a dimension, and 0.

    Args:
        x: Activations, of any shape.
        bits: Bits of a value.
        dim: Dimension along which a token's values lie: the last one of a sequence, the channels of an image.

    Returns:
        The rounded values, of the same shape.
    """
    low, high = x.amin(dim, keepdim=True).clamp(max=0), x.amax(dim, keepdim=True).clamp(min=0)
    scale = ((high - low) / (2**bits - 1)).clamp(min=torch.finfo(x.dtype).tiny)
    zero = torch.round(-low / scale)
    codes = ((x / scale).round() + zero).clamp(0, 2**bits - 1)
    out: Tensor = (codes - zero) * scale
    return out


@contextlib.contextmanager
def quantised_inputs(layers: Sequence[nn.Module], bits: int) -> Iterator[None]:
    """Round the inputs of linear and convolutional layers while the context lasts; embeddings take whole numbers.

    Args:
        layers: The layers.
        bits: 6 or 8.

    Raises:
        QuantisationError: Other bits.
    """
    if bits not in ACTIVATION_BITS:
        raise QuantisationError(f"activations={bits!r}; accepted: 6 or 8 bits, or None")

    def rounded(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        dim = -1 if isinstance(layer, nn.Linear) else -1 - len(layer.kernel_size)  # type: ignore[arg-type]
        return (quantise_tokens(inputs[0], bits, dim), *inputs[1:])

    handles = [layer.register_forward_pre_hook(rounded) for layer in layers if not isinstance(layer, nn.Embedding)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
