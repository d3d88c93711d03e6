"""Targets with cost terms: the terms with labels are learned, the terms with costs only are computed exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autobuild.cost.space_costs import SpaceCosts
from autobuild.expressions import Names, TargetExpression
from autobuild.expressions.parse import linear_form, split_terms
from autobuild.models.ensemble import EnsembleModel
from autobuild.models.ensemble_fit import evaluation
from autobuild.models.model import FittedModel, FloatArray
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.additive import Additive, Bounds, bounded_sum

CostFunctions = Mapping[str, Callable[[Sequence[Architecture]], Any]]


@dataclass(frozen=True)
class CostTerms:
    """The terms of a target that contain costs only.

    Attributes:
        expression: The sum of the terms.
        costs: Cost name -> function from ``n`` architectures to values of shape ``(n,)``.
    """

    expression: TargetExpression
    costs: CostFunctions

    def values(self, archs: Sequence[Architecture]) -> FloatArray:
        """Value of every architecture; NaN if a cost has no value. Shape ``(len(archs),)``."""
        listed = list(archs)
        values = self.expression.evaluate(lambda name: self.costs[self._cost(name)](listed))
        return np.broadcast_to(values, (len(listed),)).astype(np.float64)

    def bounds(self) -> Bounds | None:
        """Bounds of the values that are sums over units; None if a term is not linear or a cost has no such bounds."""
        weights, offset = linear_form(self.expression)
        terms = []
        for name, weight in (weights or {}).items():
            bounds = getattr(self.costs[self._cost(name)], "bounds", lambda: None)()
            if bounds is None:
                return None
            terms.append((weight, bounds))
        return bounded_sum(terms, offset) if terms else None

    @property
    def cheap(self) -> bool:
        """Whether the costs of thousands of architectures can be computed quickly."""
        return all(getattr(self.costs[self._cost(name)], "cheap", True) for name in self.expression.names)

    def on(self, space: SearchSpace) -> CostTerms:
        """The same terms for a narrowed or joined space, which has other units."""
        if not isinstance(self.costs, SpaceCosts) or space is self.costs.space:
            return self
        return CostTerms(self.expression, SpaceCosts(space, self.costs.hardware))

    def _cost(self, name: str) -> str:
        return Names(costs=self.costs).find(name, self.expression.text)[1]


def split_cost_terms(
    expression: TargetExpression, names: Names, costs: CostFunctions
) -> tuple[TargetExpression, CostTerms | None]:
    """Split a target into the terms that are learned and the cost terms that are computed.

    If no term with labels would be left, the whole target is learned.

    Args:
        expression: The target.
        names: What its names stand for.
        costs: Cost name -> function from architectures to values.

    Returns:
        The learned terms, and the cost terms or None.

    Raises:
        TargetError: A name is unknown or ambiguous.
    """
    kinds = {name: names.find(name, expression.text)[0] for name in expression.names}
    learned, exact = split_terms(expression, lambda name: kinds[name] == "cost")
    if exact is None or learned is None or not learned.names:
        return expression, None
    return learned, CostTerms(exact, costs)


@dataclass(kw_only=True, repr=False)
class CostedModel(FittedModel):
    """A model ``target = learned + exact``: terms with labels are learned, terms with costs only are computed.

    Attributes:
        learned: Model of the learned terms. Its ``training`` and ``heldout`` have a further column ``exact``.
        exact: The cost terms.
    """

    learned: EnsembleModel
    exact: CostTerms

    @classmethod
    def of(cls, learned: EnsembleModel, exact: CostTerms, target: str) -> CostedModel:
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
            space=learned.space.executed(),  # equal networks have different costs
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

    def predict_mean(self, archs: Iterable[Architecture | str]) -> FloatArray:
        """See :meth:`FittedModel.predict_mean`; NaN if a cost has no value."""
        chunks = self._chunks(archs)
        return np.concatenate([self.learned.predict_mean(chunk) + self.exact.values(chunk) for chunk in chunks])

    def intervals(self, archs: Sequence[Architecture], level: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """See :meth:`FittedModel.intervals`: the intervals of the learned terms, shifted by the cost terms."""
        exact = self.exact.values(archs)
        mean, lower, upper = self.learned.intervals(archs, level)
        return mean + exact, lower + exact, upper + exact

    def reported_intervals(
        self, archs: Sequence[Architecture], level: float
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """See :meth:`FittedModel.reported_intervals`: those of the learned terms, shifted by the cost terms."""
        exact = self.exact.values(archs)
        mean, lower, upper = self.learned.reported_intervals(archs, level)
        return mean + exact, lower + exact, upper + exact

    def draw(self, archs: Sequence[Architecture], count: int, seed: int) -> FloatArray | None:
        """See :meth:`FittedModel.draw`."""
        drawn = self.learned.draw(archs, count, seed)
        return None if drawn is None else np.asarray(drawn + self.exact.values(archs))
