"""Gaussian processes as families of models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from autobuild._typing import FloatArray
from autobuild.models.kernel import PART_OF, PER_UNIT
from autobuild.models.members import Inputs, Member, Settings
from autobuild.models.process import Process, fit_process
from autobuild.models.warp import Warp
from autobuild.registry import FAMILIES

WARM_ROWS = 200  # from this many rows on, a fold starts at the parameters of all rows and needs few steps


@dataclass
class ProcessMember(Member):
    """A Gaussian process (:mod:`autobuild.models.process`); subclasses name the parts of its kernel."""

    process: Process
    parts: ClassVar[tuple[str, ...]]

    @classmethod
    def fit(
        cls, inputs: Inputs, values: FloatArray, warp: Warp | None, settings: Settings, start: Process | None = None
    ) -> Self:
        """See :meth:`Member.fit`.

        Args:
            inputs, values, settings: As of :meth:`Member.fit`.
            warp: Map from labels to latent values; None if it is to be learned.
            start: An earlier process, fitted on more rows, from whose parameters learning starts.

        Returns:
            The fitted member.
        """
        steps, parts = 12 if start is not None and len(values) >= WARM_ROWS else 60, cls.parts_of(inputs)
        how: dict[str, Any] = {"iterations": steps, "seed": settings.seed, "on_step": settings.on_epoch}
        how |= {"start": start, "warp": warp, "scaling": inputs.scaling, "residual": inputs.describer.residual}
        return cls(fit_process(inputs.description, values, parts, **how))

    @classmethod
    def parts_of(cls, inputs: Inputs) -> tuple[str, ...]:
        """Parts of the kernel, without those of which the description has no columns."""
        has = {"walks": inputs.describer.walks, "known": bool(inputs.describer.known) or inputs.describer.trend}
        return tuple(part for part in cls.parts if has.get(part, True))

    def predict(self, inputs: Inputs) -> FloatArray:
        """See :meth:`Member.predict`."""
        return self.process.predict_mean(inputs.description)

    def to_disk(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See :meth:`Member.to_disk`."""
        arrays: Mapping[str, Any] = self.process.parameters
        tensors = {key: torch.from_numpy(np.atleast_1d(value)) for key, value in arrays.items()}
        return tensors, {"parts": list(self.process.parts), "evidence": self.process.evidence}

    @classmethod
    def from_disk(
        cls, tensors: Mapping[str, Tensor], header: Mapping[str, Any], inputs: Inputs, values: FloatArray, warp: Warp
    ) -> Self:
        """See :meth:`Member.from_disk`."""
        parts = tuple(str(part) for part in header["parts"])
        wanted = [key for part in parts for key in PART_OF[part]] + ["noise"]
        parameters = {key: tensors[key].numpy() if key in PER_UNIT else tensors[key].numpy()[0] for key in wanted}
        kept = {"scaling": inputs.scaling}
        evidence = float(header["evidence"])
        return cls(Process(parts, parameters, warp, inputs.description, values, evidence, _state=kept))


@FAMILIES.register("gp")
class GPMember(ProcessMember):
    """A process whose kernel has all parts."""

    parts = ("linear", "units", "joint", "whole", "walks", "known")
