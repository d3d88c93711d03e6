"""GATv2 on tables of neighbours: dense gathers instead of scatters, because architectures have small in-degrees."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from autobuild.encode.stackable import affine
from autobuild.graphs import PackedGraphs, StackedGraphs
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
        ``h ([M,] N, width_in)`` and graphs of N nodes -> ``([M,] N, width_out)``; with M networks side by side all
        parameters have a leading dimension M.
    """

    stackable = True

    def __init__(self, width_in: int, width_out: int, heads: int = 1, slope: float = 0.2) -> None:
        super().__init__()
        self.slope = slope
        self.source = nn.Linear(width_in, width_out)
        self.target = nn.Linear(width_in, width_out)
        self.attention = nn.Parameter(torch.empty(heads, width_out // heads))
        self.bias = nn.Parameter(torch.zeros(width_out))
        for weight in (self.source.weight, self.target.weight, self.attention):
            nn.init.xavier_uniform_(weight)
        nn.init.zeros_(self.source.bias)
        nn.init.zeros_(self.target.bias)

    def forward(self, h: Tensor, graphs: PackedGraphs | StackedGraphs) -> Tensor:
        """New node embeddings; the shapes are those of the class."""
        weight = torch.cat([self.source.weight, self.target.weight], dim=-2)
        linear = affine(h, weight, torch.cat([self.source.bias, self.target.bias], dim=-1))
        out: Tensor = _Attend.apply(linear, self.attention, graphs.neighbours, self.slope)  # type: ignore[no-untyped-call]
        return out + self.bias.unsqueeze(-2)


class _Attend(torch.autograd.Function):
    """Attention over the slots of the table of neighbours, with its gradient written out.

    A batch has some hundred nodes, so that the time of a training step is that of its number of operations; automatic
    differentiation of the same formula needs three times as many.

    Shapes: ``linear ([M,] N, 2 D)``, the sources beside the targets; ``attention ([M,] H, D / H)``;
    ``neighbours ([M] N, K)`` -> ``([M,] N, D)``.
    """

    @staticmethod
    def forward(ctx: Any, linear: Tensor, attention: Tensor, neighbours: Tensor, slope: float) -> Tensor:
        (heads, width), slots, nodes = attention.shape[-2:], neighbours.shape[1], linear.shape[-2]
        source, target = linear.view(-1, 2 * heads * width).chunk(2, dim=1)
        source = source.view(-1, nodes, heads * width)
        others = neighbours[:, 1:].view(-1, nodes, slots - 1).mT.reshape(-1)  # slot 0 is the node itself
        absent = others < 0
        index = others.clamp(min=0)
        sent = linear.new_empty(len(source), slots, nodes, heads * width)
        sent[:, 0] = source
        sent[:, 1:] = source.reshape(-1, heads * width).index_select(0, index).view(len(source), -1, *source.shape[1:])
        active = nn.functional.leaky_relu_(sent + target.view(-1, 1, nodes, heads * width), slope)
        vectors = attention.reshape(-1, heads * width, 1)
        if heads > 1:  # block-diagonal, so that one product gives the logits of all heads
            vectors = vectors * torch.eye(heads, dtype=vectors.dtype, device=vectors.device).repeat_interleave(width, 0)
        logits = torch.bmm(active.view(len(vectors), -1, heads * width), vectors).view(-1, slots, nodes, heads)
        logits[:, 1:].masked_fill_(absent.view(-1, slots - 1, nodes, 1), -torch.inf)
        share = logits.softmax(dim=1)
        ctx.save_for_backward(vectors, index, sent, active, share)
        ctx.slope = slope
        weighted = share[..., None] * sent.view(*share.shape, width)
        return weighted.sum(1).view(*linear.shape[:-1], heads * width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        vectors, index, sent, active, share = ctx.saved_tensors
        (networks, _, nodes, heads), both = share.shape, sent.shape[-1]
        width = both // heads
        grads = grad.reshape(networks, 1, nodes, heads, width)
        weighted = share * (grads * sent.view(*share.shape, width)).sum(-1)
        logits = torch.addcmul(weighted, share, weighted.sum(1, keepdim=True), value=-1).view(networks, -1, heads)
        grad_vectors = torch.bmm(active.view(networks, -1, both).mT, logits).view(networks, heads, width, heads)
        grad_attention = grad_vectors.diagonal(dim1=1, dim2=3).mT
        grad_active = torch.bmm(logits, vectors.mT).view_as(active)
        grad_before = torch.ops.aten.leaky_relu_backward(grad_active, active, ctx.slope, True)
        grad_sent = torch.addcmul(grad_before.view(*share.shape, width), share[..., None], grads).view_as(active)
        grad_source = grad_sent[:, 0].reshape(-1, both)
        grad_source = grad_source.index_add(0, index, grad_sent[:, 1:].reshape(-1, both))
        grad_linear = torch.cat([grad_source, grad_before.sum(1).view(-1, both)], dim=1)
        shape = (*grad.shape[:-1], 2 * both)
        return grad_linear.view(shape), grad_attention.reshape(*grad.shape[:-2], heads, width), None, None
