"""Searches of OFA-MobileNetV3 for a front of accuracy and NPU latency: 50 random networks, then 200 more.

The evaluator is a graph encoder fitted on all 3,000 published rows, one for each target: a surrogate of another family
than the Gaussian process of the guided searcher, and the same for every method. It stands in for the truth.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray

import autobuild as ab
from autobuild.construct import hypervolume
from autobuild.construct.dominance import undominated
from autobuild.models import FittedModel
from autobuild.spaces import Architecture, SearchSpace
from autobuild.studies.samplers import SAMPLERS, make_sampler
from benchmarks.cells import DATA
from benchmarks.report import published

Floats = NDArray[np.float64]
Evaluate = Callable[[Architecture], Floats]

START, BATCH, BATCHES = 50, 50, 4
EVALUATED = START + BATCH * BATCHES
AT = (START, 100, 150, 200, EVALUATED)
REFERENCE = (1.1, 1.1)  # of losses, scaled to 0..1 over the 3,000 rows
TARGETS = ("acc", "-latency_npu")
OPTIONS = {"revision": 1, "evaluator": "graph"}
MODELS = Path("runs") / "search_evaluators"  # fitted once, and read afterwards


@dataclass(frozen=True)
class Truth:
    """What evaluates, and how its values are scaled.

    Attributes:
        space: The space.
        models: Surrogates of the two targets, which are maximised.
        low, high: Extremes of the targets over the labelled rows, ``(2,)``.
    """

    space: SearchSpace
    models: tuple[FittedModel, ...]
    low: Floats
    high: Floats

    def __call__(self, arch: Architecture) -> Floats:
        """Targets of one network, ``(2,)``, maximised."""
        return np.array([float(model.predict_mean([arch])[0]) for model in self.models])

    def volume(self, values: Floats) -> float:
        """Hypervolume of targets ``(n, 2)`` by losses scaled over the labelled rows."""
        losses = (self.high - values) / (self.high - self.low)
        return hypervolume(-losses, [-x for x in REFERENCE])


@cache
def truth() -> Truth:
    """The evaluator; fitting it takes some minutes, once."""
    folder = published()
    if folder is None:
        raise SystemExit("AUTOBUILD_DATA is not set: it names the folder of the published labels")
    name, file = DATA["mbv3"]
    labels = ab.LabelledSet.read(folder / file, ab.space(name))
    models, values = [], []
    for number, target in enumerate(TARGETS):
        path = MODELS / f"{number}_{labels.content_hash[:12]}"
        if not (path / "model.json").exists():  # written last: it marks a whole model
            ab.fit(labels, target, model="graph", seed=0).save(path)
        models.append(ab.FittedModel.load(path))
        values.append(labels.target(target).values)
    both = np.stack(values, axis=1)
    return Truth(labels.space, tuple(models), both.min(axis=0), both.max(axis=0))


def start_of(space: SearchSpace, seed: int) -> list[Architecture]:
    """The random networks that every method begins with, paid for like all others."""
    return list(dict.fromkeys(space.sample(2 * START, seed, "depth")))[:START]


def sampled(name: str, population: int = START) -> Callable[[Truth, int], Iterator[Architecture]]:
    """One of our samplers; the start is enqueued."""

    def run(own: Truth, seed: int) -> Iterator[Architecture]:
        options = {"targets": TARGETS, "refit_every": BATCH // 2} if name == "guided" else {}
        if "population" in SAMPLERS.parameters(name):
            options["population"] = population
        sampler = make_sampler(name, own.space, seed=seed, n_targets=2, **options)
        yield from _asked(own, seed, sampler)

    return run


def bare(make: Callable[[int], optuna.samplers.BaseSampler]) -> Callable[[Truth, int], Iterator[Architecture]]:
    """One of Optuna's samplers as it is."""

    def run(own: Truth, seed: int) -> Iterator[Architecture]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = make(seed)
        yield from _asked(own, seed, sampler)

    return run


def _asked(own: Truth, seed: int, sampler: optuna.samplers.BaseSampler) -> Iterator[Architecture]:
    study = optuna.create_study(directions=["maximize"] * 2, sampler=sampler)
    for arch in start_of(own.space, seed):
        study.enqueue_trial(own.space.params(arch))
    while True:
        trial = study.ask()
        arch = own.space.suggest(trial)
        study.tell(trial, own(arch).tolist())
        yield arch


def mutations(level: str) -> Callable[[Truth, int], Iterator[Architecture]]:
    """The paper's search: every round mutates networks of the front found so far, at one level."""

    def run(own: Truth, seed: int) -> Iterator[Architecture]:
        rng = np.random.default_rng([seed, 1])
        archs = start_of(own.space, seed)
        values = [own(arch) for arch in archs]
        yield from archs
        while True:
            front = [archs[row] for row in undominated(np.array(values))]
            for _ in range(BATCH):
                child = own.space.mutate(front[int(rng.integers(len(front)))], rng, level)
                while child in archs:
                    child = own.space.mutate(child, rng, level)
                archs.append(child)
                values.append(own(child))
                yield child

    return run


OURS = "guided"
METHODS: dict[str, Callable[[Truth, int], Iterator[Architecture]]] = {
    OURS: sampled("guided"),
    "NSGA-II": sampled("nsga2"),
    "TPE": sampled("motpe"),
    "evolution": sampled("evolution"),
    "layer-level mutation": mutations("layer"),
    "stage-level mutation": mutations("candidate"),
    "NSGA-II (Optuna's own)": bare(lambda seed: optuna.samplers.NSGAIISampler(population_size=START, seed=seed)),
    "TPE (Optuna's own)": bare(lambda seed: optuna.samplers.TPESampler(multivariate=True, group=True, seed=seed)),
    "random": sampled("random"),
}


def measure(own: Truth, method: Callable[[Truth, int], Iterator[Architecture]], seed: int) -> dict[str, float]:
    """``volume@N`` after N distinct networks, the start included; ``seconds``."""
    began = time.perf_counter()
    seen: dict[Architecture, Floats] = {}
    for _, arch in zip(range(20 * EVALUATED), method(own, seed), strict=False):
        if arch not in seen:
            seen[arch] = own(arch)
        if len(seen) == EVALUATED:
            break
    seconds = time.perf_counter() - began
    values = np.array(list(seen.values()))
    return {f"volume@{n}": own.volume(values[:n]) for n in AT} | {"seconds": seconds}
