"""The fitted model: predictions with intervals, embeddings, and what was seen on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from autobuild.encode import EncoderConfig, Encoding
from autobuild.errors import ConfigError, SpaceError
from autobuild.fit.config import FitConfig
from autobuild.fit.intervals import conformal_half_width
from autobuild.fit.network import Predictor
from autobuild.fit.threads import torch_threads
from autobuild.graphs import PackedGraphs, pack_architectures
from autobuild.spaces import Architecture, SearchSpace

if TYPE_CHECKING:
    from pathlib import Path

    from autobuild.explain import Scorer, Scores

FloatArray = NDArray[np.float64]
CHUNK = 4096


@dataclass
class FittedModel:
    """What :func:`autobuild.fit.fitting.fit` returns.

    Attributes:
        space: The space the labels belong to.
        target: The target expression, maximised.
        network: The predictor, in evaluation mode, for the standardised target.
        mean: Mean of the target over the rows fitted.
        sd: Standard deviation of the target over the rows fitted.
        training: The rows fitted: ``arch`` and ``target``.
        heldout: The held-out rows: ``arch, measured, predicted, hop0, ...`` (predictions by a model that did not see
            them; hop columns are the L1 norms of their graph embeddings). Empty without holdout.
        history: ``epoch, loss, regression, ranking`` of the final fit.
        report: Numbers and notes, JSON-ready.
        encoder: The encoder's settings.
        config: The fit's settings.
        seed: The seed.
    """

    space: SearchSpace
    target: str
    network: Predictor
    mean: float
    sd: float
    training: pd.DataFrame
    heldout: pd.DataFrame
    history: pd.DataFrame
    report: dict[str, Any]
    encoder: EncoderConfig
    config: FitConfig
    seed: int
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)

    if TYPE_CHECKING:  # bound by autobuild.api, so that this room imports nothing above it

        def explain(self, space: SearchSpace | None = None, scorer: str | Scorer = "hopnorm") -> Scores:
            """See :func:`autobuild.explain.scores.explain`."""

        def save(self, folder: str | Path) -> Path:
            """See :func:`autobuild.fit.store.save_model`."""

        @staticmethod
        def load(folder: str | Path) -> FittedModel:
            """See :func:`autobuild.fit.store.load_model`."""

    def __repr__(self) -> str:
        srcc = self.report.get("test_srcc")
        held = f", held-out SRCC {srcc:.3f}" if isinstance(srcc, float) else ""
        return f"FittedModel({self.target!r} on {self.space.name}, {len(self.training):,} rows{held})"

    @property
    def hops(self) -> int:
        """Number of message-passing hops."""
        return self.encoder.hops

    @property
    def training_archs(self) -> list[Architecture]:
        """The architectures fitted."""
        if "archs" not in self._cache:
            self._cache["archs"] = [self.space.parse(text) for text in self.training["arch"]]
        archs: list[Architecture] = self._cache["archs"]
        return archs

    def encode(self, graphs: PackedGraphs) -> Encoding:
        """Embeddings of packed graphs, without gradients."""
        with torch_threads(self.config.threads), torch.inference_mode():
            encoding: Encoding = self.network.encoder(graphs)
        return encoding

    def predict_mean(self, archs: Sequence[Architecture | str]) -> FloatArray:
        """Predicted target. Shape ``(len(archs),)``, in units of the target."""
        parsed = [self.space.parse(arch) if isinstance(arch, str) else arch for arch in archs]
        parts = []
        for start in range(0, len(parsed), CHUNK):
            graphs = pack_architectures(self.space, parsed[start : start + CHUNK])
            with torch_threads(self.config.threads), torch.inference_mode():
                parts.append(self.network(graphs)[0].double().numpy())
        standardised = np.concatenate(parts) if parts else np.zeros(0)
        return standardised * self.sd + self.mean

    def predict(self, archs: Sequence[Architecture | str] | Architecture | str, level: float = 0.9) -> pd.DataFrame:
        """Predict with intervals.

        Args:
            archs: Architectures, or their texts.
            level: Coverage of the interval, by split conformal prediction from the held-out rows (Lei et al., 2018):
                the half-width is the matching quantile of their absolute errors. Without enough held-out rows for the
                level the bounds are NaN.

        Returns:
            ``arch, predicted, lower, upper`` in units of the target, in the order given.

        Raises:
            SpaceError: If an architecture is not in the model's space.
            ConfigError: If ``level`` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ConfigError(f"level={level!r}: a number between 0 and 1 is accepted, e.g. 0.9")
        listed = [archs] if isinstance(archs, Architecture | str) else list(archs)
        parsed = [self._parse(row, arch) for row, arch in enumerate(listed)]
        predicted = self.predict_mean(parsed)
        half = self.interval_half_width(level)
        return pd.DataFrame(
            {
                "arch": [arch.text for arch in parsed],
                "predicted": predicted,
                "lower": predicted - half,
                "upper": predicted + half,
            }
        )

    def _parse(self, row: int, arch: Architecture | str) -> Architecture:
        if isinstance(arch, Architecture):
            return arch
        try:
            return self.space.parse(arch)
        except SpaceError as error:
            raise SpaceError(f"architecture {row + 1}: {error}") from None

    def interval_half_width(self, level: float) -> float:
        """Half-width of the ``level`` interval, in units of the target; NaN where the held-out rows are too few."""
        return conformal_half_width((self.heldout["measured"] - self.heldout["predicted"]).to_numpy(float), level)
