"""Architectures as rows of numbers, for the baselines: one-hot positions, and what is known without training.

One generic path for all spaces: nothing here knows a space by name.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autobuild.cost import Counter, costs_of
from autobuild.errors import SpaceError
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.stage import Digits, Stage

Floats = NDArray[np.float64]


def architecture(space: SearchSpace, runs: Sequence[Digits]) -> Architecture:
    """The architecture with these layer choices, a run for every stage."""
    return space.parse(space.format(Architecture("", tuple(runs), space.family)))


def _counts(space: SearchSpace) -> dict[str, Counter]:
    """Parameters, MACs and the like, exact; none where the space builds no networks."""
    try:
        return costs_of(space)
    except SpaceError:
        return {}


class Columns:
    """Turns architectures of a space into columns, remembering what every run of layers comes to.

    Args:
        space: The space. Where it declares identity layers, they are moved to the end of their stage first, so that
            networks which are equal have equal columns.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.costs = _counts(space)
        self._runs: list[dict[Digits, tuple[Floats, Floats, Floats]]] = [{} for _ in space.stages]
        self._reference = [self._canonical(s, stage.run(0)) for s, stage in enumerate(space.stages)]
        self._base = self._cost_of(self._reference)
        self.widths = [len(self._run(s, stage.run(0))[0]) for s, stage in enumerate(space.stages)]  # one-hot, by stage

    def one_hot(self, archs: Sequence[Architecture]) -> Floats:
        """One column a value of a feature of a layer, and a depth of a stage. Shape ``(n, d)``, of 0 and 1.

        A tied stage has columns for the block and for each of its layers: ridge regression and Gaussian processes do
        best with both.
        """
        return np.concatenate([self._stack(archs, s, 0) for s in range(len(self.space.stages))], axis=1)

    def knowledge(self, archs: Sequence[Architecture]) -> Floats:
        """One-hot columns (of a tied stage once), numbers of every stage (:func:`_numbers`), its own costs, and
        logarithms of the network's costs. Shape ``(n, e)``.
        """
        parts = [self._stack(archs, s, which) for which in (1, 2) for s in range(len(self.space.stages))]
        if self.costs:
            parts.append(np.log(np.stack([cost(archs) for cost in self.costs.values()], axis=1).astype(float)))
        return np.concatenate(parts, axis=1)

    def _stack(self, archs: Sequence[Architecture], s: int, which: int) -> Floats:
        return np.stack([self._run(s, arch.runs[s])[which] for arch in archs])

    def _run(self, s: int, run: Digits) -> tuple[Floats, Floats, Floats]:
        """One-hot columns, those of them that tell a tied stage once, and numbers."""
        if run not in self._runs[s]:
            moved = self._canonical(s, run)
            stage = self.space.stages[s]
            numbers = np.concatenate([_numbers(stage, moved), self._own(s, moved)])
            layers = _one_hot(stage, moved, stage.depths[-1])
            once = _one_hot(stage, moved, 1) if stage.tied else layers
            every = np.concatenate([once, layers]) if stage.tied else layers
            self._runs[s][run] = (every, once, numbers)
        return self._runs[s][run]

    def _own(self, s: int, run: Digits) -> Floats:
        """What the run costs more than the stage's first candidate, relative to the whole network."""
        if not self.costs:
            return np.zeros(0)
        runs = list(self._reference)
        runs[s] = run
        return self._cost_of(runs) / self._base - 1

    def _cost_of(self, runs: Sequence[Digits]) -> Floats:
        arch = architecture(self.space, runs)
        return np.array([float(cost([arch])[0]) for cost in self.costs.values()])

    def _canonical(self, s: int, run: Digits) -> Digits:
        identity = self.space.identity
        if identity is None or identity.cut is not None:
            return tuple(run)
        stage, fixed = self.space.stages[s], int(identity.first_layer_counts)
        idle = {d for d in range(len(stage.layers)) if identity.values.items() <= stage.layer_dict(d).items()}
        rest = run[fixed:]
        return (*run[:fixed], *(d for d in rest if d not in idle), *(d for d in rest if d in idle))


def _one_hot(stage: Stage, run: Digits, places: int) -> Floats:
    """Columns of the first ``places`` layers; those that the run does not have are 0."""
    out: list[float] = []
    for digit in [*run, *[None] * stage.depths[-1]][:places]:
        own = {} if digit is None else stage.layer_dict(digit)
        for feature in stage.features:
            out += [float(own.get(feature.name, "absent") == value) for value in feature.values]
    if len(stage.depths) > 1:
        out += [float(len(run) == depth) for depth in stage.depths]
    return np.array(out)


def _numbers(stage: Stage, run: Digits) -> Floats:
    """Depth, sums of every numeric feature over the layers, and sums of products of two of them; logarithms, too."""
    layers = [stage.layer_dict(digit) for digit in run]
    names = [f.name for f in stage.features if all(isinstance(value, int | float) for value in f.values)]
    values = np.array([[float(layer[name]) for name in names] for layer in layers])  # type: ignore[arg-type]
    pairs = [values[:, i] * values[:, j] for i in range(len(names)) for j in range(i, len(names))]
    sums = np.array([len(run), *values.sum(axis=0), *(pair.sum() for pair in pairs)])
    return np.concatenate([sums, np.log1p(np.maximum(sums, 0))])
