"""Searches of NAS-Bench-Macro that begin with the same 100 labels: how soon is one of the true top 3 evaluated?

Labels are those of 100 distinct networks drawn at random, none of the true top 3 among them. Every method gets them as
finished trials; then only distinct networks count, up to 1,000. Cold starts get none, and stand apart.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import optuna
import pandas as pd

import autobuild as ab
from autobuild.spaces import Architecture, SearchSpace
from autobuild.studies.samplers import SAMPLERS, make_sampler
from benchmarks.cells import Problem

LABELS = 100
MOST = 1_000  # evaluations after which a search is given up
ASKED_AT_MOST = 20_000  # trials, repeats included: a search that only repeats itself ends
SHARE = 0.02
NEAR = 0.1  # percent of accuracy
TOP = 3
AT = (5, 10, 20, 50, 100, 200, 500, 1000)
POPULATION = 100  # of evolution (Real et al., 2019): all labels are in the first one
FEWER = 20  # where few labels, or none, are there to begin with
OPTIONS = {"revision": 1}

Steps = Iterator[Architecture]


@dataclass
class Start:
    """What a search begins with.

    Attributes:
        own: The problem; ``own.value`` is the evaluation.
        seed: Seed of the search.
        archs: Labelled networks; none for a cold start.
        found: Further numbers to report, which a method may add to.
    """

    own: Problem
    seed: int
    archs: list[Architecture]
    found: dict[str, float] = field(default_factory=dict)

    @property
    def labels(self) -> ab.LabelledSet:
        """The labels as a set."""
        values = [self.own.value(arch) for arch in self.archs]
        frame = pd.DataFrame({"arch": [arch.text for arch in self.archs], self.own.target: values})
        return ab.LabelledSet.from_frame(frame, self.own.space)


def drawn(own: Problem, seed: int) -> list[Architecture]:
    """The labelled networks of a seed."""
    others = [key for key in own.networks if own.rank(own.archs[own.networks[key]]) > TOP]
    chosen = np.random.default_rng([seed, LABELS]).choice(len(others), LABELS, replace=False)
    return [own.archs[own.networks[others[place]]] for place in chosen]


def entered(study: optuna.Study, start: Start, space: SearchSpace) -> None:
    """Enter the labels that lie in a space as finished trials."""
    for arch in start.archs:
        if arch in space:
            choices = space.choices(arch)
            distributions = {n: optuna.distributions.CategoricalDistribution(c) for n, c in choices.items()}
            study.add_trial(
                optuna.create_trial(
                    params=space.params(arch), distributions=distributions, values=[start.own.value(arch)]
                )
            )


def sampled(name: str, start: Start, space: SearchSpace) -> Steps:
    """Networks in the order in which one of our samplers asks for them."""
    prior = {"prior": start.labels, "targets": (start.own.target,)} if name == "guided" and start.archs else {}
    population = POPULATION if start.archs and space is start.own.space else FEWER
    options = {"population": population} if "population" in SAMPLERS.parameters(name) else {}
    sampler = make_sampler(name, space, seed=start.seed, **options, **prior)
    yield from _asked(start, space, sampler)


def _asked(start: Start, space: SearchSpace, sampler: optuna.samplers.BaseSampler) -> Steps:
    study = optuna.create_study(direction="maximize", sampler=sampler)
    entered(study, start, space)
    for _ in range(ASKED_AT_MOST):
        trial = study.ask()
        arch = space.suggest(trial)
        study.tell(trial, start.own.value(arch))
        yield arch


def bare_tpe(start: Start) -> Steps:
    """Optuna's TPE as it is (multivariate, in groups): what it repeats costs nothing, its label is known."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(multivariate=True, group=True, seed=start.seed)
    yield from _asked(start, start.own.space, sampler)


def narrowed(name: str) -> Callable[[Start], Steps]:
    """Fit a Gaussian process on the labels, narrow to 2 % of the space, and search there."""

    def run(start: Start) -> Steps:
        own = start.own
        model = ab.fit(start.labels, own.target, model="gp", seed=start.seed)
        small = model.explain().narrow(share=SHARE)
        inside = [small.assemble(i) for i in np.ndindex(*(unit.size for unit in small.units))]
        start.found |= {
            "share": small.size / own.space.size,
            "near": float(max(map(own.value, inside)) >= max(own.values) - NEAR),
            "holds_top": float(min(map(own.rank, inside)) <= TOP),
            "holds_best": float(min(map(own.rank, inside)) == 1),
            "new": float(len({own.space.key(arch) for arch in inside} - {own.space.key(arch) for arch in start.archs})),
        }
        yield from sampled(name, start, small)

    return run


def whole(name: str) -> Callable[[Start], Steps]:
    """Search the whole space."""
    return lambda start: sampled(name, start, start.own.space)


OURS = "narrowed, guided"
WARM: dict[str, Callable[[Start], Steps]] = {
    OURS: narrowed("guided"),
    "guided": whole("guided"),
    "narrowed, TPE": narrowed("tpe"),
    "narrowed, evolution": narrowed("evolution"),
    "narrowed, random": narrowed("random"),
    "TPE, none twice": whole("tpe"),
    "TPE (Optuna's own)": bare_tpe,
    "evolution": whole("evolution"),
    "random": whole("random"),
}
RIVALS = ("TPE (Optuna's own)", "TPE, none twice", "evolution", "random")
COLD = {name: WARM[name] for name in RIVALS}


def measure(own: Problem, method: Callable[[Start], Steps], seed: int, warm: bool) -> dict[str, float]:
    """Search until the best network is found, or 1,000 distinct networks were evaluated after the labels.

    Returns:
        ``to_top`` and ``to_best``: evaluations until one of the true top 3, and the best network, is among them; 1,001
        where they are not found. ``rank@N``; ``evaluated``; ``seconds``; what the method adds.
    """
    start = Start(own, seed, drawn(own, seed) if warm else [])
    known = {own.space.key(arch) for arch in start.archs}
    ranks: list[int] = []
    began = time.perf_counter()
    for arch in method(start):
        key = own.space.key(arch)
        if key not in known:
            known.add(key)
            ranks.append(own.rank(arch))
        if len(ranks) >= min(MOST, start.found.get("new", MOST)) or (ranks and ranks[-1] == 1):
            break  # a narrowed space may be searched through before the evaluations are spent
    seconds = time.perf_counter() - began
    best = np.minimum.accumulate(ranks) if ranks else np.array([len(own.networks)])
    found = {name: float(np.argmax(best <= rank) + 1) if best[-1] <= rank else MOST + 1.0
             for name, rank in (("to_top", TOP), ("to_best", 1))}  # fmt: skip
    found |= {f"rank@{n}": float(best[min(n, len(best)) - 1]) for n in AT}
    return found | {"evaluated": float(len(ranks)), "seconds": seconds} | start.found
