"""Genetic samplers: Optuna's selection, with children that are architectures of the space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from autobuild.settings.option import integer
from autobuild.settings.samplers import Genetic
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.parameters import Choice
from autobuild.spaces.stage import Value
from autobuild.studies.samplers.history import better, losses, violation
from autobuild.studies.samplers.wrapped import OptunaSampler, quiet

CROSSOVER = 0.9  # Optuna's own default
MUTATION = 1 - 1 / np.e  # chance of at least one mutation where each parameter's mean is one in all: Optuna's default
_NOTHING = object()


def from_prior(kind: type) -> type:
    """A genetic sampler of Optuna for which complete trials that it did not make, such as labels entered before, are of
    the first generation; Optuna itself passes them over."""

    class FromPrior(kind):  # type: ignore[misc]
        def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
            counted: int = super().get_trial_generation(study, trial)
            key = self._get_generation_key()
            if counted or key in trial.system_attrs or len(self.get_population(study, 0)) < self.population_size:
                return counted
            study._storage.set_trial_system_attr(trial._trial_id, key, 1)
            return 1

        def get_population(self, study: Study, generation: int) -> list[FrozenTrial]:
            found: list[FrozenTrial] = super().get_population(study, generation)
            if generation:
                return found
            complete = study._get_trials(deepcopy=False, states=[TrialState.COMPLETE], use_cache=True)
            return [*found, *(trial for trial in complete if self._get_generation_key() not in trial.system_attrs)]

    return FromPrior


class GeneticSampler(OptunaSampler):
    """Children of a population that Optuna's :attr:`selection` keeps; NSGA-II and NSGA-III are subclasses.

    Every choice of a child is that of one parent or the other where they have it, so that it is in the space whatever
    their depths; it then mutates at the sampler's level. Optuna's own children drop all conditional parameters.

    Args:
        space, grain, seed, mutation: As of :class:`ArchitectureSampler`.
        population: Members of a generation, at least 2.

    Raises:
        ConfigError: An unusable population.
    """

    selection: ClassVar[type]  # a genetic sampler of Optuna

    def __init__(
        self,
        space: SearchSpace,
        grain: str = "layer",
        seed: int = 0,
        mutation: str = "layer",
        *,
        population: int = Genetic.population,
    ) -> None:
        population = integer("population", population, 2)
        with quiet():
            inner = self.selection(population_size=population, seed=seed % 2**32, child_generation_strategy=self._child)
        super().__init__(space, inner, grain, seed, mutation)
        self._rng = np.random.default_rng(seed)

    def draw(self, study: Study, trial: FrozenTrial, rng: np.random.Generator) -> Architecture:
        """See :meth:`ArchitectureSampler.draw`."""
        self._rng = rng
        return super().draw(study, trial, rng)

    def _child(
        self, study: Study, search_space: dict[str, BaseDistribution], parents: list[FrozenTrial]
    ) -> dict[str, Any]:
        rng = self._rng
        known = [(trial, arch) for trial in parents if (arch := self.history.arch(trial)) is not None]
        if not known:
            return {}
        first = _tournament(study, known, rng)
        second = _tournament(study, known, rng) if rng.random() < CROSSOVER else first
        has = [{choice.place: value for choice, value in self.parameters.items(arch)} for arch in (first, second)]

        def pick(choice: Choice) -> Value | None:
            offered = [own[choice.place] for own in has if own.get(choice.place, _NOTHING) in choice.values]
            pool = offered or choice.values
            return pool[int(rng.integers(len(pool)))]

        child = self.parameters.walk(pick)
        if child in (first, second) or rng.random() < MUTATION:
            child = self.space.mutate(child, rng, self.mutation)
        return {choice.name: value for choice, value in self.parameters.items(child)}


def _tournament(
    study: Study, known: Sequence[tuple[FrozenTrial, Architecture]], rng: np.random.Generator
) -> Architecture:
    """The better of two drawn at random."""
    a, b = (known[int(place)] for place in rng.integers(len(known), size=2))
    values = losses(study, [a[0], b[0]])
    return b[1] if better(values[1], values[0], violation(b[0]), violation(a[0])) else a[1]
