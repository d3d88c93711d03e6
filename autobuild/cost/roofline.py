"""Latency and energy from a hardware description: the roofline of every step (Williams et al., CACM 2009)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autobuild.cost.hardware import Hardware
from autobuild.cost.steps import steps_of
from autobuild.errors import CostError
from autobuild.graphs.operations import OperationGraph

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class StepCost:
    """What one step takes.

    Attributes:
        name: Of the operation.
        type: Its type.
        macs: Multiply-accumulates.
        dram_bytes: Bytes moved: weights, inputs and output, each once.
        compute_s: ``macs / (macs_per_cycle * clock_hz)``, seconds.
        memory_s: ``dram_bytes / dram_bytes_per_s``, seconds.
        energy_j: ``macs * mac_pj + dram_bytes * dram_pj_per_byte``, joules.
    """

    name: str
    type: str
    macs: int
    dram_bytes: float
    compute_s: float
    memory_s: float
    energy_j: float

    @property
    def seconds(self) -> float:
        """The longer of the two: computing and moving overlap."""
        return max(self.compute_s, self.memory_s)


class Roofline:
    """``roofline_ms`` and ``roofline_mj``: latency and energy of one forward pass, one step after another.

    A step is an operation with the activation folded into it (:mod:`autobuild.cost.steps`); between steps everything
    goes through DRAM, so that this is the figure without layer fusion. Per step,

        bytes   = weight_bytes * weights + activation_bytes * (inputs + output)
        seconds = max(macs / (macs_per_cycle * clock_hz), bytes / dram_bytes_per_s)
        joules  = 1e-12 * (macs * mac_pj + bytes * dram_pj_per_byte)

    and the network's are the sums. Every multiplier works in every cycle, and operations without multiply-accumulates
    (pooling, additions, activations) compute in no time: the latency is a lower bound of what such hardware reaches.
    Static power, control and the on-chip buffer's own energy are left out.

    Args:
        hardware: The accelerator.
    """

    name = "roofline"
    unit = "ms"
    metrics = {"roofline_ms": "ms", "roofline_mj": "mJ"}

    def __init__(self, hardware: Hardware) -> None:
        self.hardware = hardware

    def __call__(self, graph: OperationGraph) -> dict[str, float]:
        """See :class:`autobuild.cost.Cost`."""
        steps = self.steps(graph)
        return {
            "roofline_ms": 1e3 * sum(step.seconds for step in steps),
            "roofline_mj": 1e3 * sum(step.energy_j for step in steps),
        }

    def steps(self, graph: OperationGraph) -> list[StepCost]:
        """What every step takes, in order.

        Raises:
            CostError: An operation whose multiply-accumulates nobody has a rule for (reason ``unknown``).
        """
        hardware, found = self.hardware, steps_of(graph)
        out = []
        for step in found.steps:
            if step.macs is None:
                raise CostError(
                    f"roofline of {graph.name!r}: no rule for the multiply-accumulates of {step.operation.name!r} "
                    f"({step.operation.op or step.operation.type})"
                )
            moved = sum(found.elements[tensor] for tensor in (*step.reads, step.writes))
            dram = step.weights * hardware.weight_bytes + moved * hardware.activation_bytes
            energy = 1e-12 * (step.macs * hardware.mac_pj + dram * hardware.dram_pj_per_byte)
            out.append(
                StepCost(
                    step.operation.name,
                    step.operation.type,
                    step.macs,
                    dram,
                    step.macs / hardware.macs_per_s,
                    dram / hardware.dram_bytes_per_s,
                    energy,
                )
            )
        return out

    def table(self, graph: OperationGraph) -> pd.DataFrame:
        """:meth:`steps` as a frame, with ``bound``: ``compute`` or ``memory``."""
        import pandas as pd

        rows = self.steps(graph)
        frame = pd.DataFrame([row.__dict__ for row in rows], columns=list(StepCost.__dataclass_fields__))
        frame["seconds"] = [row.seconds for row in rows]
        return frame.assign(bound=["compute" if row.compute_s >= row.memory_s else "memory" for row in rows])
