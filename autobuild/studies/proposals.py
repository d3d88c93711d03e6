"""The next architecture to evaluate: what the sampler proposes, unless somebody has it already."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autobuild.studies.claims import FULL, GRANTED, Claims
from autobuild.studies.history import trial_of
from autobuild.studies.study import ARCH, PASSED

if TYPE_CHECKING:
    import optuna

    from autobuild.spaces import Architecture, SearchSpace
    from autobuild.studies.objective import Objective

TRIES = 10  # proposals of the sampler for one slot; then the nearest free architecture is taken
_NEAR, _FAR, _ALL = 64, 512, 50_000  # mutations and draws that are looked at, and the size up to which all are


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
        promising: Which networks are likely to keep the limits over measured metrics, for samplers that learn nothing
            from those broken: others are proposed only where none such is free. None: nobody is asked.
        seed: With the trial's number, of the draws that stand in where the sampler repeats itself.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: SearchSpace,
        grain: str,
        objective: Objective,
        claims: Claims,
        seed: int,
        promising: Callable[[Sequence[Architecture]], np.ndarray] | None = None,
    ) -> None:
        self.study, self.space, self.grain = study, space, grain
        self.objective, self.claims = objective, claims
        self.seed, self.promising = seed, promising
        self.exhausted = False

    def next(self, limit: int) -> Proposal | None:
        """A claimed proposal; None where no slot is left, or (``exhausted``) nothing that is free was found."""
        for _ in range(TRIES):
            if self.claims.taken >= limit:
                return None
            trial = self._ask()
            arch = self.space.suggest(trial, self.grain)
            if not self.objective.allows([arch])[0]:
                self._pass_over(trial, arch, "breaks an exact limit", self.objective.exact_excess(arch))
                continue
            if self.promising is not None and not self.promising([arch])[0]:
                self._pass_over(trial, arch, "breaks a limit as predicted")
                continue
            key = self.space.key(arch)
            got = self.claims.claim(key, arch.text, trial.number, limit)
            if got == GRANTED:
                return Proposal(trial, arch, key)
            self._pass_over(trial, arch, "no slot is left" if got == FULL else "known or claimed already")
            if got == FULL:
                return None
        free = self._free(arch, np.random.default_rng([self.seed, trial.number]))
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
        """A free architecture that keeps the exact limits, few steps from ``near`` if possible."""
        for promising in (True, False) if self.promising is not None else (False,):
            pools: list[Iterable[Architecture]] = [self._walk(near, rng), self.space.sample(_FAR, rng, "uniform")]
            if self.space.size <= _ALL:
                pools.append(self._all())
            for some in itertools.chain.from_iterable(_batches(pool, _FAR) for pool in pools):
                found = self._first_free(some, promising)
                if found is not None:
                    return found
        return None

    def _walk(self, arch: Architecture, rng: np.random.Generator) -> Iterator[Architecture]:
        for number in range(_NEAR):
            moved = arch
            for _ in range(1 + number // 16):
                moved = self.space.mutate(moved, rng)
            yield moved

    def _all(self) -> Iterator[Architecture]:
        sizes = [range(unit.size) for unit in self.space.units]
        return (self.space.assemble(indices) for indices in itertools.product(*sizes))

    def _first_free(self, archs: Sequence[Architecture], promising: bool) -> Architecture | None:
        good = self.objective.allows(archs)
        if promising and self.promising is not None:
            good &= self.promising(archs)
        allowed = [arch for arch, kept in zip(archs, good, strict=True) if kept]
        keys = [self.space.key(arch) for arch in allowed]
        taken = self.claims.claimed(keys)
        return next((arch for arch, key in zip(allowed, keys, strict=True) if key not in taken), None)


def _batches(archs: Iterable[Architecture], size: int) -> Iterator[list[Architecture]]:
    iterator = iter(archs)
    while some := list(itertools.islice(iterator, size)):
        yield some
