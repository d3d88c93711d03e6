"""NSGA-II over architectures."""

from __future__ import annotations

from optuna.samplers import NSGAIISampler

from autobuild.registry import SAMPLERS
from autobuild.studies.samplers.genetic import GeneticSampler, from_prior


@SAMPLERS.register("nsga2")
class NSGA2ArchitectureSampler(GeneticSampler):
    """NSGA-II (Deb et al., 2002), see :class:`GeneticSampler`."""

    selection = from_prior(NSGAIISampler)
