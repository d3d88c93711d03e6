"""Fusion groups as graphs for a graph neural network: one node per operation, byte counts relative to the buffer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.partition.partition import TrafficCosts
from autobuild.cost.fusion.partition.topology import Topology
from autobuild.cost.fusion.row_access import FULL, REDUCE, VECTOR, WINDOW

# First features of a node. Features of its operands and a one-hot operation type follow if the costs have a graph.
AMOUNTS = ("weights", "reads_outside", "writes", "leaves", "spanned")
COUNTS = ("preds_inside", "succs_inside", "longest_span")
OPERANDS = ("rows", "row", "window", "stride", "reduce", "full", "vector", "pointwise")


class GroupEncoder:
    """Encodes the groups of one network as graphs.

    Byte counts are divided by the buffer size. Each is given clipped at four buffers and on a logarithmic scale.
    All features of an absent operation are zero, so masking a node's features removes the operation.

    Args:
        costs: Costs of the groups of a network; ``costs.buffer_bytes`` is the buffer size. If it has a ``graph``
            (:class:`~autobuild.cost.fusion.FusionGraph`), operation types and row accesses are features as well.

    Attributes:
        size: Number of features of a node.
    """

    def __init__(self, costs: TrafficCosts) -> None:
        self.costs, self.topology = costs, Topology.of(costs)
        self.buffer = float(costs.buffer_bytes)  # type: ignore[attr-defined]
        self.reads: list[list[int]] = [[] for _ in range(len(self.topology))]
        self.writes: list[list[int]] = [[] for _ in range(len(self.topology))]
        for t, tensor in enumerate(costs.tensors):
            for i in bits(tensor.consumers):
                self.reads[i].append(t)
            if tensor.producer >= 0:
                self.writes[tensor.producer].append(t)
        self.known = _operands(costs, self.buffer)
        self.size = 2 * len(AMOUNTS) + len(COUNTS) + self.known.shape[1]

    def encode(self, mask: int) -> Data:
        """A group as a graph: ``x (N, size)``, ``edge_index (2, E)``, both directions and self-loops, ``op (N,)``."""
        members = list(bits(mask))
        place = {i: k for k, i in enumerate(members)}
        amounts = np.array([self._amounts(i, mask) for i in members], dtype=np.float32) / self.buffer
        counts = np.array([self._counts(i, mask) for i in members], dtype=np.float32)
        x = np.hstack([np.minimum(amounts, 4), np.log1p(100 * amounts) / 4, counts, self.known[members]])
        pairs = [(place[i], place[j]) for i in members for j in bits((self.topology.neighbours[i] | 1 << i) & mask)]
        edges = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).t().contiguous()
        return Data(x=torch.from_numpy(x), edge_index=edges, op=torch.tensor(members))

    def _amounts(self, i: int, mask: int) -> tuple[int, ...]:
        tensors = self.costs.tensors
        outside = sum(tensors[t].dram_bytes for t in self.reads[i] if not _inside(tensors[t].producer, mask))
        leaves = sum(tensors[t].dram_bytes for t in self.writes[i] if tensors[t].output or tensors[t].consumers & ~mask)
        # Tensors that stay in the buffer while other operations of the group run, such as residual inputs.
        spanned = sum(
            tensors[t].dram_bytes
            for t in self.writes[i]
            if any(
                self.topology.descendants[i] & self.topology.ancestors[j] & mask
                for j in bits(tensors[t].consumers & mask)
            )
        )
        return self.costs.weights[i], outside, sum(tensors[t].dram_bytes for t in self.writes[i]), leaves, spanned

    def _counts(self, i: int, mask: int) -> tuple[float, ...]:
        topology = self.topology
        between = [
            (topology.descendants[j] & topology.ancestors[i] & mask).bit_count() for j in bits(topology.preds[i] & mask)
        ]
        return (
            (topology.preds[i] & mask).bit_count() / 4,
            (topology.succs[i] & mask).bit_count() / 4,
            min(max(between, default=0), 32) / 8,
        )


def _inside(producer: int, mask: int) -> bool:
    return producer >= 0 and bool(mask >> producer & 1)


def _operands(costs: TrafficCosts, buffer: float) -> Any:
    """Features of every operation that do not depend on its group; shape ``(n, features)``."""
    graph = getattr(costs, "graph", None)
    if graph is None:
        return np.zeros((costs.n, 0), dtype=np.float32)
    types = sorted({op.type for op in graph.ops})
    table = np.zeros((costs.n, len(OPERANDS) + len(types)), dtype=np.float32)
    for i, op in enumerate(graph.ops):
        kinds = {access.kind for _, access in op.operands}
        windows = [(t, access) for t, access in op.operands if access.kind == WINDOW]
        rows = [(access.high - access.low) / access.den + 1 for _, access in windows]
        needed = sum(row * graph.tensors[t].row_bytes for (t, _), row in zip(windows, rows, strict=True))
        table[i, : len(OPERANDS)] = (
            min(needed / buffer, 4),
            min(sum(graph.tensors[t].row_bytes for t in op.outputs) / buffer, 4),
            max(rows, default=0) / 4,
            max((access.num / access.den for _, access in windows), default=0) / 2,
            REDUCE in kinds,
            FULL in kinds,
            VECTOR in kinds,
            op.pointwise,
        )
        table[i, len(OPERANDS) + types.index(op.type)] = 1
    return table


def stack(graphs: Sequence[Data]) -> tuple[Tensor, Tensor, Tensor]:
    """Concatenate graphs: features ``(N, size)``, edges ``(2, E)``, number of the graph of each node ``(N,)``."""
    sizes = [graph.num_nodes for graph in graphs]
    starts = np.cumsum([0, *sizes[:-1]])
    return (
        torch.cat([graph.x for graph in graphs]),
        torch.cat([graph.edge_index + int(start) for graph, start in zip(graphs, starts, strict=True)], dim=1),
        torch.repeat_interleave(torch.arange(len(graphs)), torch.tensor(sizes)),
    )
