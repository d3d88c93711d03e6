"""The hop encoder: FE-MLP, then message passing. The hop-m embedding of a node describes its m-hop subgraph."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from autobuild.encode.features import FeatureEmbedding
from autobuild.encode.stackable import Linear, NodeNorm
from autobuild.graphs import PackedGraphs, StackedGraphs
from autobuild.registry import LAYERS
from autobuild.settings.encoder import EncoderConfig

Layer = TypeVar("Layer", bound=Callable[..., nn.Module])


@dataclass(frozen=True)
class Encoding:
    """Output of the encoder for a batch of G graphs with N nodes in all.

    Attributes:
        nodes: Node embeddings of every hop. Shapes ``(N, F)`` at hop 0, ``(N, D)`` from hop 1 on.
        graphs: Graph embeddings of every hop. Shapes ``(G, F)`` at hop 0, ``(G, D)`` from hop 1 on.
        norm: Norm of embeddings that is ranked and scored: ``l1`` or ``l2``.

    With M networks side by side, all shapes have M in front of N and G.
    """

    nodes: tuple[Tensor, ...]
    graphs: tuple[Tensor, ...]
    norm: str = "l1"

    def graph_norms(self) -> Tensor:
        """Norms of the graph embeddings. Shape ``(hops + 1, G)``."""
        return torch.stack([self._norm(graph) for graph in self.graphs])

    def node_norms(self) -> Tensor:
        """Norms of the node embeddings. Shape ``(hops + 1, N)``."""
        return torch.stack([self._norm(node) for node in self.nodes])

    def _norm(self, embedding: Tensor) -> Tensor:
        return embedding.abs().sum(dim=-1) if self.norm == "l1" else torch.linalg.vector_norm(embedding, dim=-1)


class HopEncoder(nn.Module):
    """FE-MLP, then message-passing layers with batch norm, ReLU and residuals (AutoBuild, CVPR 2024, sec. 3).

    Args:
        vocabulary: Number of values of each node feature, length F.
        config: Settings of the encoder.

    Shapes:
        :class:`~autobuild.graphs.PackedGraphs` of G graphs -> :class:`Encoding`; with M networks side by side
        :class:`~autobuild.graphs.StackedGraphs`.
    """

    def __init__(self, vocabulary: Sequence[int], config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.features = FeatureEmbedding(vocabulary, config.feature_width)
        widths = [len(vocabulary)] + [config.width] * config.hops
        build = LAYERS[config.layer]
        self.layers = nn.ModuleList(build(a, b, config.heads) for a, b in itertools.pairwise(widths))
        self.norms = nn.ModuleList(NodeNorm(width) for width in widths[1:])
        self.widen = Linear(widths[0], widths[1], bias=False)

    def forward(self, graphs: PackedGraphs | StackedGraphs) -> Encoding:
        """Encode a batch of graphs; the shapes are those of the class."""
        h = self.features(graphs.x)
        nodes = [h]
        h = scale_gradient(h, self.config.feature_gradient)
        node_share = graphs.node_share if isinstance(graphs, StackedGraphs) else None
        for hop, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            message = torch.relu(norm(layer(h, graphs), node_share))
            message = nn.functional.dropout(message, self.config.dropout, self.training)
            h = message + (self.widen(h) if hop == 0 else h)
            nodes.append(h)
        read = read_out(torch.cat(nodes, dim=-1), graphs, self.config.readout)
        return Encoding(tuple(nodes), torch.split(read, [node.shape[-1] for node in nodes], dim=-1), self.config.norm)


def scale_gradient(x: Tensor, share: float) -> Tensor:
    """Return ``x`` unchanged, but multiply its gradient by ``share`` in the backward pass."""
    return x if share == 1 else share * x + (1 - share) * x.detach()


def read_out(nodes: Tensor, graphs: PackedGraphs | StackedGraphs, how: str) -> Tensor:
    """Reduce node embeddings to graph embeddings; ``how`` is in READOUTS. ``([M,] N, D)`` -> ``([M,] G, D)``."""
    owner, sizes, width = graphs.graph_of_node, graphs.sizes, nodes.shape[-1]
    flat = nodes.reshape(-1, width)
    empty = nodes.new_zeros(sizes.numel() + 1, width)  # the last one takes the nodes that pad a batch
    if how == "max":
        out = empty.scatter_reduce(0, owner[:, None].expand_as(flat), flat, "amax", include_self=False)
    else:
        out = empty.index_add(0, owner, flat)
    out = out[:-1].view(*sizes.shape, width)
    return out / sizes[..., None] if how == "mean" else out


def register_layer(name: str) -> Callable[[Layer], Layer]:
    """Decorator that registers a message-passing layer, for ``EncoderConfig(layer=name)`` and ``encoder=name``.

    It decorates a module class, or a function that returns a module, called with ``(width_in, width_out, heads)``. The
    module maps node embeddings of shape ``(N, width_in)`` and :class:`~autobuild.graphs.PackedGraphs` of N nodes to
    shape ``(N, width_out)``; it passes messages along :attr:`PackedGraphs.edges`. A package declares its layer as an
    entry point of the group ``autobuild.layers``.

    Args:
        name: Its name, as for :meth:`autobuild.registry.Registry.register`, which says what errors there are.

    Returns:
        The decorator.
    """
    return LAYERS.register(name)
