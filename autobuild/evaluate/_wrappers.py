"""Evaluators that wrap others: one checks their metrics, one joins the metrics of several."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autobuild.errors import EvaluationError
from autobuild.evaluate.evaluator import Evaluator, Report, SteppedEvaluator
from autobuild.evaluate.metrics import checked_metrics

if TYPE_CHECKING:
    from autobuild.spaces import Architecture, SearchSpace


@dataclass(frozen=True)
class CheckedEvaluator:
    """Returns the metrics of another evaluator, after checking that they are numbers and the needed ones are finite.

    Args:
        evaluator: The other evaluator.
        needs: Names of the metrics that it must return.
        source: Its name in messages.
    """

    evaluator: Evaluator
    needs: tuple[str, ...]
    source: str

    @property
    def metrics(self) -> tuple[str, ...] | None:
        """Names of its metrics; None if the evaluator does not declare them."""
        declared = getattr(self.evaluator, "metrics", None)
        return None if declared is None else tuple(declared)

    def __call__(self, space: SearchSpace, arch: Architecture | str, seed: int) -> dict[str, float]:
        """The checked metrics.

        Raises:
            EvaluationError: They are no metrics, a needed one is missing or not finite, or the evaluation failed.
        """
        return checked_metrics(self.evaluator(space, arch, seed), self.needs, source=self.source)

    def recipe(self) -> dict[str, Any]:
        """Origin of the labels: that of the wrapped evaluators."""
        return source_of(self.evaluator)


@dataclass(frozen=True)
class CheckedSteps(CheckedEvaluator):
    """A checked evaluator that reports intermediate metrics."""

    def steps(self, space: SearchSpace, arch: Architecture | str, seed: int, report: Report) -> dict[str, float]:
        """The checked metrics."""
        assert isinstance(self.evaluator, SteppedEvaluator)
        return checked_metrics(self.evaluator.steps(space, arch, seed, report), self.needs, source=self.source)


def checked(evaluator: Evaluator, needs: Sequence[str], source: str) -> CheckedEvaluator:
    """``evaluator`` with checked metrics; it reports intermediate metrics if ``evaluator`` does."""
    kind = CheckedSteps if isinstance(evaluator, SteppedEvaluator) else CheckedEvaluator
    return kind(evaluator, tuple(needs), source)


@dataclass(frozen=True)
class JoinedEvaluator:
    """Joins the metrics of several evaluators, which must have different names."""

    parts: tuple[Evaluator, ...]

    @property
    def metrics(self) -> tuple[str, ...] | None:
        """Names of all metrics; None if a part does not declare them."""
        known = [getattr(part, "metrics", None) for part in self.parts]
        return None if None in known else tuple(name for names in known for name in names or ())

    def __call__(self, space: SearchSpace, arch: Architecture | str, seed: int) -> dict[str, float]:
        """All metrics."""
        return self.steps(space, arch, seed, None)

    def steps(self, space: SearchSpace, arch: Architecture | str, seed: int, report: Report | None) -> dict[str, float]:
        """All metrics; the parts that report intermediate metrics do so one after the other.

        Raises:
            EvaluationError: Two parts return the same metric.
        """
        metrics: dict[str, float] = {}
        for part in self.parts:
            if report is not None and isinstance(part, SteppedEvaluator):
                new = part.steps(space, arch, seed, report)
            else:
                new = part(space, arch, seed)
            if both := metrics.keys() & new.keys():
                raise EvaluationError(f"two evaluators give {', '.join(sorted(both))}; leave one of them out")
            metrics |= new
        return metrics

    def recipe(self) -> dict[str, Any]:
        """Origin of the labels: that of the wrapped evaluators."""
        return {"evaluator": "joined", "settings": [source_of(part) for part in self.parts]}


def source_of(evaluator: object) -> dict[str, Any]:
    """Origin of an evaluator's labels: its ``recipe()``, else its type and, for a dataclass, its fields."""
    recipe = getattr(evaluator, "recipe", None)
    if callable(recipe):
        origin: dict[str, Any] = recipe()
        return origin
    settings: dict[str, Any] = {}
    if dataclasses.is_dataclass(evaluator) and not isinstance(evaluator, type):
        settings = dataclasses.asdict(evaluator)
    return {"evaluator": type(evaluator).__name__, "settings": settings}
