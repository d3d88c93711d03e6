"""Ranking losses and metrics: soft-rank SRCC, LambdaRank (NDCG@k), pairwise logistic, and a hybrid."""

from __future__ import annotations

from autobuild.rank.losses import ranking_loss, register_loss
from autobuild.rank.losses.hybrid_loss import hybrid_loss
from autobuild.rank.losses.lambdarank_loss import lambdarank_loss
from autobuild.rank.losses.pairwise_loss import pairwise_logistic_loss
from autobuild.rank.losses.srcc_loss import srcc_loss
from autobuild.rank.metrics import kendall_tau, mae, ndcg_at_k, per_hop, srcc
from autobuild.rank.softrank import soft_rank

__all__ = [
    "hybrid_loss",
    "kendall_tau",
    "lambdarank_loss",
    "mae",
    "ndcg_at_k",
    "pairwise_logistic_loss",
    "per_hop",
    "ranking_loss",
    "register_loss",
    "soft_rank",
    "srcc",
    "srcc_loss",
]
