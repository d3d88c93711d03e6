"""Members of an ensemble: different models of the latent values of architectures. A family of models is a member."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from autobuild._typing import FloatArray, IntArray
from autobuild.encode import EncoderConfig
from autobuild.graphs import PackedGraphs, pack_architectures
from autobuild.models.config import FitConfig
from autobuild.models.describe import Describer, Description
from autobuild.models.kernel import Scaling
from autobuild.models.model import CHUNK
from autobuild.models.warp import Warp
from autobuild.registry import FAMILIES
from autobuild.spaces import Architecture, SearchSpace


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
    def scaling(self) -> Scaling:
        """Standardises descriptions by those of these architectures."""
        return Scaling(self.description)

    @cached_property
    def graphs(self) -> PackedGraphs:
        """The architectures as packed graphs, without context."""
        return pack_architectures(self.space, self.archs)

    def chunks(self) -> Iterator[Inputs]:
        """Inputs of :data:`~autobuild.models.model.CHUNK` rows at a time, whose descriptions are not kept."""
        for start in range(0, len(self), CHUNK):
            yield Inputs(self.space, self.archs[start : start + CHUNK], self.describer)

    def take(self, rows: IntArray) -> Inputs:
        """Inputs of some of the rows; descriptions and graphs that exist are reused."""
        part = Inputs(self.space, [self.archs[row] for row in rows], self.describer)
        if "description" in self.__dict__:
            part.__dict__["description"] = self.description.take(rows)
        if "graphs" in self.__dict__:
            part.__dict__["graphs"] = self.graphs.take(torch.from_numpy(rows))
        return part


class Member(ABC):
    """A fitted model of the latent values; an ensemble is one member, or a weighted mean of several.

    A family of models is a subclass. ``ab.fit(..., model=name)`` cross-validates it, computes its intervals from the
    held-out errors, and fits it on all rows; the latent values are the labels with their skew removed
    (:class:`~autobuild.models.warp.Warp`).
    """

    @classmethod
    @abstractmethod
    def fit(cls, inputs: Inputs, values: FloatArray, warp: Warp, settings: Settings) -> Self:
        """Fit on labelled rows.

        Args:
            inputs: The n training architectures.
            values: Their labels. Shape ``(n,)``.
            warp: Map from labels to the latent values that all members predict: ``warp.latent(values)``.
            settings: Settings of the fit, such as its seed.

        Returns:
            The fitted member.
        """

    @classmethod
    def fit_many(cls, sets: Sequence[tuple[Inputs, FloatArray]], warp: Warp, settings: Settings) -> list[Self]:
        """Fit on each of several sets of labelled rows, such as the folds of a cross-validation.

        A family overrides it if that is faster than one :meth:`fit` after another.

        Args:
            sets: Architectures and labels of every set.
            warp, settings: See :meth:`fit`.

        Returns:
            One fitted member for each set.
        """
        out, on_epoch = [], settings.on_epoch
        for number, (inputs, values) in enumerate(sets):

            def say(done: int, total: int, number: int = number) -> None:
                if on_epoch:
                    on_epoch(number * total + done, len(sets) * total)

            say(0, 1)
            own = replace(settings, phase=f"{settings.phase}-{number}", on_epoch=say)
            out.append(cls.fit(inputs, values, warp, own))
        return out

    @abstractmethod
    def predict(self, inputs: Inputs) -> FloatArray:
        """Predicted latent values. Shape ``(len(inputs),)``."""

    @abstractmethod
    def to_disk(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name and JSON-ready data, from which :meth:`from_disk` makes an equal member."""

    @classmethod
    @abstractmethod
    def from_disk(
        cls, tensors: Mapping[str, Tensor], header: Mapping[str, Any], inputs: Inputs, values: FloatArray, warp: Warp
    ) -> Self:
        """The member that :meth:`to_disk` described.

        Args:
            tensors, header: What :meth:`to_disk` gave.
            inputs, values, warp: Of the fit on all rows; what they determine need not be written.

        Returns:
            The member.

        Raises:
            KeyError: A tensor or an entry of the header is missing.
            RuntimeError: A tensor has another shape.
        """


@dataclass(frozen=True)
class Settings:
    """Settings of the fit of a member.

    Attributes:
        encoder, config: Settings of the graph member and of its training.
        seed: Seed of everything random in the fit.
        device: Device on which the graph member is trained.
        checkpoint: Folder for its checkpoints; None for no checkpoints.
        phase: Name of the checkpoint.
        steps: Training steps of the graph member, unless ``config`` gives the number of epochs.
        closed_form_rows: From this many rows on, folds of a process follow from its fit on all rows. With fewer, its
            parameters know enough of the held-out rows to make it look better than it is.
        on_epoch: Called with ``(epochs done, epochs in all)`` of its training, or steps of a process's learning.
    """

    encoder: EncoderConfig
    config: FitConfig
    seed: int
    device: str = "cpu"
    checkpoint: Path | None = None
    phase: str = "all"
    steps: int = 600  # more did not improve the ensemble
    closed_form_rows: int = 700
    on_epoch: Callable[[int, int], None] | None = None


Family = TypeVar("Family", bound=type[Member])


def register_family(name: str) -> Callable[[Family], Family]:
    """Decorator that registers a family of models, for ``ab.fit(..., model=name)`` and ``model=name``.

    It decorates a subclass of :class:`Member`. A package declares its family as an entry point of the group
    ``autobuild.families``.

    Args:
        name: Its name, as for :meth:`autobuild.registry.Registry.register`, which says what errors there are.

    Returns:
        The decorator.
    """
    return FAMILIES.register(name)
