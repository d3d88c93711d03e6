"""Two passes over the inputs of a group, where a sum over all rows would keep everything that it spans on chip.

A gate (squeeze-and-excitation) needs the whole map twice: for its mean, and to be scaled by what comes of it. In one
pass the map waits on chip. In two, the first pass computes what the sums need and keeps only them; the second reads the
inputs again and computes once more what the sums were taken of. Weights are read once and stay; the requirement is the
larger one of the two passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.graph import FusionGraph
from autobuild.cost.fusion.row_access import REDUCE


class TwoPasses(NamedTuple):
    """A way to cut a group into passes.

    Attributes:
        first: Operations of the first pass, which ends with sums over rows and what is computed from them alone.
        second: Operations of the second pass; those in both are computed twice.
    """

    first: int
    second: int


class Passes:
    """Ways to cut the groups of one graph."""

    def __init__(self, graph: FusionGraph) -> None:
        self.graph = graph
        tensors = graph.tensors
        sums = [any(access.kind == REDUCE and tensors[t].rows > 1 for t, access in op.operands) for op in graph.ops]
        self.sums = sum(1 << i for i, found in enumerate(sums) if found)
        # for each operation the producers of its operands of one row, and of the others
        self.single, self.many = ([0] * len(graph) for _ in range(2))
        for i, op in enumerate(graph.ops):
            for t, _ in op.operands:
                producer, many = tensors[t].producer, tensors[t].rows > 1
                if producer >= 0:
                    (self.many if many else self.single)[i] |= 1 << producer
        self.small = [all(tensors[t].rows == 1 for t, _ in op.operands) for op in graph.ops]

    def ways(self, mask: int) -> Iterator[TwoPasses]:
        """Cuts of a group: behind the first of its sums in the graph's order, the first two, and so on."""
        order = list(bits(mask))
        kept = 0
        for i in order:
            if self.sums >> i & 1:
                kept |= 1 << i
                first = self._first(order, mask, kept)
                second = self._second(order, mask, first)
                if second:
                    yield TwoPasses(first, second)

    def _first(self, order: list[int], mask: int, sums: int) -> int:
        """What sums need, and operations on single rows that have all that they need then."""
        found = sums
        for i in reversed(order):
            if found >> i & 1:
                found |= self.graph.preds[i] & mask
        for i in order:
            if self.small[i] and not self.graph.preds[i] & mask & ~found:
                found |= 1 << i
        return found

    def _second(self, order: list[int], mask: int, first: int) -> int:
        """All other operations, and once more those whose rows they read."""
        found = mask & ~first
        for i in reversed(order):
            if found >> i & 1:
                found |= (self.many[i] | self.single[i] & ~first) & mask
        return found

    def read_twice(self, mask: int, way: TwoPasses) -> int:
        """Bytes of the tensors from outside that both passes of a group read."""
        tensors = self.graph.tensors
        in_first, in_second = ({t for i in bits(part) for t, _ in self.graph.ops[i].operands} for part in way)
        outside = (t for t in in_first & in_second if tensors[t].producer < 0 or not mask >> tensors[t].producer & 1)
        return sum(tensors[t].dram_bytes for t in outside)

    def macs(self, mask: int) -> int:
        """Multiply-accumulates of some operations."""
        return sum(self.graph.ops[i].macs for i in bits(mask))
