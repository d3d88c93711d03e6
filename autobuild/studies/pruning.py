"""Pruners by name: which evaluations end early, by their intermediate values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autobuild.errors import ConfigError, nearest
from autobuild.settings.names import PRUNERS

if TYPE_CHECKING:
    import optuna


def make_pruner(pruner: str | optuna.pruners.BasePruner | None, n_targets: int = 1) -> optuna.pruners.BasePruner:
    """A pruner of Optuna.

    Args:
        pruner: ``None`` or ``"none"``; ``"asha"``: asynchronous successive halving (Li et al., MLSys 2020), from the
            first step on, a quarter goes on at each rung; ``"hyperband"`` (Li et al., JMLR 2018); ``"median"``: below
            the median of earlier trials at the same step; or a pruner of Optuna.
        n_targets: How many targets the study has.

    Raises:
        ConfigError: An unknown name, or a pruner for several targets, which Optuna does not report values of.
    """
    import optuna

    made: dict[str, type[optuna.pruners.BasePruner]] = {
        "none": optuna.pruners.NopPruner,
        "asha": optuna.pruners.SuccessiveHalvingPruner,
        "hyperband": optuna.pruners.HyperbandPruner,
        "median": optuna.pruners.MedianPruner,
    }
    if pruner is None or pruner == "none":
        return optuna.pruners.NopPruner()
    if n_targets > 1:
        raise ConfigError(
            f"pruner={pruner}: there are {n_targets} targets, and pruning compares values of a single one"
        )
    if isinstance(pruner, optuna.pruners.BasePruner):
        return pruner
    if not isinstance(pruner, str) or pruner not in made:
        raise ConfigError(f"pruner={pruner!r}: {nearest(pruner, PRUNERS)}")
    return made[pruner]()
