"""Counting parameters and multiply-accumulates of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autobuild.errors import CostError, GraphError
from autobuild.graphs.operations import OperationGraph

if TYPE_CHECKING:
    from torch import nn


def count_params(net: nn.Module) -> int:
    """Number of trainable parameters: ``sum(p.numel() for p in net.parameters())``.

    Scales and shifts of batch norms are included, running statistics are not. Shared parameters count once. The
    operation graph gives the same number (``params``), unless the network has parameters that no output depends on.

    Args:
        net: The network.
    """
    return sum(parameter.numel() for parameter in net.parameters())


def count_macs(net: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of one forward pass of one input: those of the network's operation graph.

    - Convolution: output positions * output channels * input channels / groups * kernel positions, padding included.
    - Transposed convolution: the same with input positions.
    - Linear layer: inputs * outputs for every row.
    - Attention, recurrent layers, products of two tensors: their multiplications, in modules and in functions.
    - Biases, normalisation, activations, pooling, additions and gates count nothing.

    An operation that runs twice counts twice.

    Args:
        net: The network; it is not changed.
        input_shape: Shape of one input without the batch, e.g. ``(channels, height, width)``. For networks of several
            inputs, see :func:`autobuild.graph_of`.

    Raises:
        CostError: The network cannot be traced on inputs of this shape, or has operators without a rule. The message
            names them.
    """
    from autobuild.graphs.from_torch import from_torch

    try:
        return macs_of(from_torch(net, (1, *input_shape)))
    except GraphError as error:
        raise CostError(f"macs for inputs of shape {tuple(input_shape)}: {error}", "no_network") from error


def macs_of(graph: OperationGraph) -> int:
    """Multiply-accumulates of a graph.

    Raises:
        CostError: Operators have no rule. The message names them.
    """
    if graph.uncounted:
        named = ", ".join(f"{name} ({count})" for name, count in list(graph.uncounted.items())[:5])
        raise CostError(
            f"macs of {graph.name!r}: no rule for {named}; {graph.macs:,} without. The space of an architecture can "
            "declare the count itself (tallies); graph.macs leaves such operators out"
        )
    return graph.macs
