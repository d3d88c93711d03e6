"""What a study has tried so far, as architectures; each trial is read once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from autobuild._typing import FloatArray
from autobuild.errors import SpaceError
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.parameters import parameters


class History:
    """Architectures of the trials of one study, finished or not.

    Args:
        space: The space searched. Trials outside it are told apart and passed over.
        grain: Grain of the trials' parameters.
    """

    def __init__(self, space: SearchSpace, grain: str) -> None:
        self.space, self.parameters = space, parameters(space, grain)
        self._study_id: int | None = None
        self._read: dict[int, tuple[Architecture | None, str | None]] = {}  # of finished trials, by number
        self._keys: set[str] = set()

    def known(self, study: Study, but: int) -> set[str]:
        """Keys (``space.key``) of all trials but number ``but``: finished, failed, running and waiting ones."""
        self._of(study)
        keys: list[str] = []
        for trial in self.trials(study):
            if trial.number in self._read or trial.number == but:
                continue
            _, key = self._reading(trial)
            if key is not None and not trial.state.is_finished():
                keys.append(key)
        return self._keys.union(keys) if keys else self._keys

    def arch(self, trial: FrozenTrial) -> Architecture | None:
        """The architecture of a trial; None where it has none in the space yet."""
        return self._reading(trial)[0]

    def complete(self, study: Study) -> list[tuple[FrozenTrial, Architecture]]:
        """Trials with values and an architecture of the space, in order of their numbers."""
        self._of(study)
        found = [(t, self.arch(t)) for t in self.trials(study) if t.state == TrialState.COMPLETE]
        return [(trial, arch) for trial, arch in found if arch is not None]

    @staticmethod
    def trials(study: Study) -> list[FrozenTrial]:
        """All trials, as Optuna's samplers read them: once for each trial that is asked for."""
        trials: list[FrozenTrial] = study._get_trials(deepcopy=False, use_cache=True)
        return trials

    def _of(self, study: Study) -> None:
        if self._study_id not in (None, study._study_id):
            self._read, self._keys = {}, set()
        self._study_id = study._study_id

    def _reading(self, trial: FrozenTrial) -> tuple[Architecture | None, str | None]:
        if trial.number in self._read:
            return self._read[trial.number]
        arch = self._arch_of(trial)
        reading = (arch, None if arch is None else self.space.key(arch))
        if trial.state.is_finished():
            self._read[trial.number] = reading
            if reading[1] is not None:
                self._keys.add(reading[1])
        return reading

    def _arch_of(self, trial: FrozenTrial) -> Architecture | None:
        try:
            text = trial.user_attrs.get("arch")
            if isinstance(text, str):
                return self.space.parse(text)
            return self.parameters.read(trial.params or trial.system_attrs.get("fixed_params", {}))
        except SpaceError:  # not (or not yet) an architecture of this space
            return None


def losses(study: Study, trials: Sequence[FrozenTrial]) -> FloatArray:
    """Values of complete trials, all to be minimised. Shape ``(len(trials), objectives)``."""
    signs = [-1.0 if direction == StudyDirection.MAXIMIZE else 1.0 for direction in study.directions]
    return np.array([trial.values for trial in trials], dtype=np.float64).reshape(len(trials), len(signs)) * signs


def violation(trial: FrozenTrial) -> float:
    """By how much a trial breaks its constraints, summed; 0 where it is feasible."""
    constraints: dict[str, float] = getattr(trial, "constraints", {})
    return float(sum(value for value in constraints.values() if value > 0))


def better(a: FloatArray, b: FloatArray, violation_a: float = 0.0, violation_b: float = 0.0) -> bool:
    """Whether losses ``a`` beat ``b``: feasible first, then the smaller violation, then Pareto dominance.

    Constrained domination, Deb et al., IEEE Transactions on Evolutionary Computation 6(2), 2002. Shapes ``(m,)``.
    """
    if violation_a != violation_b and max(violation_a, violation_b) > 0:
        return violation_a < violation_b
    return bool((a <= b).all() and (a < b).any())
