"""Judging networks by a prediction and cost terms whose computation takes long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.additive import Bounds, FloatArray

Predict = Callable[[Sequence[Architecture]], FloatArray]


def judge_of(model: Any, space: SearchSpace, predict: Callable[[Any], Predict]) -> Predict | Computed:
    """What networks are judged by: a model's prediction; lazily where the cost terms of its target take long.

    Args:
        model: The model.
        space: Where networks are judged: the model's space, or one narrowed or joined from it.
        predict: Model -> its prediction, or a bound of it.
    """
    from autobuild.models import CostedModel  # which loads torch, and building by given scores needs none

    if isinstance(model, CostedModel) and not model.exact.cheap:
        return Computed(space, predict(model.learned), model.exact.on(space), model.best_exact)
    return predict(model)


class Terms(Protocol):
    """Cost terms, as :class:`autobuild.models.exact.ExactPart`."""

    def values(self, archs: Sequence[Architecture], /) -> FloatArray:
        """Their values, shape ``(n,)``."""

    def bounds(self) -> Bounds | None:
        """Sums over units that enclose them."""


class Computed:
    """A :class:`~autobuild.construct.refine.Lazy` judge: the prediction is there at once, the cost terms follow.

    Until they do they count as the most that their sums over units allow. Where they have no such sums, the best value
    among known architectures stands for that; then a network with a better one may be overlooked.

    Args:
        space: The space.
        predict: Architectures -> prediction, shape ``(n,)``.
        terms: The cost terms.
        known: The best value known of them.
    """

    def __init__(
        self,
        space: SearchSpace,
        predict: Predict,
        terms: Terms,
        known: float,
    ) -> None:
        self.space, self.predict, self.terms, self.known = space, predict, terms, known
        self.bounds = terms.bounds()
        self.predicted: dict[str, float] = {}

    def __call__(self, archs: Sequence[Architecture]) -> FloatArray:
        """See :class:`~autobuild.construct.refine.Lazy`."""
        predicted = np.asarray(self.predict(archs), dtype=np.float64)
        self.predicted.update((arch.text, value) for arch, value in zip(archs, predicted.tolist(), strict=True))
        if self.bounds is None:
            return predicted + self.known
        most = self.bounds.upper.totals([self.space.indices(arch) for arch in archs])
        return np.asarray(predicted + most + 1e-9 * np.abs(most))  # sums of floats are rounded

    def settle(self, archs: Sequence[Architecture]) -> FloatArray:
        """See :class:`~autobuild.construct.refine.Lazy`."""
        return np.array([self.predicted[arch.text] for arch in archs]) + self.terms.values(archs)
