"""The cost ``roofline``: latency and energy from a hardware description (roofline, Williams et al., CACM 2009)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from autobuild.cost.block_tables import Measured, block_bounds
from autobuild.cost.fusion import fold
from autobuild.cost.hardware import Hardware
from autobuild.errors import CostError
from autobuild.graphs.operations import OperationGraph
from autobuild.registry import COSTS
from autobuild.spaces import SearchSpace
from autobuild.spaces.additive import Bounds

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class StepCost:
    """Latency and energy of one operation, with its folded activation.

    Attributes:
        name: Name of the operation.
        type: Type of the operation.
        macs: Multiply-accumulates.
        dram_bytes: DRAM bytes: weights, inputs and outputs, each once.
        compute_s: ``macs / (macs_per_cycle * clock_hz)``, seconds.
        memory_s: ``dram_bytes / dram_bytes_per_s``, seconds.
        energy_j: ``1e-12 * (macs * mac_pj + dram_bytes * dram_pj_per_byte)``, joules.
    """

    name: str
    type: str
    macs: int
    dram_bytes: int
    compute_s: float
    memory_s: float
    energy_j: float

    @property
    def seconds(self) -> float:
        """The longer one of computing and moving, which overlap."""
        return max(self.compute_s, self.memory_s)


@COSTS.register("roofline")
class Roofline:
    """``roofline_ms`` and ``roofline_mj``: latency and energy of one forward pass, one operation after another.

    Operations are those of :func:`autobuild.cost.fusion.fold`: activations are folded, views and concatenations free.
    All tensors between operations go through DRAM, so this is the cost *without* layer fusion. For each operation,

        bytes   = weights + inputs + outputs, each once
        seconds = max(macs / (macs_per_cycle * clock_hz), bytes / dram_bytes_per_s)
        joules  = 1e-12 * (macs * mac_pj + bytes * dram_pj_per_byte)

    and the network's values are the sums. Every multiplier is busy in every cycle, and operations without
    multiply-accumulates (pooling, additions) take no compute time. So the latency is a lower bound for such hardware
    without fusion. Static power, control and the energy of the on-chip buffer are left out.

    Args:
        hardware: The hardware description.
    """

    name = "roofline"
    unit = "ms"
    metrics: Mapping[str, str] = MappingProxyType({"roofline_ms": "ms", "roofline_mj": "mJ"})

    def __init__(self, hardware: Hardware) -> None:
        self.hardware = hardware
        self._measured = lru_cache(maxsize=100_000)(self._measure)

    def __call__(self, graph: OperationGraph) -> dict[str, float]:
        """See :class:`autobuild.cost.Cost`."""
        steps = self.steps(graph)
        return {
            "roofline_ms": 1e3 * sum(step.seconds for step in steps),
            "roofline_mj": 1e3 * sum(step.energy_j for step in steps),
        }

    def steps(self, graph: OperationGraph) -> list[StepCost]:
        """Latency and energy of every operation, in order.

        Raises:
            CostError: Operations have no rule for multiply-accumulates (reason ``unknown``). The message names them.
        """
        if graph.uncounted:
            named = ", ".join(list(graph.uncounted)[:5])
            raise CostError(f"roofline of {graph.name!r}: no rule for the multiply-accumulates of {named}")
        hardware = self.hardware
        folded = fold(graph, hardware.weight_bytes, hardware.activation_bytes)
        return [self._step(op.name, op.type, op.macs, folded.dram_bytes(1 << i)) for i, op in enumerate(folded.ops)]

    def _step(self, name: str, kind: str, macs: int, dram: int) -> StepCost:
        hardware = self.hardware
        compute, memory = macs / hardware.macs_per_s, dram / hardware.dram_bytes_per_s
        energy = 1e-12 * (macs * hardware.mac_pj + dram * hardware.dram_pj_per_byte)
        return StepCost(name, kind, macs, dram, compute, memory, energy)

    def unit_tables(self, space: SearchSpace) -> dict[str, Bounds]:
        """See :class:`autobuild.cost.TabledCost`: the sum over operations, layer by layer.

        The first activation of a layer may be folded into the layer before it, so it counts only in the upper bound.
        """
        return block_bounds(space, tuple(self.metrics), self._measured)

    def _measure(self, part: Measured) -> tuple[tuple[float, float], ...]:
        least, most = self(part.graph(inner=True)), self(part.graph())
        return tuple((least[metric], most[metric]) for metric in self.metrics)

    def table(self, graph: OperationGraph) -> pd.DataFrame:
        """:meth:`steps` as a frame, with ``seconds`` and ``bound``: ``compute`` or ``memory``."""
        import pandas as pd

        rows = self.steps(graph)
        frame = pd.DataFrame([vars(row) for row in rows], columns=[field.name for field in fields(StepCost)])
        frame["seconds"] = [row.seconds for row in rows]
        return frame.assign(bound=["compute" if row.compute_s >= row.memory_s else "memory" for row in rows])
