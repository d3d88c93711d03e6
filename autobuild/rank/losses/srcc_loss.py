"""Soft Spearman correlation as a loss."""

from __future__ import annotations

from torch import Tensor

from autobuild.errors import ConfigError, nearest
from autobuild.rank.losses._shared import average_ranks, averaged, matched
from autobuild.rank.softrank import EPS, centred_soft_rank, standardised
from autobuild.registry import LOSSES
from autobuild.settings.ranking import AGAINST, SoftSpearman


@LOSSES.register("srcc")
@averaged
def srcc_loss(
    scores: Tensor,
    target: Tensor,
    *,
    eps: float = EPS,
    against: str = SoftSpearman.against,
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
    scores, target = matched(scores, target)
    if against not in AGAINST:
        raise ConfigError(f"against: given {against!r}, {nearest(against, AGAINST)}")
    wanted = standardised(average_ranks(target) if against == "ranks" else target).to(scores.dtype)
    reached = standardised(centred_soft_rank(scores, eps, True, method))
    return 1 - (reached * wanted).mean(dim=-1)
