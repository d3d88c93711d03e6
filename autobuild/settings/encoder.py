"""Settings of the graph encoder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from autobuild.errors import ConfigError
from autobuild.registry import LAYERS
from autobuild.settings.option import check_settings, option

READOUTS = ("mean", "sum", "max")
NORMS = ("l1", "l2")
# Name -> one line of help, of those that ship.
ABOUT_LAYERS = {
    "gatv2": "GATv2 (Brody et al., 2022), this project's own and fast",
    "gat": "GAT (Velickovic et al., 2018), by PyTorch Geometric",
    "gcn": "GCN (Kipf and Welling, 2017), by PyTorch Geometric",
    "sage": "GraphSAGE (Hamilton et al., 2017), by PyTorch Geometric",
    "gin": "GIN (Xu et al., 2019), by PyTorch Geometric",
}


@dataclass(frozen=True)
class EncoderConfig:
    """Settings of the graph encoder (:class:`autobuild.encode.HopEncoder`; AutoBuild, CVPR 2024, sec. 3).

    Args:
        layer: Message-passing layer: ``gatv2`` (an implementation of this package, fast), ``gat``, ``gcn``, ``sage`` or
            ``gin`` of PyTorch Geometric, or a registered one (:func:`autobuild.register_layer`).
        hops: Number of message-passing layers.
        width: Width of the node embeddings.
        heads: Number of attention heads of ``gatv2`` and ``gat``; must divide ``width``.
        readout: How node embeddings become a graph embedding: ``mean``, ``sum`` or ``max``.
        norm: Norm of embeddings that is ranked and scored: ``l1`` (as in the paper) or ``l2``.
        feature_width: Width of embeddings and hidden layers in the FE-MLP.
        dropout: Dropout probability after each message-passing layer.
        feature_gradient: Factor, from 0 to 1, on the gradient that reaches the FE-MLP from deeper hops and from the
            head. At 1 (plain joint training) this gradient dominates that of the hop-0 ranking loss, and the order of
            the feature scores may disagree with the labels. At 0.02 the feature scores are as good as those of an
            FE-MLP fitted alone, and predictions are no worse (``benchmarks.features`` prints both).

    Raises:
        ConfigError: A setting is unknown or out of range.
    """

    layer: str = option("gatv2", "message-passing layer", choices=LAYERS)
    hops: int = option(4, "message-passing layers; hop m sees the m-hop subgraph that ends in a node", ">=1")
    width: int = option(32, "size of a node embedding", ">=1")
    heads: int = option(1, "attention heads (gatv2 and gat); divides width", ">=1")
    readout: str = option("mean", "how the node embeddings become one of the graph", choices=READOUTS)
    feature_width: int = option(16, "width inside the FE-MLP, which embeds every feature value", ">=1")
    dropout: float = option(0.0, "behind each message-passing layer", ">=0 <1")
    feature_gradient: float = option(
        0.02,
        "how much of the gradient of deeper hops reaches the FE-MLP (1: all of it, plain joint training)",
        ">=0 <=1",
    )
    norm: str = option("l1", "which norm of an embedding is ranked, and is its score", choices=NORMS)

    def __post_init__(self) -> None:
        check_settings(self, "encoder.")
        if self.width % self.heads:
            raise ConfigError(f"encoder.heads={self.heads} does not divide encoder.width={self.width}")

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON-ready data: field name -> value."""
        return asdict(self)
