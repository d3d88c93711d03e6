"""Graph isomorphism network of PyTorch Geometric."""

from __future__ import annotations

from torch import Tensor, nn
from torch_geometric.nn import GINConv

from autobuild.graphs import PackedGraphs
from autobuild.registry import LAYERS


@LAYERS.register("gin")
class GIN(GINConv):  # type: ignore[misc]
    """Xu et al., "How Powerful are Graph Neural Networks?" (ICLR 2019)."""

    def __init__(self, width_in: int, width_out: int, heads: int = 1) -> None:
        super().__init__(nn.Sequential(nn.Linear(width_in, width_out), nn.ReLU(), nn.Linear(width_out, width_out)))

    def forward(self, h: Tensor, graphs: PackedGraphs) -> Tensor:
        """New node embeddings. Shapes: ``(N, width_in)`` -> ``(N, width_out)``."""
        found: Tensor = super().forward(h, graphs.edges)
        return found
