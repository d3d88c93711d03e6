"""DRAM bytes of groups from precomputed tables: equal to :meth:`FusionGraph.dram_bytes`, and faster."""

from __future__ import annotations

from autobuild.cost.fusion.graph import FusionGraph


class DramTraffic:
    """DRAM bytes of the groups of one graph."""

    def __init__(self, graph: FusionGraph) -> None:
        tensors = graph.tensors
        # written tensors: (bytes, mask of readers); an output of the network always has a reader outside
        self.writes = [
            tuple((tensors[t].dram_bytes, -1 if tensors[t].output else tensors[t].consumers) for t in op.outputs)
            for op in graph.ops
        ]
        # read tensors: (bytes, mask of its producer and earlier readers); not counted here if the group has one of them
        self.reads = [
            tuple(
                (tensors[t].dram_bytes, tensors[t].consumers & ((1 << i) - 1) | _bit(tensors[t].producer))
                for t in dict.fromkeys(t for t, _ in op.operands)
            )
            for i, op in enumerate(graph.ops)
        ]
        self.weights = [op.weight_bytes for op in graph.ops]
        self.repeated = graph.repeated_bytes if graph.shared else None

    def dram_bytes(self, mask: int) -> int:
        """DRAM bytes of a group: its weights, tensors from outside, and tensors that are read outside, each once."""
        outside, left = ~mask, mask
        moved = -self.repeated(mask) if self.repeated else 0
        while left:
            low = left & -left
            left ^= low
            i = low.bit_length() - 1
            moved += self.weights[i]
            for size, readers in self.writes[i]:
                if readers & outside:
                    moved += size
            for size, others in self.reads[i]:
                if not others & mask:
                    moved += size
        return moved


def _bit(i: int) -> int:
    return 1 << i if i >= 0 else 0
