"""Quasi-random search: even coverage by a Sobol sequence."""

from __future__ import annotations

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial

from autobuild.registry import SAMPLERS
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.parameters import Choice
from autobuild.spaces.stage import Value
from autobuild.studies.samplers.base import ArchitectureSampler

MAX_DIMENSIONS = 21_201  # of the direction numbers that scipy has


@SAMPLERS.register("qmc")
class QMCArchitectureSampler(ArchitectureSampler):
    """A scrambled Sobol sequence (Owen, 1998) with a coordinate for every choice there may be.

    Trial number n takes point n. A coordinate belongs to one place, such as the kernel of a stage's second layer, so
    that coverage stays even where earlier choices decide which places exist; those that do not exist are passed over.
    """

    redrawn = 0  # a point is a point
    learns = False

    def __init__(self, space: SearchSpace, grain: str = "layer", seed: int = 0, mutation: str = "layer") -> None:
        super().__init__(space, grain, seed, mutation)
        self.places = {place: number for number, place in enumerate(self.parameters.places())}

    def draw(self, study: Study, trial: FrozenTrial, rng: np.random.Generator) -> Architecture:
        """See :meth:`ArchitectureSampler.draw`."""
        from scipy.stats import qmc

        sequence = qmc.Sobol(max(1, min(len(self.places), MAX_DIMENSIONS)), scramble=True, seed=self.seed)
        if trial.number:  # scipy cannot go forward by none
            sequence.fast_forward(trial.number)
        point = sequence.random(1)[0]

        def pick(choice: Choice) -> Value | None:
            number = self.places[choice.place]
            share = point[number] if number < len(point) else rng.random()
            return choice.values[min(int(share * len(choice.values)), len(choice.values) - 1)]

        return self.parameters.walk(pick)
