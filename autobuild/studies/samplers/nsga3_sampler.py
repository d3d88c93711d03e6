"""NSGA-III over architectures."""

from __future__ import annotations

from optuna.samplers import NSGAIIISampler

from autobuild.registry import SAMPLERS
from autobuild.studies.samplers.genetic import GeneticSampler, from_prior


@SAMPLERS.register("nsga3")
class NSGA3ArchitectureSampler(GeneticSampler):
    """NSGA-III (Deb and Jain, 2014), see :class:`GeneticSampler`."""

    selection = from_prior(NSGAIIISampler)
