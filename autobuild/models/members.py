"""Members of an ensemble: each learns latent values of described architectures, each in its own way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from autobuild.encode import EncoderConfig
from autobuild.graphs import PackedGraphs, pack_architectures
from autobuild.models.config import FitConfig
from autobuild.models.describe import Describer, Description
from autobuild.models.kernel import Scaling
from autobuild.models.network import Predictor
from autobuild.models.process import Process, fit_process
from autobuild.models.threads import torch_threads
from autobuild.models.training import train
from autobuild.models.trees import Trees, fit_trees, tree_columns
from autobuild.models.warp import Warp
from autobuild.spaces import Architecture, SearchSpace

FloatArray = NDArray[np.float64]
Rows = NDArray[np.int64]

CHUNK = 4096
WARM_ROWS = 200  # from here on a fold starts where all rows ended, and needs few steps
GRAPH_STEPS = 600  # of training the graph member; twice as many rank no better beside a process


class Inputs:
    """Architectures as members see them; each form is made when it is first asked for.

    Args:
        space: Their space.
        archs: n architectures.
        describer: Describes them.
    """

    def __init__(self, space: SearchSpace, archs: Sequence[Architecture], describer: Describer) -> None:
        self.space, self.archs, self.describer = space, list(archs), describer

    def __len__(self) -> int:
        return len(self.archs)

    @cached_property
    def description(self) -> Description:
        """As named numbers."""
        return self.describer(self.archs)

    @cached_property
    def graphs(self) -> PackedGraphs:
        """As graphs, without context."""
        return pack_architectures(self.space, self.archs)

    def take(self, rows: Rows) -> Inputs:
        """Some of the rows; forms that exist are cut, not made again."""
        part = Inputs(self.space, [self.archs[row] for row in rows], self.describer)
        if "description" in self.__dict__:
            part.__dict__["description"] = self.description.take(rows)
        if "graphs" in self.__dict__:
            part.__dict__["graphs"] = self.graphs.take(torch.from_numpy(rows))
        return part


class Member(Protocol):
    """What an ensemble asks of its members."""

    def predict(self, inputs: Inputs) -> FloatArray:
        """Latent values. Shape ``(len(inputs),)``."""
        ...


@dataclass
class ProcessMember:
    """A Gaussian process (:mod:`autobuild.models.process`)."""

    process: Process

    def predict(self, inputs: Inputs) -> FloatArray:
        """See :class:`Member`."""
        return self.process.predict_mean(inputs.description)


@dataclass
class TreesMember:
    """Boosted trees over scaled descriptions."""

    trees: Trees
    scaling: Scaling

    def predict(self, inputs: Inputs) -> FloatArray:
        """See :class:`Member`."""
        return self.trees.predict(tree_columns(self.scaling, inputs.description))


@dataclass
class GraphMember:
    """A hop encoder that also sees what is known of the whole network.

    Attributes:
        network: For standardised latent values.
        mean, sd: Of the latent values it was fitted on.
        scaling: Scales the context.
        threads: Torch threads.
    """

    network: Predictor
    mean: float
    sd: float
    scaling: Scaling
    threads: int | None = 1

    def predict(self, inputs: Inputs) -> FloatArray:
        """See :class:`Member`."""
        graphs = with_context(inputs, self.scaling)
        parts = []
        for start in range(0, len(inputs), CHUNK):
            with torch_threads(self.threads), torch.inference_mode():
                parts.append(self.network(graphs.slice(start, start + CHUNK))[0].double().numpy())
        return np.concatenate(parts) * self.sd + self.mean if parts else np.zeros(0)


def with_context(inputs: Inputs, scaling: Scaling) -> PackedGraphs:
    """Packed graphs, with the scaled description of the whole network as their context."""
    return replace(inputs.graphs, context=scaling(inputs.description).whole.float())


@dataclass(frozen=True)
class Settings:
    """What the fit of a member needs beside its rows.

    Attributes:
        encoder, config: Of the graph member.
        seed: Of everything random.
        device: Where the graph member is trained.
        checkpoint: Folder for its checkpoints.
    """

    encoder: EncoderConfig
    config: FitConfig
    seed: int
    device: str = "cpu"
    checkpoint: Path | None = None
    on_epoch: Callable[[int, int], None] | None = None


PROCESS_PARTS: dict[str, tuple[str, ...]] = {
    "gp": ("linear", "units", "joint", "whole", "walks"),
    "walks": ("linear", "whole", "walks"),
    "linear": ("linear",),
}
KINDS = (*PROCESS_PARTS, "trees", "graph")


def process_parts(kind: str, inputs: Inputs) -> tuple[str, ...]:
    """The kernel's parts of a process member, for the space at hand."""
    parts = PROCESS_PARTS[kind]
    return parts if inputs.describer.walks else tuple(part for part in parts if part != "walks")


def fit_member(
    kind: str,
    inputs: Inputs,
    values: FloatArray,
    settings: Settings,
    warp: Warp,
    start: Process | None = None,
    phase: str = "all",
) -> Member:
    """Fit one member.

    Args:
        kind: One of :data:`KINDS`.
        inputs: n architectures.
        values: Their labels, shape ``(n,)``.
        settings: See :class:`Settings`.
        warp: From labels to the latent values that all members share.
        start: For a process: one of more rows, from whose parameters learning starts.
        phase: Names the checkpoint.
    """
    if kind in PROCESS_PARTS:
        parts = process_parts(kind, inputs)
        steps = 12 if start is not None and len(values) >= WARM_ROWS else 60
        seed = settings.seed
        return ProcessMember(fit_process(inputs.description, values, parts, start=start, iterations=steps, seed=seed))
    latent, scaling = warp.latent(values), Scaling(inputs.description)
    if kind == "trees":
        return TreesMember(fit_trees(tree_columns(scaling, inputs.description), latent, settings.seed), scaling)
    mean, sd = float(latent.mean()), float(latent.std()) or 1.0
    config = settings.config
    if config.epochs is None:
        steps = max(1, len(values) // config.batch_size_for(len(values)))
        config = replace(config, epochs=int(min(150, max(20, round(GRAPH_STEPS / steps)))))
    network, _ = train(
        with_context(inputs, scaling),
        torch.from_numpy((latent - mean) / sd).float(),
        [len(feature.values) for feature in inputs.space.node_features],
        settings.encoder,
        config,
        settings.seed,
        checkpoint=settings.checkpoint / f"_{phase}.pt" if settings.checkpoint else None,
        on_epoch=settings.on_epoch,
        device=settings.device,
    )
    return GraphMember(network, mean, sd, scaling, config.threads)
