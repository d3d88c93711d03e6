"""GATv2 on tables of neighbours: dense gathers instead of scatters, because architectures have small in-degrees."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autobuild.graphs import PackedGraphs
from autobuild.registry import LAYERS


@LAYERS.register("gatv2")
class GATv2(nn.Module):
    r"""Attention layer of Brody et al., "How Attentive are Graph Attention Networks?" (ICLR 2022), eq. 7.

    .. math::
        h_i' = \sum_{j \in N(i) \cup \{i\}} \alpha_{ij} W_s h_j + b, \quad
        \alpha_{ij} = \mathrm{softmax}_j(a^T \mathrm{LeakyReLU}(W_s h_j + W_t h_i))

    Args:
        width_in: Width of the input node embeddings.
        width_out: Width of the output node embeddings, a multiple of ``heads``.
        heads: Number of attention heads, whose outputs are concatenated.
        slope: Negative slope of the leaky ReLU.

    Shapes:
        ``h (N, width_in)`` and graphs of N nodes -> ``(N, width_out)``.
    """

    def __init__(self, width_in: int, width_out: int, heads: int = 1, slope: float = 0.2) -> None:
        super().__init__()
        self.heads, self.slope = heads, slope
        self.source = nn.Linear(width_in, width_out)
        self.target = nn.Linear(width_in, width_out)
        self.attention = nn.Parameter(torch.empty(heads, width_out // heads))
        self.bias = nn.Parameter(torch.zeros(width_out))
        for weight in (self.source.weight, self.target.weight, self.attention):
            nn.init.xavier_uniform_(weight)
        nn.init.zeros_(self.source.bias)
        nn.init.zeros_(self.target.bias)

    def forward(self, h: Tensor, graphs: PackedGraphs) -> Tensor:
        """New node embeddings; the shapes are those of the class."""
        neighbours = graphs.neighbours
        source = self.source(h).view(len(h), self.heads, -1)
        target = self.target(h).view(len(h), self.heads, -1)
        # the first column is the node itself, which needs no gather; there are few others
        sent = [source, *(source.index_select(0, slot.clamp(min=0)) for slot in neighbours[:, 1:].unbind(1))]
        logits = [(nn.functional.leaky_relu(message + target, self.slope) * self.attention).sum(-1) for message in sent]
        absent = (neighbours < 0)[:, None, :]
        share = torch.stack(logits, dim=-1).masked_fill(absent, -torch.inf).softmax(dim=-1)
        out = torch.stack([part[..., None] * message for part, message in zip(share.unbind(-1), sent, strict=True)])
        return out.sum(dim=0).flatten(1) + self.bias
