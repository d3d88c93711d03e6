"""What networks are ranked by: a cheap upper bound for all, an exact value for those that come up among the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autobuild._typing import BoolArray, FloatArray
from autobuild.spaces import Architecture, SearchSpace

if TYPE_CHECKING:
    from autobuild.construct.limits import Limited
    from autobuild.models.cost_terms import CostTerms

Predict = Callable[[Sequence[Architecture]], FloatArray]


class Evaluator:
    """Values of networks by a function that is exact at once; subclasses give upper bounds first.

    Args:
        predict: Architectures -> what is maximised, shape ``(n,)``; NaN where a network has no value.
    """

    cheap = True  # whether bounds are exact for networks that no limit excludes

    def __init__(self, predict: Predict) -> None:
        self.predict = predict

    def bounds(self, archs: Sequence[Architecture]) -> tuple[FloatArray, BoolArray]:
        """Upper bounds (NaN: the network is excluded), and which of them are exact. Shapes ``(n,)``."""
        values = np.asarray(self.predict(archs), dtype=np.float64)
        return values, np.ones(len(values), dtype=bool)

    def exact(self, archs: Sequence[Architecture]) -> FloatArray:
        """Exact values of networks whose bounds were asked for before; NaN: excluded. Shape ``(n,)``."""
        return self.bounds(archs)[0]


class WithCostTerms(Evaluator):
    """A prediction plus cost terms that are expensive, such as DRAM traffic after fusion.

    Until the terms are computed, the upper bound by sums over units is used. Where there is no such bound, the best
    value among known architectures stands in for it; then a network with a better one may be missed.

    Args:
        space: The space.
        predict: Architectures -> the prediction, shape ``(n,)``.
        terms: The cost terms.
        known: The best value known of them.
    """

    cheap = False

    def __init__(self, space: SearchSpace, predict: Predict, terms: CostTerms, known: float) -> None:
        super().__init__(predict)
        self.space, self.terms, self.known, self.sums = space, terms, known, terms.bounds()
        self._predicted: dict[str, float] = {}

    def bounds(self, archs: Sequence[Architecture]) -> tuple[FloatArray, BoolArray]:
        """See :class:`Evaluator`."""
        predicted = np.asarray(self.predict(archs), dtype=np.float64)
        self._predicted.update((arch.text, value) for arch, value in zip(archs, predicted.tolist(), strict=True))
        inexact = np.zeros(len(archs), dtype=bool)
        if self.sums is None:
            return predicted + self.known, inexact
        most = self.sums.upper.totals([self.space.indices(arch) for arch in archs])
        return predicted + most + 1e-9 * np.abs(most), inexact  # sums of floats are rounded

    def exact(self, archs: Sequence[Architecture]) -> FloatArray:
        """See :class:`Evaluator`."""
        return np.array([self._predicted[arch.text] for arch in archs]) + self.terms.values(archs)


class WithinLimits(Evaluator):
    """An evaluator that excludes networks which break limits.

    Args:
        evaluator: What networks within the limits are ranked by.
        limits: The limits.
        lazily: Check undecided networks only when their exact values are asked for.
    """

    def __init__(self, evaluator: Evaluator, limits: Limited, *, lazily: bool = True) -> None:
        self.evaluator, self.limits, self.lazily, self.cheap = evaluator, limits, lazily, evaluator.cheap
        self._undecided: dict[str, float | None] = {}  # text -> its value, where only the limits are undecided

    def bounds(self, archs: Sequence[Architecture]) -> tuple[FloatArray, BoolArray]:
        """See :class:`Evaluator`."""
        verdicts = self.limits.decide(archs) if self.lazily else np.where(self.limits.feasible(archs), 1, -1)
        values, exact = np.full(len(archs), np.nan), np.ones(len(archs), dtype=bool)
        rows = np.flatnonzero(verdicts >= 0).tolist()
        if rows:
            values[rows], exact[rows] = self.evaluator.bounds([archs[row] for row in rows])
        for row in np.flatnonzero(verdicts == 0).tolist():
            self._undecided[archs[row].text] = float(values[row]) if exact[row] else None
        return values, exact & (verdicts != 0)

    def exact(self, archs: Sequence[Architecture]) -> FloatArray:
        """See :class:`Evaluator`."""
        within, values = np.ones(len(archs), dtype=bool), np.full(len(archs), np.nan)
        undecided = [row for row, arch in enumerate(archs) if arch.text in self._undecided]
        if undecided:
            within[undecided] = self.limits.feasible([archs[row] for row in undecided])
        for row in np.flatnonzero(within).tolist():
            known = self._undecided.get(archs[row].text)
            values[row] = self.evaluator.exact([archs[row]])[0] if known is None else known
        return values


def evaluator_of(model: Any, space: SearchSpace, predict: Callable[[Any], Predict]) -> Evaluator:
    """The evaluator of a model: its prediction, exact at once unless the target has expensive cost terms.

    Args:
        model: The fitted model.
        space: Where networks are evaluated: the model's space, or one narrowed or joined from it.
        predict: Model -> its prediction, or a bound of it.
    """
    from autobuild.models import CostedModel  # which loads torch, and building by given scores needs none

    if isinstance(model, CostedModel) and not model.exact.cheap:
        return WithCostTerms(space, predict(model.learned), model.exact.on(space), model.best_exact)
    return Evaluator(predict(model))
