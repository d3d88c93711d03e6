"""The next architecture to evaluate: a proposal of the sampler, or a free architecture near it."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna

from autobuild.spaces import Architecture, SearchSpace
from autobuild.studies._claims import FULL, GRANTED, Claims
from autobuild.studies._objective import Objective
from autobuild.studies._surrogates import LimitModels
from autobuild.studies._trials import ARCH, PASSED, create_trial

TRIES = 10  # proposals of the sampler for one slot, before a free architecture near them is taken
_MUTATIONS, _DRAWS = 64, 512  # architectures examined at once
_LISTED = 50_000  # largest size of a space whose architectures are all examined
_STEPS = 12  # rounds of mutations towards the limits

Ranked = tuple[float, Architecture | None]  # predicted excess over limits, architecture


@dataclass
class Proposal:
    """A claimed architecture, its key, and the trial that evaluates it; ``tries`` counts its evaluations."""

    trial: optuna.Trial
    arch: Architecture
    key: str
    tries: int = 1


class Proposer:
    """Asks the sampler until it proposes an architecture that is free and satisfies the limits.

    Args:
        study: The study, with its sampler.
        space: Its space.
        grain: Grain of the parameters.
        objective: Targets and limits.
        claims: The claims of the study.
        seed: Seed of the architectures that are drawn if the sampler repeats itself.
        limits: Models of measured limits. A network that is predicted to break one is proposed only if no other is
            free.

    Attributes:
        exhausted: Whether no free architecture was found.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: SearchSpace,
        grain: str,
        objective: Objective,
        claims: Claims,
        seed: int,
        limits: LimitModels,
    ) -> None:
        self.study, self.space, self.grain = study, space, grain
        self.objective, self.claims = objective, claims
        self.seed, self.limits = seed, limits
        self.exhausted = False

    def next(self, limit: int) -> Proposal | None:
        """A claimed proposal; None if all ``limit`` slots are taken, or no free architecture was found."""
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
            broken = {text: float(values[0]) for text, values in self.limits.excess([arch]).items()}
            tried.append((_total(broken), arch))
            if tried[-1][0] > 0:
                self._pass_over(trial, arch, "breaks a limit as predicted", broken)
                continue
            key = self.space.key(arch)
            answer = self.claims.claim(key, arch.text, trial.number, limit)
            if answer == GRANTED:
                return Proposal(trial, arch, key)
            self._pass_over(trial, arch, "no slot is left" if answer == FULL else "known or claimed already")
            if answer == FULL:
                return None
        nearest = min(tried, key=lambda one: one[0])[1] if tried else arch
        free = self._free(nearest, np.random.default_rng([self.seed, trial.number]))
        if free is None:
            self.exhausted = True
            return None
        return self.begin(free, limit)

    def begin(self, arch: Architecture, limit: int) -> Proposal | None:
        """A claimed proposal of ``arch``; None if another worker has claimed it or no slot is left."""
        key = self.space.key(arch)
        if self.claims.claim(key, arch.text, limit=limit) != GRANTED:
            return None
        trial = self.trial(arch)
        self.claims.assign(key, trial.number)
        return Proposal(trial, arch, key)

    def again(self, arch: Architecture) -> optuna.Trial:
        """A running trial for an architecture whose worker was lost: the one that Optuna queued again, or a new one."""
        waiting, running = optuna.trial.TrialState.WAITING, optuna.trial.TrialState.RUNNING
        for queued in self.study.get_trials(deepcopy=False, states=(waiting,)):
            is_same = queued.user_attrs.get(ARCH) == arch.text
            if is_same and self.study._storage.set_trial_state_values(queued._trial_id, running):
                return optuna.Trial(self.study, queued._trial_id)
        return self.trial(arch)

    def trial(self, arch: Architecture, attrs: Mapping[str, object] | None = None) -> optuna.Trial:
        """A running trial with the parameters of ``arch``, and further user attributes."""
        frozen = create_trial(self.space, self.grain, arch, attrs or {}, state=optuna.trial.TrialState.RUNNING)
        return optuna.Trial(self.study, self.study._storage.create_new_trial(self.study._study_id, frozen))

    def _ask(self) -> optuna.Trial:
        with warnings.catch_warnings():
            # Optuna records heartbeats in its own loop only; here the heartbeat thread of the worker does.
            warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed")
            return self.study.ask()

    def _pass_over(
        self, trial: optuna.Trial, arch: Architecture, reason: str, broken: dict[str, float] | None = None
    ) -> None:
        """End a trial without evaluating it; ``broken`` tells the sampler by how much limits would be broken."""
        trial.set_user_attr(PASSED, reason)
        if broken is None:
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
            return
        trial.set_user_attr(ARCH, arch.text)
        for name, value in broken.items():
            trial.set_constraint(name, value)
        self.study.tell(trial, state=optuna.trial.TrialState.PRUNED, skip_if_finished=True)

    # -- if the sampler repeats itself ---------------------------------------------------------------------------------

    def _free(self, start: Architecture, rng: np.random.Generator) -> Architecture | None:
        """A free architecture that satisfies the exact limits, found by mutations of ``start``, then by random draws.

        It also satisfies the other limits, as predicted; if none does, it is the one that breaks them least.
        """
        least: Ranked = (math.inf, None)
        centre = start
        for _ in range(_STEPS):
            before, least = least, self._least_broken(self._mutations(centre, rng), least)
            if least[1] is None or least[0] == before[0] or least[0] <= 0:
                break
            centre = least[1]
        pools = [self.space.sample(_DRAWS, rng, "depth"), self.space.sample(_DRAWS, rng, "uniform")]
        for pool in (*pools, *([self._all()] if self.space.size <= _LISTED else [])):
            if least[0] > 0:
                least = self._least_broken(pool, least)
        return least[1]

    def _least_broken(self, archs: Iterable[Architecture], least: Ranked) -> Ranked:
        """The first of ``archs`` predicted to break no limit, else the one, ``least`` included, that breaks least."""
        iterator = iter(archs)
        while batch := list(itertools.islice(iterator, _DRAWS)):
            for arch, broken in self._free_of(batch):
                if broken < least[0]:
                    least = (broken, arch)
                if broken <= 0:
                    return least
        return least

    def _mutations(self, arch: Architecture, rng: np.random.Generator) -> Iterator[Architecture]:
        """Mutations of ``arch``, by one to four steps."""
        for number in range(_MUTATIONS):
            mutated = arch
            for _ in range(1 + number // 16):
                mutated = self.space.mutate(mutated, rng)
            yield mutated

    def _all(self) -> Iterator[Architecture]:
        sizes = [range(unit.size) for unit in self.space.units]
        return (self.space.assemble(indices) for indices in itertools.product(*sizes))

    def _free_of(self, archs: Sequence[Architecture]) -> Iterator[tuple[Architecture, float]]:
        """The free architectures that satisfy the exact limits, each with its predicted excess over the others."""
        allowed = [arch for arch, is_allowed in zip(archs, self.objective.allows(archs), strict=True) if is_allowed]
        keys = [self.space.key(arch) for arch in allowed]
        claimed = self.claims.claimed(keys)
        free = [arch for arch, key in zip(allowed, keys, strict=True) if key not in claimed]
        predicted = self.limits.excess(free)
        for row, arch in enumerate(free):
            yield arch, _total({text: float(values[row]) for text, values in predicted.items()})


def _total(excess: Mapping[str, float]) -> float:
    """Sum of the excesses of broken limits; 0 if all are satisfied."""
    return sum(max(0.0, value) for value in excess.values())
