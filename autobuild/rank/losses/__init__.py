"""Ranking losses between scores of any number of hops, shape (..., n), and a target (n,), averaged over hops."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

from autobuild.registry import LOSSES

RankingLoss = Callable[[Tensor, Tensor], Tensor]
Loss = TypeVar("Loss", bound=Callable[..., Tensor])


def register_loss(name: str) -> Callable[[Loss], Loss]:
    """Decorator that registers a ranking loss, for ``FitConfig(ranking=name)`` and ``ranking=name``.

    It decorates a function ``(scores, target, **options)``. Scores have the shape (..., n), whose leading dimensions
    are hops, the target (n,); the result is a scalar, lower for a better order of the scores. Options are keyword
    arguments with defaults. A package declares its loss as an entry point of the group ``autobuild.losses``.

    Args:
        name: Its name, as for :meth:`autobuild.registry.Registry.register`, which says what errors there are.

    Returns:
        The decorator.
    """
    return LOSSES.register(name)


def ranking_loss(name: str, **options: object) -> RankingLoss:
    """Look up a ranking loss by name and set its options.

    Args:
        name: One of ``srcc``, ``lambdarank``, ``pairwise``, ``hybrid`` and the registered ones.
        **options: Options of the loss; their values are checked at the first call.

    Returns:
        A callable (scores (..., n), target (n,)) -> scalar.

    Raises:
        ConfigError: The name is unknown, or the loss has no such option.
    """
    LOSSES.check_options(name, options)
    return functools.partial(LOSSES[name], **options)
