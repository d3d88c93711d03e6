"""Random search."""

from __future__ import annotations

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial

from autobuild.registry import SAMPLERS
from autobuild.spaces import Architecture
from autobuild.studies.samplers.base import ArchitectureSampler


@SAMPLERS.register("random")
class RandomArchitectureSampler(ArchitectureSampler):
    """Uniform over candidates at grain ``"unit"``, over depths and then layers at grain ``"layer"``; none twice."""

    learns = False

    def draw(self, study: Study, trial: FrozenTrial, rng: np.random.Generator) -> Architecture:
        """See :meth:`ArchitectureSampler.draw`."""
        return self.random(rng)
