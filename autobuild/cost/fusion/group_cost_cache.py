"""A cache of group costs for many networks: equal groups of different networks are computed once.

Networks of a search space are built from the same blocks. The cost of a group depends only on its operations and their
edges. So the key of the cache describes every operation from the first to the last of the group, and the relative
positions of its producers and consumers.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.deadline import NEVER, Deadline
from autobuild.cost.fusion.graph import FusionGraph
from autobuild.cost.fusion.group_costs import GroupCost, GroupCosts

MAX_GROUPS = 2_000_000  # groups of all networks together; beyond, the cache is cleared

_ids: dict[Any, int] = {}
_known: dict[tuple[int, str, bool], dict[tuple[int, int], int]] = {}


class CachedGroupCosts:
    """As :class:`GroupCosts`, with a cache of DRAM bytes that all networks of this process share.

    Args:
        graph: A fusion graph.
        buffer_bytes: As for :class:`GroupCosts`.
        scheme: As for :class:`GroupCosts`.
        recompute: As for :class:`GroupCosts`.
    """

    def __init__(self, graph: FusionGraph, buffer_bytes: int, scheme: str = "mixed", recompute: bool = False) -> None:
        self.graph, self.options = graph, (buffer_bytes, scheme, recompute)
        self.n, self.preds, self.succs, self.neighbours = len(graph), graph.preds, graph.succs, graph.neighbours
        self.tensors, self.weights = graph.read_tensors, graph.own_weight_bytes
        if sum(map(len, _known.values())) > MAX_GROUPS or len(_ids) > 4 * MAX_GROUPS:
            _known.clear()
            _ids.clear()
        self._shared = _known.setdefault(self.options, {})
        self._dram: dict[int, int] = {}
        self._deadline = NEVER
        self._segments: list[list[int]] = [[] for _ in range(self.n)]
        self._signatures = [_ids.setdefault(_signature(graph, i), len(_ids)) for i in range(self.n)]

    @cached_property
    def computed(self) -> GroupCosts:
        """Costs of this network without the cache; created for the first group that the cache lacks."""
        made = GroupCosts(self.graph, *self.options)
        made.deadline = self._deadline
        return made

    @property
    def deadline(self) -> Deadline:
        """See :attr:`GroupCosts.deadline`."""
        return self._deadline

    @deadline.setter
    def deadline(self, deadline: Deadline) -> None:
        self._deadline = deadline
        if "computed" in self.__dict__:
            self.computed.deadline = deadline

    def __call__(self, mask: int) -> GroupCost:
        """See :meth:`GroupCosts.__call__`; not cached."""
        return self.computed(mask)

    def surely_invalid(self, mask: int) -> bool:
        """See :meth:`GroupCosts.surely_invalid`."""
        return self.computed.surely_invalid(mask)

    def dram(self, mask: int) -> int:
        """DRAM bytes of a group, -1 where it is not valid."""
        dram = self._dram.get(mask)
        if dram is None:
            first = (mask & -mask).bit_length() - 1
            key = (self._segment_id(first, mask.bit_length() - 1), mask >> first)
            dram = self._shared.get(key)
            if dram is None:
                dram = self._shared[key] = self.computed.dram(mask)
            self._dram[mask] = dram
        return dram

    def _segment_id(self, first: int, last: int) -> int:
        """Number of the segment of operations ``first`` to ``last``; equal for equal segments of any network."""
        known = self._segments[first]
        while len(known) <= last - first:
            signature = self._signatures[first + len(known)]
            longer = (known[-1], signature) if known else (signature,)
            known.append(_ids.setdefault(longer, len(_ids)))
        return known[last - first]


def _signature(graph: FusionGraph, i: int) -> tuple[object, ...]:
    """All properties of an operation that the cost of a group depends on; other operations by relative position."""
    op = graph.ops[i]
    reads: list[tuple[object, ...]] = []
    for number, access in op.operands:
        tensor = graph.tensors[number]
        if tensor.producer >= 0:
            place = graph.ops[tensor.producer].outputs.index(number)
            reads.append((i - tensor.producer, place, *access))
        else:
            shape = (tensor.rows, tensor.row_bytes, tensor.dram_bytes, tensor.output)
            reads.append((0, shape, tuple(reader - i for reader in bits(tensor.consumers)), *access))
    writes = tuple(
        (tensor.rows, tensor.row_bytes, tensor.dram_bytes, tensor.output, tensor.consumers >> i)
        for tensor in (graph.tensors[number] for number in op.outputs)
    )
    own = (op.weight_bytes, op.weight_tiles, op.macs, op.accumulator_bytes, op.pointwise, op.barrier)
    common = tuple(
        (size, tuple(reader - i for reader in bits(readers))) for readers, size in graph.shared if readers >> i & 1
    )
    return (op.type, op.rows, *own, tuple(reads), writes, common)
