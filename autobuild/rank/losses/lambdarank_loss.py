"""LambdaRank: NDCG@k as a loss."""

from __future__ import annotations

import torch
from torch import Tensor

from autobuild.rank.losses._shared import averaged, matched, pair_costs, relevance
from autobuild.rank.metrics import MAX_RELEVANCE
from autobuild.registry import LOSSES
from autobuild.settings.option import positive, whole
from autobuild.settings.ranking import LambdaRank, PairwiseLogistic


@LOSSES.register("lambdarank")
@averaged
def lambdarank_loss(
    scores: Tensor,
    target: Tensor,
    *,
    k: int = LambdaRank.k,
    max_relevance: float = MAX_RELEVANCE,
    sigma: float = PairwiseLogistic.sigma,
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
    scores, target = matched(scores, target)
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
        best = (gain.sort(descending=True).values * by_rank).sum(-1)[..., None, None]
        best = torch.where(best > 0, best, torch.ones_like(best))
        swap = (gain.unsqueeze(-1) - gain.unsqueeze(-2)) / best
        change = swap.clamp(min=0) * (discount.unsqueeze(-1) - discount.unsqueeze(-2)).abs()
    cost = pair_costs(scores, sigma, standardise) * change
    return cost.sum(dim=(-2, -1)) / n
