"""The correlation of all rows and the order of the best ones, in one loss."""

from __future__ import annotations

from torch import Tensor

from autobuild.rank.losses._shared import averaged
from autobuild.rank.losses.lambdarank_loss import lambdarank_loss
from autobuild.rank.losses.srcc_loss import srcc_loss
from autobuild.rank.metrics import MAX_RELEVANCE
from autobuild.rank.softrank import EPS
from autobuild.registry import LOSSES
from autobuild.settings.option import share
from autobuild.settings.ranking import Hybrid, PairwiseLogistic


@LOSSES.register("hybrid")
@averaged
def hybrid_loss(
    scores: Tensor,
    target: Tensor,
    *,
    weight: float = Hybrid.share,
    eps: float = EPS,
    against: str = Hybrid.against,
    method: str = "auto",
    k: int = Hybrid.k,
    max_relevance: float = MAX_RELEVANCE,
    sigma: float = PairwiseLogistic.sigma,
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
    overall = srcc_loss.of_rows(  # type: ignore[attr-defined]
        scores, target, eps=eps, against=against, method=method
    )
    top = lambdarank_loss.of_rows(  # type: ignore[attr-defined]
        scores, target, k=k, max_relevance=max_relevance, sigma=sigma, standardise=standardise
    )
    mean: Tensor = weight * overall + (1 - weight) * top
    return mean
