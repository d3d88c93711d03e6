"""Counting parameters and multiply-accumulates of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autobuild.errors import CostError, GraphError
from autobuild.graphs.operations import OperationGraph

if TYPE_CHECKING:
    from torch import nn


def count_params(net: nn.Module) -> int:
    """How many numbers a network stores and learns: ``sum(p.numel() for p in net.parameters())``.

    Batch norms' scales and shifts are among them, running statistics are not; shared ones count once. The operation
    graph of the network says the same as ``params``, unless the network has parameters that no output depends on.
    """
    return sum(parameter.numel() for parameter in net.parameters())


def count_macs(net: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of one forward pass of one input: those of the network's operation graph.

    A convolution counts (positions of its output) * (output channels) * (input channels / groups) * (kernel positions),
    padding included; a transposed one the same over its input's positions; a linear layer inputs * outputs for every
    row; attention, recurrent layers and products of two maps their products, whether a module or a function computes
    them. Biases, normalisation, activations, pooling, additions and gates count nothing. What runs twice counts twice.

    Args:
        net: The network; it is left as it is.
        input_shape: Shape of one input without the batch, e.g. ``(channels, height, width)``. For networks of several
            inputs, see :func:`autobuild.graph_of`.

    Raises:
        CostError: The network cannot be traced on inputs of this shape, or has operators without a rule, which the
            message names.
    """
    from autobuild.graphs.from_torch import from_torch

    try:
        return macs_of(from_torch(net, (1, *input_shape)))
    except GraphError as error:
        raise CostError(f"macs for inputs of shape {tuple(input_shape)}: {error}", "no_network") from error


def macs_of(graph: OperationGraph) -> int:
    """Multiply-accumulates of a graph, if they are known of all its operations.

    Raises:
        CostError: An operator without a rule; the message names those.
    """
    if graph.uncounted:
        named = ", ".join(f"{name} ({count})" for name, count in list(graph.uncounted.items())[:5])
        raise CostError(
            f"macs of {graph.name!r}: no rule for {named}; {graph.macs:,} without. The space of an architecture can "
            "declare the count itself (tallies); graph.macs leaves such operators out"
        )
    return graph.macs
