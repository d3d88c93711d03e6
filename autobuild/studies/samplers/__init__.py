"""Optuna samplers of architectures."""

from __future__ import annotations

from autobuild.studies.samplers.base import ArchitectureSampler
from autobuild.studies.samplers.evolution import EvolutionSampler
from autobuild.studies.samplers.genetic import GeneticSampler
from autobuild.studies.samplers.guided import GuidedSampler
from autobuild.studies.samplers.make import SAMPLERS, make_sampler
from autobuild.studies.samplers.simple import QMCArchitectureSampler, RandomArchitectureSampler
from autobuild.studies.samplers.wrapped import OptunaSampler

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
