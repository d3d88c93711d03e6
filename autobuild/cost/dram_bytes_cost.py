"""The cost ``dram_bytes``: DRAM traffic under the best partition into fusion groups."""

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
from autobuild.registry import COSTS
from autobuild.spaces import SearchSpace
from autobuild.spaces.additive import Bounds

TIME_LIMIT_S = 60.0


@COSTS.register("dram_bytes")
class DramBytes:
    """``dram_bytes``: bytes between DRAM and chip of one forward pass, under the best partition into fusion groups.

    The partition is optimal (:func:`autobuild.cost.fusion.partition.exact.exact_partition`). For a network so large
    that the solver reaches a limit it is still valid, so the bytes are an upper bound of the optimum.
    ``unfused_dram_bytes``: every operation is its own group in the same buffer, with folded activations. Data that does
    not fit is read several times (:func:`autobuild.cost.fusion.fusing.unfused_dram_bytes`).

    Args:
        hardware: Hardware description: buffer size, bytes of a weight and of an activation.
        scheme: ``mixed``, ``lbdf`` or ``brr`` (:class:`autobuild.cost.fusion.GroupCosts`).
        recompute: Whether a group may run in two passes over its inputs.
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
            CostError: The buffer cannot hold an operation in any way (reason ``infeasible``). The message names it.
        """
        try:
            folded = self._folded(graph)
        except GraphError as error:
            raise CostError(f"{self.name} of {graph.name!r}: {error}") from None
        costs = self._costs(folded)
        return {"dram_bytes": self.partition(folded, costs).dram_bytes, "unfused_dram_bytes": unfused_dram_bytes(costs)}

    def partition(self, folded: FusionGraph, costs: CachedGroupCosts | None = None) -> Partition:
        """The best partition of a fusion graph.

        Args:
            folded: The fusion graph.
            costs: Costs of its groups, if already made.

        Raises:
            CostError: As for :meth:`__call__`.
        """
        costs = costs or self._costs(folded)
        partition = exact_partition(costs, time_limit_s=TIME_LIMIT_S)
        if partition.unschedulable:
            reason = costs(1 << partition.unschedulable[0]).reason
            raise CostError(f"{self.name} of {folded.name!r}: {reason}", "infeasible")
        return partition

    def _costs(self, folded: FusionGraph) -> CachedGroupCosts:
        return CachedGroupCosts(folded, self.hardware.buffer_bytes, self.scheme, self.recompute)

    def _folded(self, graph: OperationGraph) -> FusionGraph:
        return fold(graph, self.hardware.weight_bytes, self.hardware.activation_bytes)

    def unit_tables(self, space: SearchSpace) -> dict[str, Bounds]:
        """See :class:`autobuild.cost.TabledCost`.

        Upper bound: the sum of the best partitions of the single layers, which together are a partition of the
        network. Lower bound: weights, and the network's input and output, which no fusion saves.
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
