"""Ranking losses between scores of any number of hops, shape (..., n), and a target (n,), averaged over hops."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from autobuild.errors import ConfigError, nearest
from autobuild.rank.checks import positive, share, whole
from autobuild.rank.metrics import FLOOR_QUANTILE, MAX_RELEVANCE, RELEVANCE_LIMIT
from autobuild.rank.softrank import EPS, centred_soft_rank, standardised

RankingLoss = Callable[[Tensor, Tensor], Tensor]

AGAINST = ("ranks", "values")


def srcc_loss(
    scores: Tensor,
    target: Tensor,
    *,
    eps: float = EPS,
    against: str = "ranks",
    method: str = "auto",
) -> Tensor:
    """One minus the soft Spearman correlation: Pearson correlation of soft ranks of the scores and the target's ranks.

    Args:
        scores: Shape (..., n); the leading dimensions are hops. Higher scores should go with higher targets.
        target: Shape (n,).
        eps: Smoothing of the ranks, in standard deviations of a row of scores (see ``soft_rank``).
        against: ``"ranks"``: the ranks of the target, ties having their average rank; ``"values"``: the target itself,
            as in the reference code of AutoBuild.
        method: How the soft ranks are computed (see ``soft_rank``).

    Returns:
        Scalar in [0, 2]. Constant scores or a constant target count as correlation 0 and have zero gradient.

    Raises:
        ConfigError: The shapes do not match, or an option is not usable.
    """
    scores, target = _matched(scores, target)
    if against not in AGAINST:
        raise ConfigError(f"against: given {against!r}, {nearest(against, AGAINST)}")
    wanted = standardised(average_ranks(target) if against == "ranks" else target).to(scores.dtype)
    reached = standardised(centred_soft_rank(scores, eps, True, method))
    return 1 - (reached * wanted).mean(dim=-1).mean()


def pairwise_logistic_loss(scores: Tensor, target: Tensor, *, sigma: float = 1.0, standardise: bool = False) -> Tensor:
    """RankNet: the mean of log(1 + exp(-sigma (s_i - s_j))) over all pairs whose target has y_i > y_j.

    Args:
        scores: Shape (..., n); the leading dimensions are hops.
        target: Shape (n,).
        sigma: Steepness of the logistic function, > 0.
        standardise: First scale each row of scores to mean 0 and standard deviation 1, so that ``sigma`` does not
            depend on the scale of the scores.

    Returns:
        Scalar; 0 without a gradient for a constant target.

    Raises:
        ConfigError: The shapes do not match, or an option is not usable.

    Source: C. Burges et al., "Learning to Rank using Gradient Descent", ICML 2005, equation 3.
    """
    scores, target = _matched(scores, target)
    positive("sigma", sigma)
    above = (target.unsqueeze(-1) > target.unsqueeze(-2)).to(scores.dtype)
    cost = _pair_costs(scores, sigma, standardise) * above
    return (cost.sum(dim=(-2, -1)) / above.sum().clamp(min=1)).mean()


def lambdarank_loss(
    scores: Tensor,
    target: Tensor,
    *,
    k: int = 10,
    max_relevance: float = MAX_RELEVANCE,
    sigma: float = 1.0,
    standardise: bool = False,
) -> Tensor:
    """LambdaRank for NDCG@k: the pairwise logistic loss, each pair weighted by the change of NDCG@k if it is swapped.

    The gain of an item is 2^rel - 1 (see :func:`relevance`), its discount 1 / log2(1 + rank) within the first k ranks
    and 0 beyond. The weights are computed from the ranks of the current scores (ties in the order of the rows) and are
    treated as constants, so that the gradient of the loss is the lambda of the source. The sum over pairs is divided by
    n.

    Args:
        scores: Shape (..., n); the leading dimensions are hops.
        target: Shape (n,); higher is better.
        k: Number of top ranks that count, >= 1.
        max_relevance: Relevance of the largest target, above 0 and up to 100.
        sigma: Steepness of the logistic cost, > 0.
        standardise: First scale each row of scores to mean 0 and standard deviation 1, so that ``sigma`` does not
            depend on the scale of the scores.

    Returns:
        Scalar; 0 without a gradient for a constant target.

    Raises:
        ConfigError: The shapes do not match, or an option is not usable.

    Source: C. Burges, "From RankNet to LambdaRank to LambdaMART: An Overview", MSR-TR-2010-82, sections 3-4.
    """
    scores, target = _matched(scores, target)
    positive("sigma", sigma)
    whole("k", k)
    n = target.shape[-1]
    with torch.no_grad():
        relevant = relevance(target, max_relevance)
        gain = (torch.exp2(relevant) - 1).to(scores.dtype)
        by_rank = 1 / torch.log2(torch.arange(2, n + 2, device=scores.device, dtype=scores.dtype))
        by_rank[k:] = 0
        order = scores.argsort(dim=-1, descending=True, stable=True)
        discount = torch.empty_like(scores).scatter_(-1, order, by_rank.expand_as(scores).contiguous())
        best = (gain.sort(descending=True).values * by_rank).sum()
        best = torch.where(best > 0, best, torch.ones_like(best))
        swap = (gain.unsqueeze(-1) - gain.unsqueeze(-2)) / best
        change = swap.clamp(min=0) * (discount.unsqueeze(-1) - discount.unsqueeze(-2)).abs()
    cost = _pair_costs(scores, sigma, standardise) * change
    return (cost.sum(dim=(-2, -1)) / n).mean()


def hybrid_loss(
    scores: Tensor,
    target: Tensor,
    *,
    weight: float = 0.5,
    eps: float = EPS,
    against: str = "ranks",
    method: str = "auto",
    k: int = 10,
    max_relevance: float = MAX_RELEVANCE,
    sigma: float = 1.0,
    standardise: bool = False,
) -> Tensor:
    """``weight`` times :func:`srcc_loss` plus (1 - ``weight``) times :func:`lambdarank_loss`.

    Args:
        scores: Shape (..., n); the leading dimensions are hops.
        target: Shape (n,).
        weight: Weight of the rank correlation over all items, from 0 to 1; the rest is the weight of the top k.
        eps, against, method: Options of :func:`srcc_loss`.
        k, max_relevance, sigma, standardise: Options of :func:`lambdarank_loss`.

    Returns:
        Scalar.

    Raises:
        ConfigError: The shapes do not match, or an option is not usable.
    """
    share("weight", weight)
    overall = srcc_loss(scores, target, eps=eps, against=against, method=method)
    top = lambdarank_loss(scores, target, k=k, max_relevance=max_relevance, sigma=sigma, standardise=standardise)
    return weight * overall + (1 - weight) * top


LOSSES: dict[str, Callable[..., Tensor]] = {
    "srcc": srcc_loss,
    "lambdarank": lambdarank_loss,
    "pairwise": pairwise_logistic_loss,
    "hybrid": hybrid_loss,
}


def ranking_loss(name: str, **options: object) -> RankingLoss:
    """Look up a ranking loss by name and set its options.

    Args:
        name: One of ``srcc``, ``lambdarank``, ``pairwise`` and ``hybrid``.
        **options: Options of the loss; their values are checked at the first call.

    Returns:
        A callable (scores (..., n), target (n,)) -> scalar.

    Raises:
        ConfigError: The name is unknown, or the loss has no such option.
    """
    if name not in LOSSES:
        raise ConfigError(f"ranking loss: given {name!r}, {nearest(name, LOSSES)}")
    loss = LOSSES[name]
    accepted = [key for key in inspect.signature(loss).parameters if key not in ("scores", "target")]
    for key in options:
        if key not in accepted:
            raise ConfigError(f"option of the ranking loss {name!r}: given {key!r}, {nearest(key, accepted)}")
    return functools.partial(loss, **options)


def relevance(target: Tensor, max_relevance: float = MAX_RELEVANCE) -> Tensor:
    """Graded relevance (n,): 0 up to the 20th percentile of the target, then linear up to ``max_relevance``.

    If the largest value equals the 20th percentile (for example a constant target), all relevances are 0.

    Raises:
        ConfigError: ``max_relevance`` is not above 0 and at most 100.
    """
    positive("max_relevance", max_relevance, RELEVANCE_LIMIT)
    floor, top = torch.quantile(target, FLOOR_QUANTILE), target.max()
    spread = top - floor
    scaled = (target - floor) / torch.where(spread > 0, spread, torch.ones_like(spread))
    return scaled.clamp(0, 1) * max_relevance


def average_ranks(values: Tensor) -> Tensor:
    """Ascending ranks 1..n of ``values`` (n,); equal values have the mean of their ranks. Has no gradient."""
    values = values.detach().contiguous()
    ordered = values.sort().values
    below = torch.searchsorted(ordered, values, right=False)
    up_to = torch.searchsorted(ordered, values, right=True)
    return (below + up_to + 1).to(values.dtype) / 2


def _pair_costs(scores: Tensor, sigma: float, standardise: bool) -> Tensor:
    rows = standardised(scores) if standardise else scores
    return softplus(-sigma * (rows.unsqueeze(-1) - rows.unsqueeze(-2)))


def _matched(scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if scores.ndim == 0 or target.ndim != 1 or scores.shape[-1] != target.shape[0] or scores.numel() == 0:
        raise ConfigError(
            f"ranking loss: given scores of shape {tuple(scores.shape)} and a target of shape {tuple(target.shape)}, "
            "accepted: (..., n) and (n,), not empty"
        )
    # The target keeps its precision until ranks or gains are computed from it.
    return _at_least_single(scores), _at_least_single(target.detach().to(scores.device))


def _at_least_single(values: Tensor) -> Tensor:
    narrow = not values.is_floating_point() or values.dtype in (torch.float16, torch.bfloat16)
    return values.to(torch.float32) if narrow else values
