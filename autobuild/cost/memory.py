"""Peak of the activations that are alive at once."""

from __future__ import annotations

from autobuild.cost.fusion import FusionGraph, fold
from autobuild.cost.hardware import Hardware
from autobuild.graphs.operations import OperationGraph


class ActivationPeak:
    """``activation_peak_bytes``: the most that activations need at once, exactly, in the order of the graph's nodes.

    While an operation runs, what it reads, what it writes and every tensor that a later one reads are alive; the
    network's inputs are from the start, its outputs to the end. Activations are folded into their producers, and what
    only gives bytes another shape (views, concatenations) has none of its own (:func:`autobuild.cost.fusion.fold`);
    nothing else is done in place. The peak is the least that any memory planner can reach in this order without
    splitting a tensor: placing tensors at addresses may need more. Another order may need less; none is searched.

    Args:
        hardware: Its bytes of an activation.
    """

    name = "activation_peak_bytes"
    unit = "byte"

    def __init__(self, hardware: Hardware) -> None:
        self.hardware = hardware

    def __call__(self, graph: OperationGraph) -> dict[str, float]:
        """See :class:`autobuild.cost.Cost`."""
        return {self.name: peak_bytes(fold(graph, activation_bytes=self.hardware.activation_bytes))}


def peak_bytes(graph: FusionGraph) -> int:
    """The most bytes of tensors that are alive at once while the operations run in their order."""
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
