"""Counting parameters and multiply-accumulates of a network."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

from autobuild.errors import EvaluationError

if TYPE_CHECKING:
    from torch import Tensor, nn


def count_params(net: nn.Module) -> int:
    """Number of trainable numbers: weights, biases, batch norms' scales and shifts; running statistics are not."""
    return sum(parameter.numel() for parameter in net.parameters())


def count_macs(net: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of one forward pass of one input.

    The rule: a convolution counts (positions of its output) * (output channels) * (input channels / groups) * (kernel
    positions), padding included; a transposed one the same over its input's positions; a linear layer counts inputs *
    outputs for every row it is given. Biases, normalisation, activations, pooling, additions and gates count nothing.
    A layer that is called twice counts twice. Nothing is computed: shapes run through a copy on torch's meta device.

    Args:
        net: The network; it is left as it is.
        input_shape: Shape of one input without the batch, e.g. ``(channels, height, width)``.

    Raises:
        EvaluationError: If the network does not accept inputs of this shape.
    """
    import torch
    from torch import nn

    total = 0

    def count(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Linear):
            total += output.numel() * module.in_features
        elif isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            total += inputs[0].numel() * (module.out_channels // module.groups) * math.prod(module.kernel_size)
        else:
            total += output.numel() * (module.in_channels // module.groups) * math.prod(module.kernel_size)

    counted = (
        nn.Linear,
        nn.Conv1d,
        nn.Conv2d,
        nn.Conv3d,
        nn.ConvTranspose1d,
        nn.ConvTranspose2d,
        nn.ConvTranspose3d,
    )
    shadow = copy.deepcopy(net).to("meta").eval()
    for module in shadow.modules():
        if isinstance(module, counted):
            module.register_forward_hook(count)
    try:
        with torch.no_grad():
            shadow(torch.empty((1, *input_shape), device="meta"))
    except (RuntimeError, ValueError, IndexError) as error:
        raise EvaluationError(f"the network does not accept inputs of shape {tuple(input_shape)}: {error}") from error
    return total
