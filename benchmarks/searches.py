"""Searches of a whole space, to be compared at equal numbers of evaluations.

A search takes a space, a function from an architecture to its label (larger is better), a budget and a seed, and gives
the distinct networks that it evaluated, in order. Asking for a network again costs nothing: its label is known. That
favours the searches, which is as a baseline should be.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from autobuild.spaces import Architecture, SearchSpace
from benchmarks.columns import architecture

Evaluate = Callable[[Architecture], float]
Search = Callable[[SearchSpace, Evaluate, int, int], list[Architecture]]
SEARCH_OPTIONS = {"revision": 1}  # a part of the name of a run: raise it when a search changes
ASKED_AT_MOST = 50  # times the budget, repeats included: a search that only repeats itself ends


class Spent(Exception):
    """The budget is used up."""


@dataclass
class Budget:
    """Counts distinct networks.

    Attributes:
        evaluated: The first architecture asked for of every network, in order.
    """

    space: SearchSpace
    evaluate: Evaluate
    limit: int
    evaluated: list[Architecture] = field(default_factory=list)
    known: dict[str, float] = field(default_factory=dict)
    asked: int = 0

    def __call__(self, arch: Architecture) -> float:
        """The label of an architecture.

        Raises:
            Spent: The network is new and the budget is used up, or far too many were asked for.
        """
        self.asked += 1
        key = self.space.key(arch)
        if key not in self.known:
            if len(self.evaluated) == self.limit or self.asked > ASKED_AT_MOST * self.limit:
                raise Spent
            self.known[key] = float(self.evaluate(arch))
            self.evaluated.append(arch)
        elif self.asked > ASKED_AT_MOST * self.limit:
            raise Spent
        return self.known[key]


def budgeted(search: Callable[[SearchSpace, Budget, np.random.Generator], None]) -> Search:
    """Make a search out of a loop that runs until its budget is spent."""

    def run(space: SearchSpace, evaluate: Evaluate, limit: int, seed: int) -> list[Architecture]:
        budget = Budget(space, evaluate, limit)
        with contextlib.suppress(Spent):
            search(space, budget, np.random.default_rng(seed))
        return budget.evaluated

    return run


def _random(space: SearchSpace, label: Budget, rng: np.random.Generator) -> None:
    while True:
        label(space.sample(1, rng, "uniform")[0])


def _evolution(
    space: SearchSpace, label: Budget, rng: np.random.Generator, population: int = 20, sample: int = 5
) -> None:
    """Regularised evolution (Real et al., AAAI 2019): mutate the best of a random sample, the oldest dies."""
    alive = deque((label(arch), arch) for arch in space.sample(population, rng, "uniform"))
    while True:
        picked = [alive[i] for i in rng.choice(len(alive), min(sample, len(alive)), replace=False)]
        child = space.mutate(max(picked, key=lambda member: member[0])[1], rng)
        alive.append((label(child), child))
        alive.popleft()


def _local(space: SearchSpace, label: Budget, rng: np.random.Generator) -> None:
    """Local search (White et al., UAI 2021): move to the first better neighbour; from an optimum, start afresh."""
    while True:
        here = space.sample(1, rng, "uniform")[0]
        best, moved = label(here), True
        while moved:
            moved = False
            around = list(space.neighbours(here))
            for place in rng.permutation(len(around)):
                value = label(around[place])
                if value > best:
                    here, best, moved = around[place], value, True
                    break


def _tpe(space: SearchSpace, label: Budget, rng: np.random.Generator) -> None:
    """Optuna's multivariate tree-structured Parzen estimator, every choice a categorical."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(multivariate=True, seed=int(rng.integers(2**31)))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    choices = {
        f"{s} {place}": list(range(len(stage.layers)))
        for s, stage in enumerate(space.stages)
        for place in range(1 if stage.tied else stage.depths[-1])
    }
    depths = {f"{s} depth": list(stage.depths) for s, stage in enumerate(space.stages) if len(stage.depths) > 1}
    table = {name: optuna.distributions.CategoricalDistribution(values) for name, values in (choices | depths).items()}
    while True:
        trial = study.ask(table)
        runs = []
        for s, stage in enumerate(space.stages):
            depth = trial.params.get(f"{s} depth", stage.depths[0])
            places = [0] * depth if stage.tied else range(depth)
            runs.append(tuple(trial.params[f"{s} {place}"] for place in places))
        study.tell(trial, label(architecture(space, runs)))


SEARCHES: dict[str, Search] = {
    "random search": budgeted(_random),
    "TPE": budgeted(_tpe),
    "evolution": budgeted(_evolution),
    "local search": budgeted(_local),
}


def climb(
    space: SearchSpace,
    predict: Callable[[list[Architecture]], np.ndarray],
    starts: list[Architecture],
    steps: int = 200,
) -> list[Architecture]:
    """Walk uphill on a prediction from every start, always to the best neighbour; where they end, best first."""
    here = list(dict.fromkeys(starts))
    values = np.asarray(predict(here), dtype=float)
    active = list(range(len(here)))
    for _ in range(steps):
        around = [list(space.neighbours(here[i])) for i in active]
        predicted = np.asarray(predict([arch for one in around for arch in one]), dtype=float)
        still, at = [], 0
        for i, one in zip(active, around, strict=True):
            own = predicted[at : at + len(one)]
            at += len(one)
            best = int(own.argmax())
            if own[best] > values[i]:
                here[i], values[i] = one[best], own[best]
                still.append(i)
        active = still
        if not active:
            break
    return list(dict.fromkeys(here[i] for i in np.argsort(-values, kind="stable")))
