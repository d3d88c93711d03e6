"""Graph attention of PyTorch Geometric."""

from __future__ import annotations

from torch import Tensor
from torch_geometric.nn import GATConv

from autobuild.graphs import PackedGraphs
from autobuild.registry import LAYERS


@LAYERS.register("gat")
class GAT(GATConv):  # type: ignore[misc]
    """Velickovic et al., "Graph Attention Networks" (ICLR 2018)."""

    def __init__(self, width_in: int, width_out: int, heads: int = 1) -> None:
        super().__init__(width_in, width_out // heads, heads=heads)

    def forward(self, h: Tensor, graphs: PackedGraphs) -> Tensor:
        """New node embeddings. Shapes: ``(N, width_in)`` -> ``(N, width_out)``."""
        found: Tensor = super().forward(h, graphs.edges)
        return found
