"""A model of a target whose cost terms are computed: what is learned, and what is exact, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autobuild.models.ensemble import EnsembleModel
from autobuild.models.ensemble_fit import evaluation
from autobuild.models.exact import ExactPart
from autobuild.models.model import FittedModel, FloatArray
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.additive import Additive


@dataclass(kw_only=True, repr=False)
class CostedModel(FittedModel):
    """``target = learned + exact``: only the labels are learned, costs are what they are.

    Attributes:
        learned: The model of the rest; its ``training`` and ``heldout`` have a column ``exact`` beside its own target.
        exact: The cost terms.
    """

    learned: EnsembleModel
    exact: ExactPart

    @classmethod
    def of(cls, learned: EnsembleModel, exact: ExactPart, target: str) -> CostedModel:
        """Put a model and cost terms together; the model's tables must have their column ``exact``."""
        training, heldout = learned.training.copy(), learned.heldout.copy()
        training["target"] += training["exact"]
        for name in ("measured", "predicted"):
            heldout[name] += heldout["exact"]
        report = {
            **learned.report,
            **evaluation(heldout),
            "target": target,
            "learned_target": learned.target,
            "exact_target": exact.expression.text,
            "learned_srcc": learned.report.get("test_srcc"),
        }
        return cls(
            space=learned.space,
            target=target,
            family=learned.family,
            training=training.drop(columns="exact"),
            heldout=heldout.drop(columns="exact"),
            report=report,
            seed=learned.seed,
            learned=learned,
            exact=exact,
        )

    @property
    def best_exact(self) -> float:
        """The best value of the exact part among the architectures fitted."""
        return float(self.learned.training["exact"].max())

    def likely(self, space: SearchSpace) -> tuple[Additive, float] | None:
        """The exact part as a sum over the units of a space, and how far off it is; None where it has no such bounds.

        See :meth:`autobuild.spaces.additive.Bounds.likely`; the known values are those of the architectures fitted.
        """
        bounds = self.exact.on(space).bounds()
        if bounds is None:
            return None
        known = [(arch, value) for arch, value in zip(self.training_archs, self.learned.training["exact"], strict=True)
                 if space is self.space or arch in space]  # fmt: skip
        indices = [space.indices(arch) for arch, _ in known]
        return bounds.likely(np.reshape(indices, (len(known), -1)), [value for _, value in known])

    def predict_mean(self, archs: Sequence[Architecture | str]) -> FloatArray:
        """See :meth:`FittedModel.predict_mean`; NaN where a cost has no value."""
        parsed = self._parsed(archs)
        return self.learned.predict_mean(parsed) + self.exact.values(parsed)

    def intervals(self, archs: Sequence[Architecture], level: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """See :meth:`FittedModel.intervals`: those of the learned part, moved by the exact one."""
        exact = self.exact.values(archs)
        mean, lower, upper = self.learned.intervals(archs, level)
        return mean + exact, lower + exact, upper + exact

    def draw(self, archs: Sequence[Architecture], count: int, seed: int) -> FloatArray | None:
        """See :meth:`FittedModel.draw`."""
        drawn = self.learned.draw(archs, count, seed)
        return None if drawn is None else np.asarray(drawn + self.exact.values(archs))
