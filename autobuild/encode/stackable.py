"""Modules whose parameters may have a leading dimension, for several networks that are trained side by side.

A stacked module has parameters of shape ``(M, ...)`` for M networks, and maps inputs of shape ``(M, N, D)``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def affine(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x weight^T + bias``. Shapes: ``([M,] N, A), ([M,] B, A), ([M,] B)`` -> ``([M,] N, B)``."""
    if weight.ndim == 2:
        return nn.functional.linear(x, weight, bias)
    return torch.bmm(x, weight.mT) if bias is None else torch.baddbmm(bias[:, None], x, weight.mT)


class Linear(nn.Linear):
    """A linear layer. Shapes: ``([M,] N, width_in)`` -> ``([M,] N, width_out)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer; the shapes are those of the class."""
        return affine(x, self.weight, self.bias)


class NodeNorm(nn.BatchNorm1d):
    """Batch normalisation over nodes (Ioffe and Szegedy, 2015), without those that pad a batch.

    Shapes: ``([M,] N, D)``, shares of nodes ``(M, N, 1)`` or None -> ``([M,] N, D)``.
    """

    running_mean: Tensor
    running_var: Tensor
    eps: float
    momentum: float

    def forward(self, x: Tensor, node_share: Tensor | None = None) -> Tensor:
        """Normalise; ``node_share`` is :attr:`StackedGraphs.node_share`, needed to train stacked networks."""
        if node_share is None:
            return super().forward(x)
        out, mean, variance = _Normalise.apply(x, node_share, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            nodes = (node_share > 0).sum((1, 2))[:, None]
            self.running_mean.lerp_(mean.squeeze(1), self.momentum)
            self.running_var.lerp_(variance.squeeze(1) * (nodes / (nodes - 1).clamp(min=1)), self.momentum)
        normalised: Tensor = out
        return normalised


class _Normalise(torch.autograd.Function):
    """Weighted batch normalisation with its gradient written out, which saves half of the passes over the nodes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, share: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean = torch.bmm(share.mT, x)
        centred = x - mean
        variance = torch.bmm(share.mT, centred.square())
        inverse = (variance + eps).rsqrt()
        normal = centred.mul_(inverse)
        ctx.save_for_backward(normal, share, weight[:, None] * inverse)
        ctx.mark_non_differentiable(mean, variance)
        return torch.addcmul(bias[:, None], normal, weight[:, None]), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, None, Tensor, Tensor, None]:
        normal, share, scale = ctx.saved_tensors
        grad_weight, grad_bias = (grad * normal).sum(1), grad.sum(1)
        along = torch.addcmul(grad_bias[:, None], normal, grad_weight[:, None])
        return torch.addcmul(grad, along, share, value=-1).mul_(scale), None, grad_weight, grad_bias, None
