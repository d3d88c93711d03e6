"""The cost terms of a target, which are computed instead of learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autobuild.cost.space_costs import SpaceCosts
from autobuild.expressions import Names, TargetExpression
from autobuild.expressions.terms import linear_form, split_terms
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.additive import Bounds, bounded_sum

FloatArray = NDArray[np.float64]
CostFunctions = Mapping[str, Callable[[Sequence[Architecture]], Any]]


@dataclass(frozen=True)
class ExactPart:
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
        found = self.expression.evaluate(lambda name: self.costs[self._cost(name)](listed))
        return np.broadcast_to(found, (len(listed),)).astype(np.float64)

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

    def on(self, space: SearchSpace) -> ExactPart:
        """The same terms for a narrowed or joined space, which has other units."""
        if not isinstance(self.costs, SpaceCosts) or space is self.costs.space:
            return self
        return ExactPart(self.expression, SpaceCosts(space, self.costs.hardware))

    def _cost(self, name: str) -> str:
        return Names(costs=self.costs).find(name, self.expression.text)[1]


def taken_apart(
    expression: TargetExpression, names: Names, costs: CostFunctions
) -> tuple[TargetExpression, ExactPart | None]:
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
    return learned, ExactPart(exact, costs)
