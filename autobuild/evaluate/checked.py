"""Evaluators around others: their metrics checked, and several made one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autobuild.errors import EvaluationError
from autobuild.evaluate.metrics import checked_metrics
from autobuild.evaluate.protocol import Evaluator, Report, SteppedEvaluator

if TYPE_CHECKING:
    from autobuild.spaces import Architecture, SearchSpace


@dataclass(frozen=True)
class CheckedEvaluator:
    """Another evaluator whose metrics are numbers, and those that are needed finite.

    Args:
        evaluator: The other.
        needs: Names that must be there.
        source: What messages call it.
    """

    evaluator: Evaluator
    needs: tuple[str, ...]
    source: str

    @property
    def metrics(self) -> tuple[str, ...] | None:
        """Names of the metrics that the other gives; None where it does not say."""
        given = getattr(self.evaluator, "metrics", None)
        return None if given is None else tuple(given)

    def __call__(self, space: SearchSpace, arch: Architecture | str, seed: int) -> dict[str, float]:
        """The other's metrics.

        Raises:
            EvaluationError: They are no metrics, or a needed one is missing or not finite; also what the other raises.
        """
        return checked_metrics(self.evaluator(space, arch, seed), self.needs, source=self.source)

    def recipe(self) -> dict[str, Any]:
        """What its labels come from, for the file that they are written to."""
        return source_of(self.evaluator)


@dataclass(frozen=True)
class CheckedSteps(CheckedEvaluator):
    """The same of an evaluator that reports."""

    def steps(self, space: SearchSpace, arch: Architecture | str, seed: int, report: Report) -> dict[str, float]:
        """The other's metrics."""
        assert isinstance(self.evaluator, SteppedEvaluator)
        return checked_metrics(self.evaluator.steps(space, arch, seed, report), self.needs, source=self.source)


def checked(evaluator: Evaluator, needs: Sequence[str], source: str) -> CheckedEvaluator:
    """``evaluator`` with its metrics checked; it reports if ``evaluator`` does."""
    kind = CheckedSteps if isinstance(evaluator, SteppedEvaluator) else CheckedEvaluator
    return kind(evaluator, tuple(needs), source)


@dataclass(frozen=True)
class JoinedEvaluator:
    """The metrics of several evaluators, which give different ones."""

    parts: tuple[Evaluator, ...]

    @property
    def metrics(self) -> tuple[str, ...] | None:
        """Names of all metrics; None where a part does not say."""
        known = [getattr(part, "metrics", None) for part in self.parts]
        return None if None in known else tuple(name for names in known for name in names or ())

    def __call__(self, space: SearchSpace, arch: Architecture | str, seed: int) -> dict[str, float]:
        """All metrics."""
        return self.steps(space, arch, seed, None)

    def steps(self, space: SearchSpace, arch: Architecture | str, seed: int, report: Report | None) -> dict[str, float]:
        """All metrics; the parts that report do so one after the other.

        Raises:
            EvaluationError: Two parts give the same metric.
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
        """What its labels come from, for the file that they are written to."""
        return {"evaluator": "joined", "settings": [source_of(part) for part in self.parts]}


def source_of(evaluator: object) -> dict[str, Any]:
    """What an evaluator's labels come from: its own ``recipe()``, else its type and the fields of a dataclass."""
    own = getattr(evaluator, "recipe", None)
    if callable(own):
        found: dict[str, Any] = own()
        return found
    settings: dict[str, Any] = {}
    if dataclasses.is_dataclass(evaluator) and not isinstance(evaluator, type):
        settings = dataclasses.asdict(evaluator)
    return {"evaluator": type(evaluator).__name__, "settings": settings}
