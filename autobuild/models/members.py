"""Members of an ensemble: different models of the latent values of architectures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from autobuild._typing import FloatArray, IntArray
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

CHUNK = 4096
WARM_ROWS = 200  # from this many rows on, a fold starts at the parameters of all rows and needs few steps
GRAPH_STEPS = 600  # training steps of the graph member; more steps did not improve the ensemble


class Inputs:
    """Architectures as inputs of members, as descriptions and as graphs; both are computed on first use.

    Args:
        space: The search space.
        archs: The architectures. Length ``(n,)``.
        describer: Computes their descriptions.
    """

    def __init__(self, space: SearchSpace, archs: Sequence[Architecture], describer: Describer) -> None:
        self.space, self.archs, self.describer = space, list(archs), describer

    def __len__(self) -> int:
        return len(self.archs)

    @cached_property
    def description(self) -> Description:
        """Descriptions of the architectures."""
        return self.describer(self.archs)

    @cached_property
    def graphs(self) -> PackedGraphs:
        """The architectures as packed graphs, without context."""
        return pack_architectures(self.space, self.archs)

    def take(self, rows: IntArray) -> Inputs:
        """Inputs of some of the rows; descriptions and graphs that exist are reused."""
        part = Inputs(self.space, [self.archs[row] for row in rows], self.describer)
        if "description" in self.__dict__:
            part.__dict__["description"] = self.description.take(rows)
        if "graphs" in self.__dict__:
            part.__dict__["graphs"] = self.graphs.take(torch.from_numpy(rows))
        return part


class Member(Protocol):
    """Interface of the members of an ensemble."""

    def predict(self, inputs: Inputs) -> FloatArray:
        """Predicted latent values. Shape ``(len(inputs),)``."""
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

    def predict(self, inputs: Inputs) -> FloatArray:
        """See :class:`Member`."""
        graphs = with_context(inputs, self.scaling)
        parts = []
        for start in range(0, len(inputs), CHUNK):
            with torch_threads(self.threads), torch.inference_mode():
                parts.append(self.network(graphs.slice(start, start + CHUNK))[0].double().numpy())
        return np.concatenate(parts) * self.sd + self.mean if parts else np.zeros(0)


def with_context(inputs: Inputs, scaling: Scaling) -> PackedGraphs:
    """Packed graphs with the standardised description of the whole network as context."""
    return replace(inputs.graphs, context=scaling(inputs.description).whole.float())


@dataclass(frozen=True)
class Settings:
    """Settings of the fit of a member.

    Attributes:
        encoder, config: Settings of the graph member and of its training.
        seed: Seed of everything random in the fit.
        device: Device on which the graph member is trained.
        checkpoint: Folder for its checkpoints; None for no checkpoints.
        on_epoch: Called with ``(epochs done, epochs in all)`` of its training, or steps of a process's learning.
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
    """Parts of the kernel of a process member; without ``walks`` if the stages of the space form a chain."""
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
    steps: int = GRAPH_STEPS,
) -> Member:
    """Fit one member.

    Args:
        kind: One of :data:`KINDS`.
        inputs: The n training architectures.
        values: Their labels. Shape ``(n,)``.
        settings: Settings of the fit.
        warp: Map from labels to the latent values that all members predict.
        start: For a process: an earlier process, fitted on more rows, from whose parameters learning starts.
        phase: Name of the checkpoint.
        steps: Training steps of the graph member, unless the settings give the number of epochs.

    Returns:
        The fitted member.
    """
    if kind in PROCESS_PARTS:
        parts = process_parts(kind, inputs)
        most = 12 if start is not None and len(values) >= WARM_ROWS else 60
        process = fit_process(
            inputs.description,
            values,
            parts,
            start=start,
            iterations=most,
            seed=settings.seed,
            on_step=settings.on_epoch,
        )
        return ProcessMember(process)
    latent, scaling = warp.latent(values), Scaling(inputs.description)
    if kind == "trees":
        return TreesMember(fit_trees(tree_columns(scaling, inputs.description), latent, settings.seed), scaling)
    mean, sd = float(latent.mean()), float(latent.std()) or 1.0
    config = settings.config
    if config.epochs is None:
        batches = max(1, len(values) // config.batch_size_for(len(values)))
        least, most = round(20 * steps / GRAPH_STEPS), round(150 * steps / GRAPH_STEPS)
        config = replace(config, epochs=int(min(most, max(least, round(steps / batches)))))
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
