"""The default model: a Gaussian process, combined with other members that improve predictions of held-out rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import NormalDist

import numpy as np
from scipy.special import stdtrit

from autobuild._typing import IntArray
from autobuild.encode import EncoderConfig
from autobuild.models.config import FitConfig
from autobuild.models.describe import Describer
from autobuild.models.gp_family import ProcessMember
from autobuild.models.known import Column
from autobuild.models.members import Inputs, Member, Settings
from autobuild.models.model import FittedModel, FloatArray
from autobuild.models.stacking import combine
from autobuild.models.warp import Warp
from autobuild.settings.names import INTERVAL_LEVEL, INTERVAL_SDS
from autobuild.spaces import Architecture

BEYOND = 0.5  # standard deviation of the share of a gain predicted beyond all labels that is true (docs/build.md)


@dataclass(kw_only=True, repr=False)
class EnsembleModel(FittedModel):
    """A weighted mean of members on the latent scale.

    Intervals come from one Gaussian process among the members and are calibrated on held-out rows.

    Attributes:
        family: The family that was requested: ``auto`` or the name of one member.
        members: Member name -> member.
        weights: Member name -> weight; they sum to one.
        base: Name of the process that gives the uncertainty; None if no member is a process.
        warp: Map from labels to latent values.
        views: From which architectures are described, see :class:`~autobuild.models.describe.Describer`.
        known: Known numbers of architectures: features, and predictions of sources.
        trend: Whether costs are among the known numbers.
        rows: Member -> rows of ``training`` that it learned from, if those are not all.
        heldout: Columns ``arch, measured, predicted, fold, error``. ``error`` is the latent error in standard
            deviations of the prediction.
    """

    members: dict[str, Member]
    weights: dict[str, float]
    base: str | None
    warp: Warp
    views: tuple[str, ...] = ("function",)
    known: tuple[Column, ...] = ()
    trend: bool = False
    rows: dict[str, IntArray] = field(default_factory=dict)

    @cached_property
    def describer(self) -> Describer:
        """The describer of the model's space."""
        return Describer(self.space, views=self.views, known=self.known, trend=self.trend)

    def predict_mean(self, archs: Iterable[Architecture | str]) -> FloatArray:
        """See :meth:`FittedModel.predict_mean`: the median of the target's distribution."""
        return self._in_chunks(archs, lambda inputs: (self.warp.label(self._latent(inputs)),))[0]

    def intervals(self, archs: Sequence[Architecture], level: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """See :meth:`FittedModel.intervals`.

        The latent half-width is the predictive standard deviation times the conformal quantile of the held-out errors
        in units of their standard deviations (normalised conformal prediction, Papadopoulos et al., 2011). Intervals
        are therefore wider for architectures that are unlike the labelled ones.
        """
        return self._bounds(archs, level, 0.0)

    def reported_intervals(
        self, archs: Sequence[Architecture], level: float
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """See :meth:`FittedModel.reported_intervals`.

        The latent half-width of a network that is predicted beyond all labels is the root of the sum of two squares:
        that of :meth:`intervals`, and :data:`BEYOND` times the normal quantile times how far beyond.
        """
        return self._bounds(archs, level, BEYOND * NormalDist().inv_cdf(0.5 + level / 2))

    def _bounds(
        self, archs: Sequence[Architecture], level: float, beyond: float
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        quantile = self._quantile(level)
        low, high = self.warp.latent([self.training["target"].min(), self.training["target"].max()])

        def bounds(inputs: Inputs) -> tuple[FloatArray, ...]:
            latent = self._latent(inputs)
            half = np.hypot(self._sd(inputs) * quantile, beyond * (latent - latent.clip(low, high)))
            return self.warp.label(latent), self.warp.label(latent - half), self.warp.label(latent + half)

        predicted, lower, upper = self._in_chunks(archs, bounds)
        return predicted, lower, upper

    def draw(self, archs: Sequence[Architecture], count: int, seed: int) -> FloatArray | None:
        """See :meth:`FittedModel.draw`: draws of the process, with calibrated spread, around the ensemble's mean."""
        if self.base is None:
            return None
        inputs = Inputs(self.space, self._parsed(archs), self.describer)
        about = self._process().process.deviations(inputs.description, count, np.random.default_rng(seed))
        spread = self._quantile(INTERVAL_LEVEL) / INTERVAL_SDS
        return self.warp.label(self._latent(inputs) + about * (spread if math.isfinite(spread) else 1.0))

    def refitted(self, rows: IntArray) -> EnsembleModel:
        """The members fitted anew on some of the training rows, with the same weights and bend.

        Args:
            rows: Rows of :attr:`training`.

        Returns:
            A model whose reports, held-out rows and intervals are still those of all rows.
        """
        inputs = Inputs(self.space, [self.training_archs[row] for row in rows], self.describer)
        values = self.training["target"].to_numpy(dtype=float)[rows]
        settings = Settings(EncoderConfig(), FitConfig(), self.seed)
        members = {kind: type(member).fit(inputs, values, self.warp, settings) for kind, member in self.members.items()}
        return replace(self, members=members)

    def _in_chunks(
        self, archs: Iterable[Architecture | str], compute: Callable[[Inputs], tuple[FloatArray, ...]]
    ) -> list[FloatArray]:
        """What is computed for a number of architectures at a time, which bounds the memory, put together."""
        parts = [compute(Inputs(self.space, chunk, self.describer)) for chunk in self._chunks(archs)]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def _latent(self, inputs: Inputs) -> FloatArray:
        if not len(inputs):
            return np.zeros(0)
        return combine({name: self.members[name].predict(inputs) for name in self.weights}, self.weights)

    def _sd(self, inputs: Inputs) -> FloatArray:
        if self.base is None:
            return np.ones(len(inputs))
        return self._process().process.predict(inputs.description)[1]

    def _process(self) -> ProcessMember:
        assert self.base is not None
        member = self.members[self.base]
        assert isinstance(member, ProcessMember)
        return member

    def _quantile(self, level: float) -> float:
        """Conformal quantile of the held-out errors, in standard deviations; at least that of a normal distribution.

        The lower bound keeps intervals from becoming narrower than those of the process, because about a hundred
        held-out rows are too few to justify that. Levels beyond the largest error are extrapolated by a normal tail.
        """
        errors = np.sort(np.abs(self.heldout["error"].to_numpy(dtype=float)))
        normal = NormalDist()
        least = 0.0
        if self.base is not None:  # Student's t: of few labels, two thirds are spent on learning the kernel
            least = float(stdtrit(max(1, len(errors) // 3), 0.5 + level / 2))
        rank = math.ceil((len(errors) + 1) * level)
        if rank <= len(errors):
            return max(least, float(errors[rank - 1]))
        reached = len(errors) / (len(errors) + 1)
        return max(least, float(errors[-1]) * normal.inv_cdf(0.5 + level / 2) / normal.inv_cdf(0.5 + reached / 2))
