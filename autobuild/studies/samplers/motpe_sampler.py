"""Tree-structured Parzen estimator over architectures, for several targets."""

from __future__ import annotations

from autobuild.errors import ConfigError
from autobuild.registry import SAMPLERS
from autobuild.spaces import SearchSpace
from autobuild.studies.samplers.tpe_sampler import tpe
from autobuild.studies.samplers.wrapped import OptunaSampler


@SAMPLERS.register("motpe")
def motpe(
    space: SearchSpace, grain: str = "layer", seed: int = 0, mutation: str = "layer", n_targets: int = 2
) -> OptunaSampler:
    """Multi-objective TPE (Ozaki et al., 2020).

    Args:
        space, grain, seed, mutation: As of :class:`ArchitectureSampler`.
        n_targets: Objectives of the study.

    Returns:
        The sampler.

    Raises:
        ConfigError: There is one target.
    """
    if n_targets == 1:
        raise ConfigError("sampler='motpe' is for several targets; one is searched: take sampler='tpe'")
    return tpe(space, grain, seed, mutation)
