"""Optuna samplers of architectures."""

from __future__ import annotations

from autobuild.search.samplers.base import ArchitectureSampler
from autobuild.search.samplers.evolution import EvolutionSampler
from autobuild.search.samplers.genetic import GeneticSampler
from autobuild.search.samplers.guided import GuidedSampler
from autobuild.search.samplers.make import SAMPLERS, make_sampler
from autobuild.search.samplers.simple import QMCArchitectureSampler, RandomArchitectureSampler
from autobuild.search.samplers.wrapped import OptunaSampler

__all__ = [
    "SAMPLERS",
    "ArchitectureSampler",
    "EvolutionSampler",
    "GeneticSampler",
    "GuidedSampler",
    "OptunaSampler",
    "QMCArchitectureSampler",
    "RandomArchitectureSampler",
    "make_sampler",
]
