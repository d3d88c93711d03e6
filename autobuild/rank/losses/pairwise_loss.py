"""RankNet: a logistic loss on pairs."""

from __future__ import annotations

from torch import Tensor

from autobuild.rank.losses._shared import averaged, matched, pair_costs
from autobuild.registry import LOSSES
from autobuild.settings.option import positive
from autobuild.settings.ranking import PairwiseLogistic


@LOSSES.register("pairwise")
@averaged
def pairwise_logistic_loss(
    scores: Tensor, target: Tensor, *, sigma: float = PairwiseLogistic.sigma, standardise: bool = False
) -> Tensor:
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
    scores, target = matched(scores, target)
    positive("sigma", sigma)
    above = (target.unsqueeze(-1) > target.unsqueeze(-2)).to(scores.dtype)
    cost = pair_costs(scores, sigma, standardise) * above
    return cost.sum(dim=(-2, -1)) / above.sum(dim=(-2, -1)).clamp(min=1)
