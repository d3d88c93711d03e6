"""The predictor network: hop encoder and regression head."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from autobuild.encode import EncoderConfig, Encoding, HopEncoder, scale_gradient
from autobuild.encode.stackable import Linear
from autobuild.graphs import PackedGraphs, StackedGraphs

GRAPHS_AT_A_TIME = 512  # in a prediction: their embeddings fit into the cache of a processor


class Predictor(nn.Module):
    """Hop encoder and a regression head over the graph embeddings of all hops.

    Args:
        vocabulary: Number of values of each node feature, length F.
        config: Settings of the encoder.
        context: Number of values that describe a whole graph (:attr:`PackedGraphs.context`). They are inputs of the
            head, and a linear function of them is added to its output.

    Shapes:
        G packed graphs -> prediction ``(G,)`` of the standardised target, and the :class:`Encoding`. Of M networks side
        by side (:func:`stacked`), with a batch of B graphs for each: ``(M, B)``.
    """

    def __init__(self, vocabulary: Sequence[int], config: EncoderConfig, context: int = 0) -> None:
        super().__init__()
        self.encoder, self.context = HopEncoder(vocabulary, config), context
        width = len(vocabulary) + config.hops * config.width + context
        self.head = nn.Sequential(Linear(width, 2 * config.width), nn.ReLU(), Linear(2 * config.width, 1))
        self.straight = Linear(context, 1, bias=False) if context else None

    @property
    def stackable(self) -> bool:
        """Whether several of these can be trained side by side: every message-passing layer is ``stackable``."""
        return all(getattr(layer, "stackable", False) for layer in self.encoder.layers)

    def forward(self, graphs: PackedGraphs | StackedGraphs) -> tuple[Tensor, Encoding]:
        """Predict and encode a batch of graphs; the shapes are those of the class."""
        encoding: Encoding = self.encoder(graphs)
        features = scale_gradient(encoding.graphs[0], self.encoder.config.feature_gradient)
        parts = [features, *encoding.graphs[1:]]
        if self.straight is None:
            return self.head(torch.cat(parts, dim=-1)).squeeze(-1), encoding
        assert graphs.context is not None
        whole = self.head(torch.cat([*parts, graphs.context], dim=-1)) + self.straight(graphs.context)
        return whole.squeeze(-1), encoding

    def predict(self, graphs: PackedGraphs) -> Tensor:
        """Predictions of many graphs, some at a time and without gradients. Shape ``(G,)``, float64."""
        with torch.inference_mode():
            starts = range(0, len(graphs), GRAPHS_AT_A_TIME)
            parts = [self(graphs.slice(start, start + GRAPHS_AT_A_TIME))[0].double() for start in starts]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


def stacked(networks: Sequence[Predictor]) -> Predictor:
    """One network whose parameters and running statistics are those of M equally built networks, stacked."""
    out = copy.deepcopy(networks[0])
    states = [network.state_dict() for network in networks]
    for name in states[0]:
        module, _, leaf = name.rpartition(".")
        values, owner = torch.stack([state[name] for state in states]), out.get_submodule(module)
        if leaf in owner._parameters:
            owner._parameters[leaf] = nn.Parameter(values)
        else:
            owner._buffers[leaf] = values
    return out
