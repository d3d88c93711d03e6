"""Optuna samplers of architectures."""

from __future__ import annotations

from autobuild.registry import SAMPLERS
from autobuild.studies.samplers.base import ArchitectureSampler
from autobuild.studies.samplers.evolution_sampler import EvolutionSampler
from autobuild.studies.samplers.genetic import GeneticSampler
from autobuild.studies.samplers.guided_sampler import GuidedSampler
from autobuild.studies.samplers.make import make_sampler, register_sampler
from autobuild.studies.samplers.qmc_sampler import QMCArchitectureSampler
from autobuild.studies.samplers.random_sampler import RandomArchitectureSampler
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
    "register_sampler",
]
