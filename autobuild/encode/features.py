"""FE-MLP: maps every named feature of a node to one non-negative scalar (AutoBuild, CVPR 2024, sec. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FeatureEmbedding(nn.Module):
    """One embedding and one small MLP per feature, each giving ``|MLP_f(E_f[value])|``.

    The scalar of a value does not depend on the node, so the scalars of all values are computed once and gathered.

    Args:
        vocabulary: Number of values of each feature, length F.
        width: Width of the embeddings and of the hidden layers.

    Shapes:
        ``(N, F)`` int64 value indices -> ``(N, F)`` non-negative scalars, the hop-0 embedding.
    """

    def __init__(self, vocabulary: Sequence[int], width: int = 16) -> None:
        super().__init__()
        features = len(vocabulary)
        self.vocabulary = tuple(vocabulary)
        self.embedding = nn.Parameter(torch.randn(sum(vocabulary), width))
        self.hidden = nn.Parameter(torch.randn(features, width, width) / width**0.5)
        self.hidden_bias = nn.Parameter(torch.zeros(features, width))
        self.out = nn.Parameter(torch.randn(features, width) / width**0.5)
        self.out_bias = nn.Parameter(torch.full((features,), 0.5))
        owner = torch.repeat_interleave(torch.arange(features), torch.tensor(self.vocabulary))
        self.register_buffer("owner", owner, persistent=False)
        starts = torch.tensor([0, *self.vocabulary[:-1]]).cumsum(0)
        self.register_buffer("starts", starts, persistent=False)
        self.owner: Tensor
        self.starts: Tensor

    def scalars(self) -> Tensor:
        """The scalars of all values of all features, one feature after another. Shape ``(sum(vocabulary),)``."""
        hidden = torch.einsum("vi,vij->vj", self.embedding, self.hidden[self.owner]) + self.hidden_bias[self.owner]
        return ((torch.relu(hidden) * self.out[self.owner]).sum(dim=1) + self.out_bias[self.owner]).abs()

    def forward(self, x: Tensor) -> Tensor:
        """Scalars of the given value indices. Shapes: ``(N, F)`` -> ``(N, F)``."""
        return nn.functional.embedding(x + self.starts, self.scalars()[:, None]).squeeze(-1)
