"""The hop encoder as a member of an ensemble; alone it is a :class:`~autobuild.models.graph_model.GraphModel`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from autobuild._typing import FloatArray
from autobuild.encode import EncoderConfig
from autobuild.graphs import PackedGraphs
from autobuild.models.kernel import Scaling
from autobuild.models.members import Inputs, Member, Settings
from autobuild.models.network import Predictor
from autobuild.models.threads import torch_threads
from autobuild.models.training import train_side_by_side
from autobuild.models.warp import Warp
from autobuild.registry import FAMILIES
from autobuild.spaces import SearchSpace


@FAMILIES.register("graph")
@dataclass
class GraphMember(Member):
    """A hop encoder whose head also reads the description of the whole network (the context).

    Attributes:
        network: Predictor of standardised latent values.
        mean, sd: Mean and standard deviation of the latent values of the training rows.
        scaling: Standardises the context.
        threads: Number of torch threads; None leaves the choice to torch.
    """

    network: Predictor
    mean: float
    sd: float
    scaling: Scaling
    threads: int | None = 1

    @classmethod
    def fit(cls, inputs: Inputs, values: FloatArray, warp: Warp, settings: Settings) -> Self:
        """See :meth:`Member.fit`."""
        return cls.fit_many([(inputs, values)], warp, settings)[0]

    @classmethod
    def fit_many(cls, sets: Sequence[tuple[Inputs, FloatArray]], warp: Warp, settings: Settings) -> list[Self]:
        """See :meth:`Member.fit_many`; the networks are trained side by side."""
        config, latents = settings.config, [warp.latent(values) for _, values in sets]
        scalings = [inputs.scaling for inputs, _ in sets]
        standards = [(float(latent.mean()), float(latent.std()) or 1.0) for latent in latents]
        width = max(_width(inputs, scaling) for (inputs, _), scaling in zip(sets, scalings, strict=True))
        trained = train_side_by_side(
            [
                (_with_context(inputs, scaling, width), torch.from_numpy((latent - mean) / sd).float())
                for (inputs, _), scaling, latent, (mean, sd) in zip(sets, scalings, latents, standards, strict=True)
            ],
            _vocabulary(sets[0][0].space),
            settings.encoder,
            config,
            settings.seed,
            steps=settings.steps,
            checkpoint=settings.checkpoint / f"_{settings.phase}.pt" if settings.checkpoint else None,
            on_epoch=settings.on_epoch,
            device=settings.device,
        )
        return [
            cls(network, mean, sd, scaling, config.threads)
            for (network, _), (mean, sd), scaling in zip(trained, standards, scalings, strict=True)
        ]

    def predict(self, inputs: Inputs) -> FloatArray:
        """See :meth:`Member.predict`."""
        graphs = _with_context(inputs, self.scaling, self.network.context)
        with torch_threads(self.threads):
            latent: FloatArray = self.network.predict(graphs).numpy() * self.sd + self.mean
        return latent

    def to_disk(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See :meth:`Member.to_disk`."""
        encoder = self.network.encoder.config.to_dict()
        header = {"encoder": encoder, "mean": self.mean, "sd": self.sd, "threads": self.threads}
        return {key: value.contiguous() for key, value in self.network.state_dict().items()}, header

    @classmethod
    def from_disk(
        cls, tensors: Mapping[str, Tensor], header: Mapping[str, Any], inputs: Inputs, values: FloatArray, warp: Warp
    ) -> Self:
        """See :meth:`Member.from_disk`."""
        scaling = inputs.scaling
        straight = tensors.get("straight.weight")
        context = 0 if straight is None else straight.shape[1]
        network = Predictor(_vocabulary(inputs.space), EncoderConfig(**header["encoder"]), context)
        network.load_state_dict(dict(tensors))
        return cls(network.eval(), float(header["mean"]), float(header["sd"]), scaling, header["threads"])


def _width(inputs: Inputs, scaling: Scaling) -> int:
    """Number of columns of the context: those that are not constant in the rows that the scaling knows."""
    return scaling(inputs.description.take(np.arange(1))).whole.shape[1]


def _with_context(inputs: Inputs, scaling: Scaling, width: int) -> PackedGraphs:
    """Packed graphs with the standardised description of the whole network as context.

    Zeros fill it up to the width, because other columns may be constant in each fold of networks trained side by side.
    """
    whole = scaling(inputs.description).whole.float()
    return replace(inputs.graphs, context=torch.nn.functional.pad(whole, (0, width - whole.shape[1])))


def _vocabulary(space: SearchSpace) -> list[int]:
    return [len(feature.values) for feature in space.node_features]
