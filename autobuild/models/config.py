"""Settings of the graph encoder's training: duration, learning rate, losses, and held-out rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from numbers import Integral
from typing import Any

from autobuild.errors import ConfigError
from autobuild.rank import ranking_loss
from autobuild.settings.option import check_settings, option
from autobuild.settings.ranking import Ranking
from autobuild.settings.training import TrainingSettings

MAX_SEED = 2**63 - 1


def check_seed(seed: object) -> int:
    """Return a seed as a Python int; integers of numpy are accepted, too, and converted so that they fit into JSON.

    Raises:
        ConfigError: The seed is not an integer from 0 to 2**63 - 1, the range that torch and numpy both accept.
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) <= MAX_SEED:
        raise ConfigError(f"seed={seed!r}: an integer from 0 to {MAX_SEED} is accepted")
    return int(seed)


@dataclass(frozen=True)
class FitConfig(TrainingSettings):
    """Settings of the training of the graph encoder.

    The loss is ``regression + ranking_weight * ranking(norms of the graph embeddings, target)``, the ranking term
    averaged over hops (AutoBuild, CVPR 2024, eq. 5).

    Args:
        epochs: Number of passes over the rows; None chooses it by the number of rows (:meth:`epochs_for`).
        batch_size: Rows per step; None chooses it by the number of rows (:meth:`batch_size_for`).
        lr: Peak learning rate of a one-cycle schedule (AdamW).
        weight_decay: Decoupled weight decay.
        regression: ``"mse"`` or ``"huber"``, on the standardised target.
        ranking: Name of a ranking loss (:func:`autobuild.rank.ranking_loss`), or ``"none"``.
        ranking_weight: Weight of the ranking term.
        ranking_options: Options of that loss, e.g. ``{"eps": 1.0}``.
        threads: Number of threads that torch uses for the fit and for all computations of the model; None leaves the
            choice to torch. :func:`autobuild.models.threads.torch_threads` explains the default of one.
        holdout: With ``model="graph"``: fraction or number of rows held out for the report and the intervals; 0 for
            none. ``fit(folds=...)`` replaces it by cross-validation.
        refit: With ``model="graph"``: train the final network on all rows, including the held-out ones. The report
            still describes the network that was trained without them.

    Raises:
        ConfigError: A setting is unknown or out of range.
    """

    ranking: str = "srcc"
    ranking_weight: float = option(Ranking.weight, "weight of the ranking term", ">=0")
    ranking_options: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = option(1, "threads that torch uses", ">=1")
    holdout: float | int = 0.1
    refit: bool = option(True, "whether the final network is trained on all rows")

    def __post_init__(self) -> None:
        check_settings(self, "fit.")
        most = 1 if isinstance(self.holdout, float) else math.inf
        if isinstance(self.holdout, bool) or not isinstance(self.holdout, int | float) or not 0 <= self.holdout < most:
            accepted = "a fraction from 0 to below 1, or a number of rows"
            raise ConfigError(f"fit.holdout={self.holdout!r}: {accepted} is accepted")
        if not isinstance(self.ranking_options, Mapping):
            raise ConfigError(f"fit.ranking_options={self.ranking_options!r}: a mapping is accepted")
        if self.ranking != "none":
            ranking_loss(self.ranking, **self.ranking_options)

    def batch_size_for(self, rows: int) -> int:
        """Number of rows per training step. Small sets get small batches, so that an epoch has about ten steps.

        Args:
            rows: Number of training rows.
        """
        wanted = self.batch_size or (128 if rows >= 1500 else 64 if rows >= 600 else 32)
        return min(wanted, rows)

    def epochs_for(self, rows: int) -> int:
        """Number of epochs: 40 for some thousands of rows, up to 150 for fewer (about 1,200 steps in all).

        Args:
            rows: Number of training rows.
        """
        if self.epochs:
            return self.epochs
        steps = max(1, rows // self.batch_size_for(rows))
        return int(min(150, max(40, round(1200 / steps))))

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON-ready data: field name -> value."""
        return {**asdict(self), "ranking_options": dict(self.ranking_options)}
