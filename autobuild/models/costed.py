"""Models of targets with cost terms: the labels are learned, the cost terms are computed exactly."""

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
    """A model ``target = learned + exact``: terms with labels are learned, terms with costs only are computed.

    Attributes:
        learned: Model of the learned terms. Its ``training`` and ``heldout`` have a further column ``exact``.
        exact: The cost terms.
    """

    learned: EnsembleModel
    exact: ExactPart

    @classmethod
    def of(cls, learned: EnsembleModel, exact: ExactPart, target: str) -> CostedModel:
        """Combine a model with cost terms, whose values must be a column ``exact`` of the model's tables."""
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
        """Largest value of the cost terms among the training architectures."""
        return float(self.learned.training["exact"].max())

    def likely(self, space: SearchSpace) -> tuple[Additive, float] | None:
        """The cost terms as a sum over the units of a space, and the standard deviation of its errors.

        The sum is fitted to the training architectures, see :meth:`autobuild.spaces.additive.Bounds.likely`. None if
        the cost terms have no bounds that are sums over units.
        """
        bounds = self.exact.on(space).bounds()
        if bounds is None:
            return None
        known = [(arch, value) for arch, value in zip(self.training_archs, self.learned.training["exact"], strict=True)
                 if space is self.space or arch in space]  # fmt: skip
        indices = [space.indices(arch) for arch, _ in known]
        return bounds.likely(np.reshape(indices, (len(known), -1)), [value for _, value in known])

    def predict_mean(self, archs: Sequence[Architecture | str]) -> FloatArray:
        """See :meth:`FittedModel.predict_mean`; NaN if a cost has no value."""
        parsed = self._parsed(archs)
        return self.learned.predict_mean(parsed) + self.exact.values(parsed)

    def intervals(self, archs: Sequence[Architecture], level: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """See :meth:`FittedModel.intervals`: the intervals of the learned terms, shifted by the cost terms."""
        exact = self.exact.values(archs)
        mean, lower, upper = self.learned.intervals(archs, level)
        return mean + exact, lower + exact, upper + exact

    def draw(self, archs: Sequence[Architecture], count: int, seed: int) -> FloatArray | None:
        """See :meth:`FittedModel.draw`."""
        drawn = self.learned.draw(archs, count, seed)
        return None if drawn is None else np.asarray(drawn + self.exact.values(archs))
