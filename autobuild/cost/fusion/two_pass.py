"""Two passes over the inputs of a group with a reduction over rows, so the reduced map need not stay on chip.

The gate of squeeze-and-excitation needs a map twice: for its mean, and to be scaled by the gate. In one pass the whole
map stays on chip. With two passes, the first pass computes the reductions and keeps only their results. The second pass
reads the inputs again and recomputes the map. Weights are read once and stay. The required buffer is the larger one of
both passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.graph import FusionGraph
from autobuild.cost.fusion.row_access import REDUCE


class TwoPassCut(NamedTuple):
    """A division of a group into two passes.

    Attributes:
        first: Mask of the first pass. It ends with reductions and operations on their results.
        second: Mask of the second pass. Operations in both masks are computed twice.
    """

    first: int
    second: int


class TwoPassCuts:
    """Divisions of the groups of one graph into two passes."""

    def __init__(self, graph: FusionGraph) -> None:
        self.graph = graph
        tensors = graph.tensors
        reduces = [any(access.kind == REDUCE and tensors[t].rows > 1 for t, access in op.operands) for op in graph.ops]
        self.sums = sum(1 << i for i, reduced in enumerate(reduces) if reduced)
        # for each operation the producers of its operands with one row, and with more rows
        self.single, self.many = ([0] * len(graph) for _ in range(2))
        for i, op in enumerate(graph.ops):
            for t, _ in op.operands:
                producer, many = tensors[t].producer, tensors[t].rows > 1
                if producer >= 0:
                    (self.many if many else self.single)[i] |= 1 << producer
        self.small = [all(tensors[t].rows == 1 for t, _ in op.operands) for op in graph.ops]

    def cuts(self, mask: int) -> Iterator[TwoPassCut]:
        """Divisions of a group after its first reduction in the graph's order, after the first two, and so on."""
        order = list(bits(mask))
        kept = 0
        for i in order:
            if self.sums >> i & 1:
                kept |= 1 << i
                first = self._first(order, mask, kept)
                second = self._second(order, mask, first)
                if second:
                    yield TwoPassCut(first, second)

    def _first(self, order: list[int], mask: int, sums: int) -> int:
        """First pass: ancestors of the reductions, and operations on single rows whose producers are in the pass."""
        members = sums
        for i in reversed(order):
            if members >> i & 1:
                members |= self.graph.preds[i] & mask
        for i in order:
            if self.small[i] and not self.graph.preds[i] & mask & ~members:
                members |= 1 << i
        return members

    def _second(self, order: list[int], mask: int, first: int) -> int:
        """Second pass: all other operations, and those of the first pass whose rows they read."""
        members = mask & ~first
        for i in reversed(order):
            if members >> i & 1:
                members |= (self.many[i] | self.single[i] & ~first) & mask
        return members

    def read_twice(self, mask: int, cut: TwoPassCut) -> int:
        """DRAM bytes of the tensors from outside that both passes of a group read."""
        tensors = self.graph.tensors
        in_first, in_second = ({t for i in bits(part) for t, _ in self.graph.ops[i].operands} for part in cut)
        outside = (t for t in in_first & in_second if tensors[t].producer < 0 or not mask >> tensors[t].producer & 1)
        return sum(tensors[t].dram_bytes for t in outside)

    def macs(self, mask: int) -> int:
        """Multiply-accumulates of the operations in a mask."""
        return sum(self.graph.ops[i].macs for i in bits(mask))
