"""The graph family: one hop encoder with a regression head (AutoBuild, CVPR 2024)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from autobuild.encode import EncoderConfig, Encoding
from autobuild.graphs import PackedGraphs, pack_architectures
from autobuild.models.config import FitConfig
from autobuild.models.model import CHUNK, FittedModel, FloatArray
from autobuild.models.network import Predictor
from autobuild.models.threads import torch_threads
from autobuild.spaces import Architecture


@dataclass(kw_only=True, repr=False)
class GraphModel(FittedModel):
    """A fitted graph encoder.

    Attributes:
        network: The predictor of the standardised target, in evaluation mode.
        mean: Mean of the target over the training rows.
        sd: Standard deviation of the target over the training rows.
        heldout: Has further columns ``hop0, hop1, ...``: the norms of the graph embeddings. Empty without holdout.
        history: Losses of the final fit. Columns ``epoch, loss, regression, ranking``.
        encoder: Settings of the encoder.
        config: Settings of its training.
    """

    family: str = "graph"
    network: Predictor
    mean: float
    sd: float
    history: pd.DataFrame
    encoder: EncoderConfig
    config: FitConfig

    @property
    def hops(self) -> int:
        """Number of message-passing hops."""
        return self.encoder.hops

    def encode(self, graphs: PackedGraphs) -> Encoding:
        """Embeddings of packed graphs, without gradients."""
        with torch_threads(self.config.threads), torch.inference_mode():
            encoding: Encoding = self.network.encoder(graphs)
        return encoding

    def node_norms(self, graphs: PackedGraphs) -> FloatArray:
        """Norms of the embeddings of all N nodes at every hop. Shape ``(hops + 1, N)``."""
        parts = [graphs.slice(start, start + CHUNK) for start in range(0, len(graphs), CHUNK)]
        return np.concatenate([self.encode(part).node_norms().double().numpy() for part in parts], axis=1)

    @cached_property
    def training_graphs(self) -> PackedGraphs:
        """The architectures of :attr:`training` as packed graphs."""
        return pack_architectures(self.space, self.training_archs)

    @cached_property
    def training_norms(self) -> FloatArray:
        """:meth:`node_norms` of the training graphs, N nodes in all. Shape ``(hops + 1, N)``."""
        return self.node_norms(self.training_graphs)

    def predict_mean(self, archs: Iterable[Architecture | str]) -> FloatArray:
        """See :meth:`FittedModel.predict_mean`."""
        with torch_threads(self.config.threads):
            chunks = self._chunks(archs)
            parts = [self.network.predict(pack_architectures(self.space, chunk)).numpy() for chunk in chunks]
        return np.concatenate(parts) * self.sd + self.mean

    def intervals(self, archs: Sequence[Architecture], level: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """See :meth:`FittedModel.intervals`: split conformal prediction (Lei et al., 2018), with one width for all."""
        predicted, half = self.predict_mean(archs), self.interval_half_width(level)
        return predicted, predicted - half, predicted + half

    def interval_half_width(self, level: float) -> float:
        """Half-width of the ``level`` interval, in units of the target; NaN if there are too few held-out rows."""
        return conformal_half_width((self.heldout["measured"] - self.heldout["predicted"]).to_numpy(float), level)


def conformal_half_width(errors: ArrayLike, level: float) -> float:
    """Half-width of an interval that holds a new value with probability ``level`` (split conformal, Lei et al., 2018).

    Args:
        errors: Errors of predictions of held-out rows; their sign is ignored. Shape ``(n,)``.
        level: Coverage, between 0 and 1.

    Returns:
        The absolute error of rank ``ceil((n + 1) level)``; NaN if there are too few errors for the level.
    """
    ordered = np.sort(np.abs(np.asarray(errors, dtype=np.float64)))
    rank = math.ceil((len(ordered) + 1) * level)
    return float(ordered[rank - 1]) if 1 <= rank <= len(ordered) else math.nan
