"""The part of a target that is computed rather than learned: its cost terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autobuild.cost.of_space import SpaceCosts
from autobuild.expressions import Names, TargetExpression
from autobuild.expressions.terms import linear_form, split_terms
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.additive import Bounds, bounded_sum

FloatArray = NDArray[np.float64]
CostFunctions = Mapping[str, Callable[[Sequence[Architecture]], Any]]


@dataclass(frozen=True)
class ExactPart:
    """The terms of a target that name costs alone.

    Attributes:
        expression: Their sum.
        costs: Cost name -> function of architectures.
    """

    expression: TargetExpression
    costs: CostFunctions

    def values(self, archs: Sequence[Architecture]) -> FloatArray:
        """Value of every architecture, shape ``(n,)``; NaN where a cost has none."""
        listed = list(archs)
        found = self.expression.evaluate(lambda name: self.costs[self._cost(name)](listed))
        return np.broadcast_to(found, (len(listed),)).astype(np.float64)

    def bounds(self) -> Bounds | None:
        """Sums over units that enclose the values; None where the terms are not linear, or a cost has no such sums."""
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
        """Whether thousands of architectures are computed in no time."""
        return all(getattr(self.costs[self._cost(name)], "cheap", True) for name in self.expression.names)

    def on(self, space: SearchSpace) -> ExactPart:
        """The same of a narrowed or joined space, whose units are others."""
        if not isinstance(self.costs, SpaceCosts) or space is self.costs.space:
            return self
        return ExactPart(self.expression, SpaceCosts(space, self.costs.hardware))

    def _cost(self, name: str) -> str:
        return Names(costs=self.costs).find(name, self.expression.text)[1]


def taken_apart(
    expression: TargetExpression, names: Names, costs: CostFunctions
) -> tuple[TargetExpression, ExactPart | None]:
    """What of a target is learned, and what is computed; all is learned where no term is left to learn.

    Args:
        expression: The target.
        names: What its names stand for.
        costs: Cost name -> function of architectures.

    Raises:
        TargetError: A name is unknown or ambiguous.
    """
    kinds = {name: names.find(name, expression.text)[0] for name in expression.names}
    learned, exact = split_terms(expression, lambda name: kinds[name] == "cost")
    if exact is None or learned is None or not learned.names:
        return expression, None
    return learned, ExactPart(exact, costs)
