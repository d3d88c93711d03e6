"""What an evaluator owes, and which one belongs to a space."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from autobuild.errors import EvaluationError
from autobuild.evaluate.training import TrainingEvaluator

if TYPE_CHECKING:
    from torch import nn

    from autobuild.spaces import Architecture, SearchSpace


@runtime_checkable
class Evaluator(Protocol):
    """Gives an architecture its labels.

    It pickles (parallel processes receive a copy), it is deterministic for a seed on one machine, and it raises
    :class:`~autobuild.errors.EvaluationError` where an architecture cannot be evaluated.
    """

    def __call__(self, space: SearchSpace, arch: Architecture | str, seed: int) -> dict[str, float]:
        """Evaluate once: metric name -> value, in base units (percent, counts, seconds)."""
        ...


Report = Callable[[int, Mapping[str, float]], None]


@runtime_checkable
class SteppedEvaluator(Evaluator, Protocol):
    """An evaluator that can say after each step (an epoch, a fold) how far it has come.

    Called directly it goes through all steps; :meth:`steps` is what executors call.
    """

    def steps(self, space: SearchSpace, arch: Architecture | str, seed: int, report: Report) -> dict[str, float]:
        """As calling it, with ``report(step, metrics)`` after every step; steps count from 1.

        Raises:
            Pruned: ``report`` raised it, since the evaluation has shown enough; let it pass.
        """
        ...


@runtime_checkable
class NetworkEvaluator(Evaluator, Protocol):
    """An evaluator with real networks, whose latency can therefore be measured."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input without the batch."""
        ...

    def network(self, space: SearchSpace, arch: Architecture | str, seed: int = 0) -> nn.Module:
        """The network of ``arch``, freshly initialised."""
        ...


EVALUATORS: dict[str, Callable[[], Evaluator]] = {"tiny_mbconv": TrainingEvaluator}


def evaluator_for(space: SearchSpace) -> Evaluator:
    """The evaluator of a space's family, with its standard recipe.

    Raises:
        EvaluationError: If the family has none; the message names those that do.
    """
    if space.family not in EVALUATORS:
        raise EvaluationError(
            f"search space {space.family!r} has no evaluator of its own, so its architectures cannot be measured here; "
            f"spaces that have one: {', '.join(sorted(EVALUATORS))}"
        )
    return EVALUATORS[space.family]()
