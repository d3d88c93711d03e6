"""The next architecture to evaluate: what the sampler proposes, unless somebody has it already."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autobuild.studies.claims import FULL, GRANTED, Claims
from autobuild.studies.history import trial_of
from autobuild.studies.study import ARCH, PASSED

if TYPE_CHECKING:
    import optuna

    from autobuild.spaces import Architecture, SearchSpace
    from autobuild.studies.models import LimitModels
    from autobuild.studies.objective import Objective

TRIES = 10  # proposals of the sampler for one slot; then the nearest free architecture is taken
_NEAR, _FAR, _ALL = 64, 512, 50_000  # mutations and draws that are looked at, and the size up to which all are
_DOWN = 12  # times that mutations of the least broken network are looked at


@dataclass
class Proposal:
    """A claimed architecture and the trial that evaluates it."""

    trial: optuna.Trial
    arch: Architecture
    key: str
    tries: int = 1


class Proposer:
    """Asks the study until it has an architecture that is free and keeps the exact limits.

    Args:
        study: The study, with its sampler.
        space: Its space.
        grain: Grain of the parameters.
        objective: Its limits say what is not worth an evaluation.
        claims: Who has what.
        seed: With the trial's number, of the draws that stand in where the sampler repeats itself.
        limits: What is predicted of limits over measured metrics: networks that are to break one are proposed only
            where no other is free. None: nothing is.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: SearchSpace,
        grain: str,
        objective: Objective,
        claims: Claims,
        seed: int,
        limits: LimitModels | None = None,
    ) -> None:
        self.study, self.space, self.grain = study, space, grain
        self.objective, self.claims = objective, claims
        self.seed, self.limits = seed, limits
        self.exhausted = False

    def next(self, limit: int) -> Proposal | None:
        """A claimed proposal; None where no slot is left, or (``exhausted``) nothing that is free was found."""
        if self.limits is not None:
            self.limits.learn(self.study)
        tried: list[tuple[float, Architecture]] = []
        for _ in range(TRIES):
            if self.claims.taken >= limit:
                return None
            trial = self._ask()
            arch = self.space.suggest(trial, self.grain)
            if not self.objective.allows([arch])[0]:
                self._pass_over(trial, arch, "breaks an exact limit", self.objective.exact_excess(arch))
                continue
            predicted = {} if self.limits is None else self.limits.excess([arch])
            broken = {text: float(values[0]) for text, values in predicted.items()}
            tried.append((_total(broken), arch))
            if tried[-1][0] > 0:
                self._pass_over(trial, arch, "breaks a limit as predicted", broken)
                continue
            key = self.space.key(arch)
            got = self.claims.claim(key, arch.text, trial.number, limit)
            if got == GRANTED:
                return Proposal(trial, arch, key)
            self._pass_over(trial, arch, "no slot is left" if got == FULL else "known or claimed already")
            if got == FULL:
                return None
        near = min(tried, key=lambda one: one[0])[1] if tried else arch
        free = self._free(near, np.random.default_rng([self.seed, trial.number]))
        if free is None:
            self.exhausted = True
            return None
        return self.begin(free, limit)

    def begin(self, arch: Architecture, limit: int) -> Proposal | None:
        """A claimed proposal of this architecture; None where somebody was faster."""
        key = self.space.key(arch)
        if self.claims.claim(key, arch.text, limit=limit) != GRANTED:
            return None
        trial = self.trial(arch)
        self.claims.assign(key, trial.number)
        return Proposal(trial, arch, key)

    def again(self, arch: Architecture) -> optuna.Trial:
        """A running trial for a network whose worker was lost: the one that Optuna has queued, if there is one."""
        import optuna

        waiting, running = optuna.trial.TrialState.WAITING, optuna.trial.TrialState.RUNNING
        for queued in self.study.get_trials(deepcopy=False, states=(waiting,)):
            is_it = queued.user_attrs.get(ARCH) == arch.text
            if is_it and self.study._storage.set_trial_state_values(queued._trial_id, running):
                return optuna.Trial(self.study, queued._trial_id)
        return self.trial(arch)

    def trial(self, arch: Architecture) -> optuna.Trial:
        """A running trial with the parameters of ``arch``."""
        import optuna

        frozen = trial_of(self.space, self.grain, arch, {}, state=optuna.trial.TrialState.RUNNING)
        return optuna.Trial(self.study, self.study._storage.create_new_trial(self.study._study_id, frozen))

    def _ask(self) -> optuna.Trial:
        with warnings.catch_warnings():
            # Optuna records heartbeats from its own loop only; here ours does.
            warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed")
            return self.study.ask()

    def _pass_over(
        self, trial: optuna.Trial, arch: Architecture, why: str, broken: dict[str, float] | None = None
    ) -> None:
        """End a trial that is not evaluated; one that breaks limits teaches the sampler by how much."""
        import optuna

        trial.set_user_attr(PASSED, why)
        if broken is None:
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
            return
        trial.set_user_attr(ARCH, arch.text)
        for name, value in broken.items():
            trial.set_constraint(name, value)
        self.study.tell(trial, state=optuna.trial.TrialState.PRUNED, skip_if_finished=True)

    # -- where the sampler repeats itself ------------------------------------------------------------------------------

    def _free(self, near: Architecture, rng: np.random.Generator) -> Architecture | None:
        """A free architecture that keeps the exact limits, few steps from ``near`` if possible: one that keeps the
        others as predicted, or, where none does, the one that breaks them least."""
        least: tuple[float, Architecture | None] = (math.inf, None)
        here = near
        for _ in range(_DOWN):  # towards the limits
            before, least = least, self._least(self._walk(here, rng), least)
            if least[1] is None or least[0] == before[0] or least[0] <= 0:
                break
            here = least[1]
        pools = [self.space.sample(_FAR, rng, "depth"), self.space.sample(_FAR, rng, "uniform")]
        for pool in (*pools, *([self._all()] if self.space.size <= _ALL else [])):
            if least[0] > 0:
                least = self._least(pool, least)
        return least[1]

    def _least(
        self, archs: Iterable[Architecture], least: tuple[float, Architecture | None]
    ) -> tuple[float, Architecture | None]:
        """Of some networks and the least broken so far, the first that is to break nothing, else the least broken."""
        for some in _batches(archs, _FAR):
            for arch, broken in self._open(some):
                if broken < least[0]:
                    least = (broken, arch)
                if broken <= 0:
                    return least
        return least

    def _walk(self, arch: Architecture, rng: np.random.Generator) -> Iterator[Architecture]:
        for number in range(_NEAR):
            moved = arch
            for _ in range(1 + number // 16):
                moved = self.space.mutate(moved, rng)
            yield moved

    def _all(self) -> Iterator[Architecture]:
        sizes = [range(unit.size) for unit in self.space.units]
        return (self.space.assemble(indices) for indices in itertools.product(*sizes))

    def _open(self, archs: Sequence[Architecture]) -> Iterator[tuple[Architecture, float]]:
        """Those that are free and keep the exact limits, and by how much each is to break the others."""
        allowed = [arch for arch, kept in zip(archs, self.objective.allows(archs), strict=True) if kept]
        keys = [self.space.key(arch) for arch in allowed]
        taken = self.claims.claimed(keys)
        free = [arch for arch, key in zip(allowed, keys, strict=True) if key not in taken]
        predicted = {} if self.limits is None else self.limits.excess(free)
        for place, arch in enumerate(free):
            yield arch, _total({text: float(values[place]) for text, values in predicted.items()})


def _total(broken: Mapping[str, float]) -> float:
    """By how much limits are broken in all; 0 where they are kept."""
    return sum(max(0.0, value) for value in broken.values())


def _batches(archs: Iterable[Architecture], size: int) -> Iterator[list[Architecture]]:
    iterator = iter(archs)
    while some := list(itertools.islice(iterator, size)):
        yield some
