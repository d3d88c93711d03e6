"""Interfaces of evaluators, and the standard evaluators of search spaces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from autobuild.errors import EvaluationError
from autobuild.spaces.registry import JOINT

if TYPE_CHECKING:
    from torch import nn

    from autobuild.spaces import Architecture, SearchSpace


@runtime_checkable
class Evaluator(Protocol):
    """Measures or looks up the labels of an architecture.

    It must be possible to pickle it, because parallel processes receive a copy. It is deterministic for a seed on one
    machine, and raises :class:`~autobuild.errors.EvaluationError` if an architecture cannot be evaluated.
    """

    def __call__(self, space: SearchSpace, arch: Architecture | str, seed: int) -> dict[str, float]:
        """Evaluate once: metric name -> value, in base units (percent, counts, seconds)."""
        ...


Report = Callable[[int, Mapping[str, float]], None]


@runtime_checkable
class SteppedEvaluator(Evaluator, Protocol):
    """An evaluator that can report metrics after each step, such as an epoch or a fold.

    Executors call :meth:`steps`; a direct call performs all steps without reports.
    """

    def steps(self, space: SearchSpace, arch: Architecture | str, seed: int, report: Report) -> dict[str, float]:
        """Evaluate once, and call ``report(step, metrics)`` after every step; steps count from 1.

        Raises:
            Pruned: Raised by ``report`` if the evaluation is pruned; it must not be caught.
        """
        ...


@runtime_checkable
class NetworkEvaluator(Evaluator, Protocol):
    """An evaluator that builds networks, so that their latency can be measured."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input without the batch."""
        ...

    def network(self, space: SearchSpace, arch: Architecture | str, seed: int = 0) -> nn.Module:
        """The network of ``arch``, freshly initialised."""
        ...


def _training() -> Evaluator:
    from autobuild.evaluate.training import TrainingEvaluator  # torch, which tables and programs do not need

    return TrainingEvaluator()


def _digits(model: str) -> Callable[[], Evaluator]:
    def made() -> Evaluator:
        from autobuild.evaluate.digits_diffusion import DigitsDiffusionEvaluator

        return DigitsDiffusionEvaluator(model)

    return made


EVALUATORS: dict[str, Callable[[], Evaluator]] = {
    "tiny_mbconv": _training,
    "digits_dit": _digits("digits_dit"),
    "digits_unet": _digits("digits_unet"),
}


def evaluator_for(space: SearchSpace) -> Evaluator:
    """The standard evaluator of a space's family.

    Raises:
        EvaluationError: The family has none; the message names those that have one.
    """
    joint = space.options.get(JOINT)
    if joint and EVALUATORS.get(joint["space"]["family"]) is _training:
        from autobuild.evaluate.training import JointEvaluator

        return JointEvaluator()
    if space.family not in EVALUATORS:
        raise EvaluationError(
            f"search space {space.family!r} has no evaluator of its own, so its architectures cannot be measured here; "
            f"spaces that have one: {', '.join(sorted(EVALUATORS))}"
        )
    return EVALUATORS[space.family]()
