"""The cost ``activation_peak_bytes``: the most bytes of activations that are alive at once."""

from __future__ import annotations

from autobuild.cost.fusion import FusionGraph, fold
from autobuild.cost.hardware import Hardware
from autobuild.graphs.operations import OperationGraph
from autobuild.registry import COSTS


@COSTS.register("activation_peak_bytes")
class ActivationPeak:
    """``activation_peak_bytes``: the most bytes that activations need at once, in the order of the graph's nodes.

    While an operation runs, its operands, its outputs and every tensor that a later operation reads are alive. The
    network's inputs are alive from the start, its outputs to the end. Activation functions are folded into their
    producers, and views and concatenations have no tensor of their own (:func:`autobuild.cost.fusion.fold`). Nothing
    else is computed in place. In this order, no memory planner that does not split tensors can need less; the placement
    at addresses may need more. Other orders are not searched.

    Args:
        hardware: Hardware description: bytes of an activation.
    """

    name = "activation_peak_bytes"
    unit = "byte"

    def __init__(self, hardware: Hardware) -> None:
        self.hardware = hardware

    def __call__(self, graph: OperationGraph) -> dict[str, float]:
        """See :class:`autobuild.cost.Cost`."""
        return {self.name: peak_bytes(fold(graph, activation_bytes=self.hardware.activation_bytes))}


def peak_bytes(graph: FusionGraph) -> int:
    """The most bytes of tensors that are alive at once while the operations run in order."""
    starts = [0] * (len(graph) + 1)  # bytes that become alive before an operation runs
    ends = [0] * (len(graph) + 1)  # bytes that are free after it
    for tensor in graph.tensors:
        first = max(tensor.producer, 0)
        last = len(graph) if tensor.output else max(tensor.consumers.bit_length() - 1, first)
        starts[first] += tensor.dram_bytes
        ends[last] += tensor.dram_bytes
    peak = now = 0
    for start, end in zip(starts, ends, strict=True):
        now += start
        peak = max(peak, now)
        now -= end
    return peak
