"""Ranking losses of the graph encoder by name, and the options of each."""

from __future__ import annotations

from dataclasses import dataclass

from autobuild.settings.option import option

AGAINST = ("ranks", "values")


@dataclass(frozen=True)
class NoRanking:
    """Options without a ranking loss."""

    weight: float = option(0.0, "lambda, the weight of the ranking loss beside the regression", ">=0")


@dataclass(frozen=True)
class Ranking:
    """What all ranking losses have."""

    weight: float = option(1.0, "lambda, the weight of the ranking loss beside the regression", ">=0")


@dataclass(frozen=True)
class SoftSpearman(Ranking):
    """Options of the soft Spearman correlation."""

    eps: float = option(0.1, "softness of the soft ranks, in standard deviations of the ranked values", ">0")
    against: str = option(
        "ranks", "what the soft ranks are correlated with: the target's ranks or its values", choices=AGAINST
    )


@dataclass(frozen=True)
class LambdaRank(Ranking):
    """Options of LambdaRank."""

    k: int = option(10, "the k of NDCG@k", ">=1")


@dataclass(frozen=True)
class Hybrid(LambdaRank, SoftSpearman):
    """Options of the hybrid of soft Spearman correlation and LambdaRank."""

    share: float = option(0.5, "share of the soft Spearman correlation, the rest is LambdaRank", ">=0 <=1")


@dataclass(frozen=True)
class PairwiseLogistic(Ranking):
    """Options of RankNet."""

    sigma: float = option(1.0, "steepness", ">0")


# Name -> one line of help, options, of those that ship.
SHIPPED: dict[str, tuple[str, type | None]] = {
    "hybrid": ("soft Spearman over all rows and LambdaRank at the top", Hybrid),
    "lambdarank": ("LambdaRank on NDCG@k (Burges, 2010)", LambdaRank),
    "none": ("no ranking loss: the regression head alone", NoRanking),
    "pairwise": ("pairwise logistic loss (RankNet; Burges et al., 2005)", PairwiseLogistic),
    "srcc": ("1 - soft Spearman correlation (soft ranks of Blondel et al., 2020)", SoftSpearman),
}
