"""Optuna's Gaussian process over architectures."""

from __future__ import annotations

from optuna.samplers import GPSampler

from autobuild.errors import ConfigError
from autobuild.registry import SAMPLERS
from autobuild.spaces import SearchSpace
from autobuild.studies.samplers.wrapped import STARTUP, OptunaSampler, quiet


@SAMPLERS.register("gp")
def gp(space: SearchSpace, grain: str = "unit", seed: int = 0, mutation: str = "layer") -> OptunaSampler:
    """Optuna's Gaussian process, for parameters that every trial has.

    Args:
        space, grain, seed, mutation: As of :class:`ArchitectureSampler`.

    Returns:
        The sampler.

    Raises:
        ConfigError: The grain is not ``"unit"``.
    """
    if grain != "unit":
        raise ConfigError(
            f"sampler='gp' at grain={grain!r}: Optuna's Gaussian process models parameters that every trial has, "
            "and layers that only deep networks have are none: take grain='unit' (units of up to 512 candidates), "
            "or sampler='guided', whose predictor knows whole networks"
        )
    with quiet():
        inner = GPSampler(seed=seed % 2**32, n_startup_trials=STARTUP, warn_independent_sampling=False)
    sampler = OptunaSampler(space, inner, grain, seed, mutation)
    sampler.redrawn = 0  # another draw is expensive, and the maximum of the acquisition stays the same
    return sampler
