"""DRAM bytes of a network whose operations are fused as well as they can be."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from autobuild.cost.block_tables import Measured, block_bounds
from autobuild.cost.fusion import FusionGraph, fold
from autobuild.cost.fusion.fusing import unfused_dram_bytes
from autobuild.cost.fusion.group_cost_cache import CachedGroupCosts
from autobuild.cost.fusion.partition.exact import exact_partition
from autobuild.cost.fusion.partition.partition import Partition
from autobuild.cost.hardware import Hardware
from autobuild.errors import CostError, GraphError
from autobuild.graphs.operations import OperationGraph
from autobuild.spaces import SearchSpace
from autobuild.spaces.additive import Bounds

TIME_LIMIT_S = 60.0


class DramBytes:
    """``dram_bytes``: bytes between DRAM and chip of one forward pass, under the best partition into fusion groups.

    The partition is the exact optimum (:func:`autobuild.cost.fusion.partition.exact.exact_partition`); should a network
    be so large that its limits are met, it is a valid partition all the same, so never too few bytes.
    ``unfused_dram_bytes`` are those of every operation alone in the same buffer, with activations folded; what does not
    fit is read several times (:func:`autobuild.cost.fusion.fusing.unfused_dram_bytes`).

    Args:
        hardware: Its buffer, and its bytes of a weight and of an activation.
        scheme: ``mixed``, ``lbdf`` or ``brr`` (:class:`autobuild.cost.fusion.GroupCosts`).
        recompute: Whether a group may read its inputs twice and compute some of them again.
    """

    name = "dram_bytes"
    unit = "byte"
    metrics: Mapping[str, str] = MappingProxyType({"dram_bytes": "byte", "unfused_dram_bytes": "byte"})

    def __init__(self, hardware: Hardware, scheme: str = "mixed", recompute: bool = False) -> None:
        self.hardware, self.scheme, self.recompute = hardware, scheme, recompute
        self._measured = lru_cache(maxsize=100_000)(self._measure)

    def __call__(self, graph: OperationGraph) -> dict[str, float]:
        """See :class:`autobuild.cost.Cost`.

        Raises:
            CostError: An operation that the buffer cannot hold in any way (reason ``infeasible``); it is named.
        """
        try:
            folded = self._folded(graph)
        except GraphError as error:
            raise CostError(f"{self.name} of {graph.name!r}: {error}") from None
        costs = self._costs(folded)
        return {"dram_bytes": self.partition(folded, costs).dram_bytes, "unfused_dram_bytes": unfused_dram_bytes(costs)}

    def partition(self, folded: FusionGraph, costs: CachedGroupCosts | None = None) -> Partition:
        """The partition behind the number; ``costs``, where they are at hand. Raises CostError as above."""
        costs = costs or self._costs(folded)
        found = exact_partition(costs, time_limit_s=TIME_LIMIT_S)
        if found.unschedulable:
            reason = costs(1 << found.unschedulable[0]).reason
            raise CostError(f"{self.name} of {folded.name!r}: {reason}", "infeasible")
        return found

    def _costs(self, folded: FusionGraph) -> CachedGroupCosts:
        return CachedGroupCosts(folded, self.hardware.buffer_bytes, self.scheme, self.recompute)

    def _folded(self, graph: OperationGraph) -> FusionGraph:
        return fold(graph, self.hardware.weight_bytes, self.hardware.activation_bytes)

    def unit_tables(self, space: SearchSpace) -> dict[str, Bounds]:
        """See :class:`autobuild.cost.TabledCost`.

        Upper: the best partition of every layer cut at its borders; together they are a partition of the network.
        Lower: weights, the network's input and its output, which no fusion saves.
        """
        return block_bounds(space, tuple(self.metrics), self._measured)

    def _measure(self, part: Measured) -> tuple[tuple[float, float], ...] | None:
        folded = self._folded(part.graph())
        outside = sum(tensor.dram_bytes for tensor in folded.tensors if tensor.producer < 0) * (not part.first)
        outside += sum(tensor.dram_bytes for tensor in folded.tensors if tensor.output) * (not part.last)
        costs = self._costs(folded)
        try:
            best = self.partition(folded, costs).dram_bytes
        except CostError:
            return None
        inner = self._folded(part.graph(inner=True))
        return (
            (folded.floor_bytes - outside, best),
            (unfused_dram_bytes(self._costs(inner)), unfused_dram_bytes(costs)),
        )
