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
        ``([M,] N, F)`` int64 value indices -> ``([M,] N, F)`` non-negative scalars, the hop-0 embedding.
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
        """The scalars of all values of all features, one feature after another. Shape ``([M,] sum(vocabulary))``."""
        of_value = self.hidden.index_select(-3, self.owner)
        hidden = (self.embedding.unsqueeze(-2) @ of_value).squeeze(-2) + self.hidden_bias.index_select(-2, self.owner)
        out = (torch.relu(hidden) * self.out.index_select(-2, self.owner)).sum(dim=-1)
        return (out + self.out_bias.index_select(-1, self.owner)).abs()

    def forward(self, x: Tensor) -> Tensor:
        """Scalars of the given value indices. Shapes: ``([M,] N, F)`` -> ``([M,] N, F)``."""
        scalars, values = self.scalars(), x + self.starts
        if x.ndim == 3:
            values = values + (torch.arange(len(x), device=x.device) * scalars.shape[-1])[:, None, None]
        return nn.functional.embedding(values, scalars.reshape(-1, 1)).squeeze(-1)
