"""Regularised evolution: the oldest die, whatever their worth."""

from __future__ import annotations

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial

from autobuild.registry import SAMPLERS
from autobuild.settings.option import integer
from autobuild.settings.samplers import Genetic
from autobuild.spaces import Architecture, SearchSpace
from autobuild.studies.samplers.base import ArchitectureSampler
from autobuild.studies.samplers.history import better, losses, violation


@SAMPLERS.register("evolution")
class EvolutionSampler(ArchitectureSampler):
    """Regularised (ageing) evolution: Real et al., Regularized Evolution for Image Classifier Search, AAAI 2019.

    The population is the last ``population`` finished trials, in order of their numbers; labels that were entered
    before count. Of ``sample`` drawn members the best is mutated. With several objectives the best is one that none of
    those drawn dominates; with constraints, a feasible one first. As long as fewer trials are finished, networks are
    drawn at random.

    Args:
        space, grain, seed, mutation: As of :class:`ArchitectureSampler`.
        population: Members alive, at least 2.
        sample: Drawn for a tournament; a fifth of the population, and at least 2, where None.

    Raises:
        ConfigError: An unusable size.
    """

    def __init__(
        self,
        space: SearchSpace,
        grain: str = "layer",
        seed: int = 0,
        mutation: str = "layer",
        *,
        population: int = Genetic.population,
        sample: int | None = None,
    ) -> None:
        super().__init__(space, grain, seed, mutation)
        self.population = integer("population", population, 2)
        self.sample = max(2, population // 5) if sample is None else integer("sample", sample, most=population)

    def draw(self, study: Study, trial: FrozenTrial, rng: np.random.Generator) -> Architecture:
        """See :meth:`ArchitectureSampler.draw`."""
        alive = self.history.complete(study)[-self.population :]
        if len(alive) < self.population:
            return self.random(rng)
        drawn = [alive[place] for place in rng.choice(len(alive), self.sample, replace=False)]
        values = losses(study, [member for member, _ in drawn])
        broken = [violation(member) for member, _ in drawn]
        best = [
            place
            for place in range(len(drawn))
            if not any(
                better(values[other], values[place], broken[other], broken[place]) for other in range(len(drawn))
            )
        ]
        parent = drawn[best[int(rng.integers(len(best)))]][1]
        return self.space.mutate(parent, rng, self.mutation)
