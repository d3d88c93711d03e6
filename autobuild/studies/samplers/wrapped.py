"""Optuna's own samplers over architectures: their proposals completed, kept inside the space, and made new."""

from __future__ import annotations

import warnings

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
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


def quiet() -> warnings.catch_warnings:
    """Without the notices that an argument is experimental: users did not choose it."""
    return warnings.catch_warnings(action="ignore", category=ExperimentalWarning)
