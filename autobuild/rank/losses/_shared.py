"""What ranking losses share: checked inputs, costs of pairs, ranks and relevances."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

import torch
from torch import Tensor
from torch.nn.functional import softplus

from autobuild.errors import ConfigError
from autobuild.rank.metrics import FLOOR_QUANTILE, MAX_RELEVANCE, RELEVANCE_LIMIT
from autobuild.rank.softrank import standardised
from autobuild.settings.option import positive

Options = ParamSpec("Options")


def averaged(of_rows: Callable[Options, Tensor]) -> Callable[Options, Tensor]:
    """Make a ranking loss of a function that gives the losses of single rows of scores: their mean.

    The function takes scores of shape (..., n) and a target of shape (n,), or (M, n) for scores of shape (..., M, n),
    as of M networks that are trained side by side. It is kept as attribute ``of_rows`` of the loss.
    """

    @functools.wraps(of_rows)
    def loss(*args: Options.args, **options: Options.kwargs) -> Tensor:
        return of_rows(*args, **options).mean()

    loss.of_rows = of_rows  # type: ignore[attr-defined]
    return loss


def matched(scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (..., n) and target (n,) or (M, n) in at least single precision.

    Raises:
        ConfigError: The shapes do not match.
    """
    fits = 1 <= target.ndim <= min(2, scores.ndim) and scores.shape[scores.ndim - target.ndim :] == target.shape
    if not fits or scores.numel() == 0:
        raise ConfigError(
            f"ranking loss: given scores of shape {tuple(scores.shape)} and a target of shape {tuple(target.shape)}, "
            "accepted: (..., n) and (n,), or (..., M, n) and (M, n), not empty"
        )
    # The target keeps its precision until ranks or gains are computed from it.
    return _at_least_single(scores), _at_least_single(target.detach().to(scores.device))


def _at_least_single(values: Tensor) -> Tensor:
    narrow = not values.is_floating_point() or values.dtype in (torch.float16, torch.bfloat16)
    return values.to(torch.float32) if narrow else values


def pair_costs(scores: Tensor, sigma: float, standardise: bool) -> Tensor:
    """``log(1 + exp(-sigma (s_i - s_j)))`` of all pairs. Shapes: (..., n) -> (..., n, n)."""
    rows = standardised(scores) if standardise else scores
    return softplus(-sigma * (rows.unsqueeze(-1) - rows.unsqueeze(-2)))


def relevance(target: Tensor, max_relevance: float = MAX_RELEVANCE) -> Tensor:
    """Graded relevance (..., n): 0 up to the 20th percentile of the target, then linear up to ``max_relevance``.

    If the largest value equals the 20th percentile (for example a constant target), all relevances are 0.

    Raises:
        ConfigError: ``max_relevance`` is not above 0 and at most 100.
    """
    positive("max_relevance", max_relevance, RELEVANCE_LIMIT)
    floor, top = torch.quantile(target, FLOOR_QUANTILE, -1, True), target.amax(-1, True)
    spread = top - floor
    scaled = (target - floor) / torch.where(spread > 0, spread, torch.ones_like(spread))
    return scaled.clamp(0, 1) * max_relevance


def average_ranks(values: Tensor) -> Tensor:
    """Ascending ranks 1..n of ``values`` (..., n); equal values have the mean of their ranks. Has no gradient."""
    values = values.detach().contiguous()
    ordered = values.sort().values
    below = torch.searchsorted(ordered, values, right=False)
    up_to = torch.searchsorted(ordered, values, right=True)
    return (below + up_to + 1).to(values.dtype) / 2
