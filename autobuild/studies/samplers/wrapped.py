"""Optuna's own samplers over architectures: their proposals completed, kept inside the space, and made new."""

from __future__ import annotations

import warnings

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.parameters import Choice
from autobuild.spaces.stage import Value
from autobuild.studies.samplers.base import ArchitectureSampler

STARTUP = 10  # trials at random before TPE and the Gaussian process begin


class OptunaSampler(ArchitectureSampler):
    """One of Optuna's samplers, asked for a whole architecture.

    Its joint proposal counts where it is among the values that are left; choices that it does not cover are asked of
    it one by one, as Optuna itself does.

    Args:
        space: The space.
        inner: Optuna's sampler.
        grain, seed, mutation: As of :class:`ArchitectureSampler`.
    """

    def __init__(
        self, space: SearchSpace, inner: BaseSampler, grain: str = "layer", seed: int = 0, mutation: str = "layer"
    ) -> None:
        super().__init__(space, grain, seed, mutation)
        self.inner = self.independent = inner

    def __str__(self) -> str:
        return f"{type(self).__name__}({self.inner})"

    def draw(self, study: Study, trial: FrozenTrial, rng: np.random.Generator) -> Architecture:
        """See :meth:`ArchitectureSampler.draw`."""
        search_space = self.inner.infer_relative_search_space(study, trial)
        joint = self.inner.sample_relative(study, trial, search_space)

        def pick(choice: Choice) -> Value | None:
            value: Value | None = joint.get(choice.name)
            if choice.name in joint and value in choice.values:
                return value
            found: Value | None = self.inner.sample_independent(study, trial, choice.name, self.distribution(choice))
            return found

        return self.parameters.walk(pick)


def tpe(space: SearchSpace, grain: str, seed: int, mutation: str) -> OptunaSampler:
    """Tree-structured Parzen estimator, jointly over the parameters of every group of trials that share them."""
    with quiet():
        inner = TPESampler(multivariate=True, group=True, seed=seed % 2**32, n_startup_trials=STARTUP)
    return OptunaSampler(space, inner, grain, seed, mutation)


def gp(space: SearchSpace, grain: str, seed: int, mutation: str) -> OptunaSampler:
    """Optuna's Gaussian process; for parameters that every trial has."""
    with quiet():
        inner = GPSampler(seed=seed % 2**32, n_startup_trials=STARTUP, warn_independent_sampling=False)
    sampler = OptunaSampler(space, inner, grain, seed, mutation)
    sampler.redrawn = 0  # asking is dear, and the best of its acquisition stays the best
    return sampler


def quiet() -> warnings.catch_warnings:
    """Without the notices that an argument is experimental: users did not choose it."""
    return warnings.catch_warnings(action="ignore", category=ExperimentalWarning)
