"""The predictor that is fitted: hop encoder and regression head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from autobuild.encode import EncoderConfig, Encoding, HopEncoder, scale_gradient
from autobuild.graphs import PackedGraphs


class Predictor(nn.Module):
    """Hop encoder and a regression head over the graph embeddings of all hops.

    Args:
        vocabulary: Number of values of each node feature, length F.
        config: The encoder's settings.

    Shapes:
        G packed graphs -> prediction ``(G,)`` of the standardised target, and the :class:`Encoding`.
    """

    def __init__(self, vocabulary: Sequence[int], config: EncoderConfig) -> None:
        super().__init__()
        self.encoder = HopEncoder(vocabulary, config)
        width = len(vocabulary) + config.hops * config.width
        self.head = nn.Sequential(nn.Linear(width, 2 * config.width), nn.ReLU(), nn.Linear(2 * config.width, 1))

    def forward(self, graphs: PackedGraphs) -> tuple[Tensor, Encoding]:
        """Predict and encode a batch."""
        encoding: Encoding = self.encoder(graphs)
        features = scale_gradient(encoding.graphs[0], self.encoder.config.feature_gradient)
        return self.head(torch.cat([features, *encoding.graphs[1:]], dim=1)).squeeze(1), encoding
