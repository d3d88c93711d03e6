"""Group costs that networks share: what a group costs depends on its own operations and on how they are wired.

Networks of a search space consist of the same blocks again and again. A group is looked up by what can tell it from
another: what each operation from its first to its last is, and at which distance it reads from and is read by others.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.deadline import NEVER, Deadline
from autobuild.cost.fusion.graph import FusionGraph
from autobuild.cost.fusion.group_costs import GroupCost, GroupCosts

MAX_GROUPS = 2_000_000  # held for all networks together; then everything is forgotten

_ids: dict[Any, int] = {}
_known: dict[tuple[int, str, bool], dict[tuple[int, int], int]] = {}


class SharedGroupCosts:
    """As :class:`GroupCosts`, but what an earlier network of this process had as well is not computed again.

    Args:
        graph: The network.
        buffer_bytes: As for :class:`GroupCosts`.
        scheme: The same.
        recompute: The same.
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
        self._stretches: list[list[int]] = [[] for _ in range(self.n)]
        self._signs = [_ids.setdefault(_signature(graph, i), len(_ids)) for i in range(self.n)]

    @cached_property
    def computed(self) -> GroupCosts:
        """The costs of this network alone; made when a group is not known yet."""
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
        """Cost of a group; see :meth:`GroupCosts.__call__`. Of this network alone."""
        return self.computed(mask)

    def hopeless(self, mask: int) -> bool:
        """See :meth:`GroupCosts.hopeless`."""
        return self.computed.hopeless(mask)

    def dram(self, mask: int) -> int:
        """DRAM bytes of a group, -1 where it is not valid."""
        found = self._dram.get(mask)
        if found is None:
            first = (mask & -mask).bit_length() - 1
            key = (self._stretch(first, mask.bit_length() - 1), mask >> first)
            found = self._shared.get(key)
            if found is None:
                found = self._shared[key] = self.computed.dram(mask)
            self._dram[mask] = found
        return found

    def _stretch(self, first: int, last: int) -> int:
        """A number for the operations from ``first`` to ``last``: equal for equal ones, in whatever network."""
        known = self._stretches[first]
        while len(known) <= last - first:
            sign = self._signs[first + len(known)]
            longer = (known[-1], sign) if known else (sign,)
            known.append(_ids.setdefault(longer, len(_ids)))
        return known[last - first]


def _signature(graph: FusionGraph, i: int) -> tuple[object, ...]:
    """All that a group's cost may depend on, of one operation; other operations only by how far away they are."""
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
    held = (op.weight_bytes, op.weight_tiles, op.macs, op.accumulator_bytes, op.pointwise, op.barrier)
    common = tuple(
        (size, tuple(reader - i for reader in bits(readers))) for readers, size in graph.shared if readers >> i & 1
    )
    return (op.type, op.rows, *held, tuple(reads), writes, common)
