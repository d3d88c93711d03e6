"""DRAM bytes of groups, fast: what :meth:`FusionGraph.dram_bytes` adds up, from tables for each operation."""

from __future__ import annotations

from autobuild.cost.fusion.graph import FusionGraph


class Traffic:
    """Bytes that the groups of one graph move."""

    def __init__(self, graph: FusionGraph) -> None:
        tensors = graph.tensors
        # (bytes, readers) of tensors written; those that leave the network count as read outside
        self.writes = [
            tuple((tensors[t].dram_bytes, -1 if tensors[t].output else tensors[t].consumers) for t in op.outputs)
            for op in graph.ops
        ]
        # (bytes, operations whose presence in the group means that it is not read here: its writer, earlier readers)
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
        """Bytes of a group: its weights, every tensor from outside once, every tensor that leaves it once."""
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
