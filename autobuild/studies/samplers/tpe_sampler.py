"""Tree-structured Parzen estimator over architectures."""

from __future__ import annotations

from optuna.samplers import TPESampler

from autobuild.registry import SAMPLERS
from autobuild.spaces import SearchSpace
from autobuild.studies.samplers.wrapped import STARTUP, OptunaSampler, quiet


@SAMPLERS.register("tpe")
def tpe(space: SearchSpace, grain: str = "layer", seed: int = 0, mutation: str = "layer") -> OptunaSampler:
    """TPE (Bergstra et al., 2011), jointly over the parameters of every group of trials that share them.

    Args:
        space, grain, seed, mutation: As of :class:`ArchitectureSampler`.

    Returns:
        The sampler.
    """
    with quiet():
        inner = TPESampler(multivariate=True, group=True, seed=seed % 2**32, n_startup_trials=STARTUP)
    return OptunaSampler(space, inner, grain, seed, mutation)
