"""Peak of the activations that are alive at once."""

from __future__ import annotations

from autobuild.cost.hardware import Hardware
from autobuild.cost.steps import Steps, steps_of
from autobuild.graphs.operations import OperationGraph


class ActivationPeak:
    """``activation_peak_bytes``: the most that activations need at once, exactly, in the order of the graph's nodes.

    While a step runs, its inputs, its output and every tensor that a later step reads are alive; the network's inputs
    are from the start, its outputs to the end. A tensor is counted once, however many read it and in whatever shapes
    (aliases); an activation alone behind its producer is done in place (:mod:`autobuild.cost.steps`). The peak is the
    least that any memory planner can reach in this order without splitting a tensor: offsets may need more. Another
    order may need less; none is searched.

    Args:
        hardware: Its bytes of an activation.
    """

    name = "activation_peak_bytes"
    unit = "byte"

    def __init__(self, hardware: Hardware) -> None:
        self.hardware = hardware

    def __call__(self, graph: OperationGraph) -> dict[str, float]:
        """See :class:`autobuild.cost.Cost`."""
        return {self.name: peak_elements(steps_of(graph)) * self.hardware.activation_bytes}


def peak_elements(steps: Steps) -> int:
    """The most numbers that are alive at once."""
    last = {tensor: len(steps.steps) for tensor in steps.outputs}
    for place, step in enumerate(steps.steps):
        for tensor in step.reads:
            last[tensor] = max(last.get(tensor, 0), place)
    ending: dict[int, list[int]] = {}
    for tensor, place in last.items():
        ending.setdefault(place, []).append(tensor)
    now = sum(steps.elements[tensor] for tensor in steps.inputs)
    peak = now
    for place, step in enumerate(steps.steps):
        now += steps.elements[step.writes]
        peak = max(peak, now)
        now -= sum(steps.elements[tensor] for tensor in ending.get(place, ()))
        if step.writes not in last:  # nobody reads it
            now -= steps.elements[step.writes]
    return peak
