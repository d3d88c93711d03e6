"""What all samplers of architectures share: one whole architecture a trial, and none twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from autobuild.errors import SpaceError, nearest
from autobuild.settings.names import LEVELS
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.parameters import Choice, parameters
from autobuild.studies.samplers.history import History

REDRAWN = 8  # times a sampler is asked again before its proposal is exchanged
MANY = 500  # trials from which it is not asked again: asking takes ever longer
ROUNDS = 12  # of steps away from what is known already
DRAWN = 64  # random architectures tried after that
LISTED = 100_000  # architectures of a space that is listed to find its last new ones


class ArchitectureSampler(BaseSampler):  # type: ignore[misc]
    """A sampler that proposes whole architectures. A subclass says how, in :meth:`draw`.

    The state is the study's alone, and what is random follows from the seed and the trial's number: workers of one
    study, all started with one seed, draw differently, and a search that was stopped goes on as it would have.

    What is proposed differs (by ``space.key``) from every trial of the study, in whatever state, as long as the space
    holds such a network: after a repeat it is asked again, and at last takes the nearest network that is new.

    Args:
        space: The space.
        grain: Grain of the parameters, ``"layer"`` or ``"unit"``.
        seed: Seed of everything random.
        mutation: Where it acts: ``"layer"``, ``"unit"`` or ``"candidate"``; see
            :func:`autobuild.spaces.sampling.mutate`.

    Raises:
        SpaceError: An unknown grain or level, or a unit too large for the grain.
    """

    redrawn = REDRAWN  # of samplers that would propose something else
    learns = True  # from what was measured, limits broken included

    def __init__(self, space: SearchSpace, grain: str = "layer", seed: int = 0, mutation: str = "layer") -> None:
        if mutation not in LEVELS:
            raise SpaceError(f"mutation={mutation!r}: {nearest(mutation, LEVELS)}")
        self.space, self.grain, self.seed, self.mutation = space, grain, seed, mutation
        self.parameters = parameters(space, grain)
        self.history = History(space, grain)
        self.independent: BaseSampler = RandomSampler(seed % 2**32)
        self._distributions: dict[str, CategoricalDistribution] = {}

    def draw(self, study: Study, trial: FrozenTrial, rng: np.random.Generator) -> Architecture:
        """Propose an architecture of the space; it may be a repeat."""
        raise NotImplementedError

    def propose(self, study: Study, trial: FrozenTrial) -> Architecture:
        """The architecture of a trial: what :meth:`draw` gives, or the nearest new one where that is known."""
        rng = np.random.default_rng([self.seed, trial.number])
        known = self.history.known(study, but=trial.number)
        again = self.redrawn if len(self.history.trials(study)) < MANY else 0
        for _ in range(1 + again):
            reseed(self.independent, int(rng.integers(2**32)))
            arch = self.draw(study, trial, rng)
            if self.space.key(arch) not in known:
                return arch
        return self._new(arch, known, rng)

    # --- Optuna's interface -----------------------------------------------------------------------------------

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The choices that the proposed architecture has."""
        items = self.parameters.items(self.propose(study, trial))
        return _Proposal(
            {choice.name: self.distribution(choice) for choice, _ in items},
            {choice.name: value for choice, value in items},
        )

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The proposed architecture's parameters."""
        if isinstance(search_space, _Proposal):
            params = search_space.params
        else:
            params = {choice.name: value for choice, value in self.parameters.items(self.propose(study, trial))}
        return {name: value for name, value in params.items() if name in search_space}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A parameter that is none of the space's, such as a learning rate of the user's own objective."""
        return self.independent.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """Nothing to do but for parameters of others: trials differ by their numbers, whoever draws them."""
        self.independent.reseed_rng()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """See Optuna."""
        self.independent.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """See Optuna."""
        self.independent.after_trial(study, trial, state, values)

    # --- for subclasses ---------------------------------------------------------------------------------------

    def distribution(self, choice: Choice) -> CategoricalDistribution:
        """Optuna's distribution of a choice; made once."""
        if choice.name not in self._distributions:
            self._distributions[choice.name] = CategoricalDistribution(choice.values)
        return self._distributions[choice.name]

    def random(self, rng: np.random.Generator) -> Architecture:
        """Uniform over candidates at grain ``"unit"``; over depths, then layers, at grain ``"layer"``."""
        return self.space.sample(1, rng, "uniform" if self.grain == "unit" else "depth")[0]

    # --- networks that are new --------------------------------------------------------------------------------

    def _new(self, arch: Architecture, known: set[str], rng: np.random.Generator) -> Architecture:
        for other in self._around(arch, rng):
            if self.space.key(other) not in known:
                return other
        if self.space.size <= LISTED:
            left = [indices for key, indices in self._everything.items() if key not in known]
            if left:
                return self.space.assemble(left[int(rng.integers(len(left)))])
        return arch  # all are known: the space is used up

    def _around(self, arch: Architecture, rng: np.random.Generator) -> Iterator[Architecture]:
        """Neighbours, neighbours of a neighbour, ..., and at last networks from anywhere."""
        here = arch
        for _ in range(ROUNDS):
            near = list(self.space.neighbours(here)) or [
                self.space.mutate(here, rng, "candidate") for _ in range(len(self.space.units))
            ]
            order = rng.permutation(len(near))
            yield from (near[place] for place in order)
            here = near[order[0]]
        yield from (self.random(rng) for _ in range(DRAWN))

    @cached_property
    def _everything(self) -> dict[str, tuple[int, ...]]:
        """Every network of a small space: key -> the indices of its first architecture."""
        found: dict[str, tuple[int, ...]] = {}
        for indices in np.ndindex(*(unit.size for unit in self.space.units)):
            found.setdefault(self.space.key(self.space.assemble(indices)), indices)
        return found


class _Proposal(dict[str, BaseDistribution]):
    """A relative search space that already knows what will be sampled from it: Optuna asks in two steps."""

    def __init__(self, distributions: dict[str, CategoricalDistribution], params: dict[str, Any]) -> None:
        super().__init__(distributions)
        self.params = params


def reseed(sampler: BaseSampler, seed: int) -> None:
    """Set the random state of one of Optuna's samplers, and of those inside it."""
    for number, value in enumerate(vars(sampler).values()):
        if isinstance(value, BaseSampler):
            reseed(value, (seed + number) % 2**32)
        elif isinstance(getattr(value, "rng", None), np.random.RandomState):
            value.rng.seed(seed)
