"""Scorers: functions from a fitted model to a score for every candidate of every unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from autobuild._typing import BoolArray, FloatArray, IntArray
from autobuild.models import FittedModel
from autobuild.registry import SCORERS
from autobuild.spaces import SearchSpace


@dataclass(frozen=True)
class UnitScores:
    """Scores of all candidates of one unit.

    Attributes:
        score: Score in units of the target; higher is better. Shape ``(unit.size,)``.
        hops: Hop of the embedding from which the score was computed. Shape ``(unit.size,)``.
        unseen_depth: True if too few labels have the candidate's depth to calibrate its score. Shape ``(unit.size,)``.
        lower, upper: Bounds of a 90 % interval; None or NaN if the scorer gives none. Shapes ``(unit.size,)``.
    """

    score: FloatArray
    hops: IntArray
    unseen_depth: BoolArray
    lower: FloatArray | None = None
    upper: FloatArray | None = None


class Scorer(Protocol):
    """Scores every candidate of every unit of a space by what a model has learned."""

    def __call__(self, model: FittedModel, space: SearchSpace) -> list[UnitScores]:
        """Return one :class:`UnitScores` per unit of ``space``, in order."""
        ...


Made = TypeVar("Made", bound=Callable[[FittedModel, SearchSpace], list[UnitScores]])


def register_scorer(name: str) -> Callable[[Made], Made]:
    """Decorator that registers a scorer (:class:`Scorer`), for ``model.explain(scorer=name)`` and ``scorer=name``.

    A package declares its scorer as an entry point of the group ``autobuild.scorers``.

    Args:
        name: Its name, as for :meth:`autobuild.registry.Registry.register`, which says what errors there are.

    Returns:
        The decorator.
    """
    return SCORERS.register(name)


def find_scorer(scorer: str | Scorer) -> Scorer:
    """Look up a scorer by name; a callable is returned unchanged.

    Raises:
        ConfigError: The name is unknown.
    """
    found: Scorer = scorer if callable(scorer) else SCORERS[scorer]
    return found
