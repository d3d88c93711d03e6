"""Interfaces of evaluators, and the standard evaluators of search spaces."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from autobuild.errors import EvaluationError
from autobuild.spaces.registry import kind_of

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


def _of(module: str, name: str, *given: str) -> Callable[[], Evaluator]:
    def made() -> Evaluator:  # imports torch, which tables and programs do not need
        evaluator: Evaluator = getattr(importlib.import_module(f"autobuild.evaluate.{module}"), name)(*given)
        return evaluator

    return made


EVALUATORS: dict[str, Callable[[], Evaluator]] = {  # kind of spaces -> what makes their standard evaluator
    "tiny_mbconv": _of("training", "TrainingEvaluator"),
    "joint:tiny_mbconv": _of("training", "JointEvaluator"),
    "digits_dit": _of("digits_diffusion", "DigitsDiffusionEvaluator", "digits_dit"),
    "digits_unet": _of("digits_diffusion", "DigitsDiffusionEvaluator", "digits_unet"),
}


def evaluator_for(space: SearchSpace) -> Evaluator:
    """The standard evaluator of a space (:func:`autobuild.spaces.registry.kind_of`).

    Raises:
        EvaluationError: There is none; the message names those that have one.
    """
    kind = kind_of(space)
    if kind not in EVALUATORS:
        raise EvaluationError(
            f"search space {kind!r} has no evaluator of its own, so its architectures cannot be measured here; "
            f"spaces that have one: {', '.join(sorted(EVALUATORS))}"
        )
    return EVALUATORS[kind]()
