"""From proposals to networks: the full predictor re-ranks what additive scores propose, and climbs from the best."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from autobuild.spaces import Architecture, SearchSpace

FloatArray = NDArray[np.float64]
Judge = Callable[[Sequence[Architecture]], FloatArray]
Feasible = Callable[[Sequence[Architecture]], NDArray[np.bool_]]

PROPOSALS = 10_000
CLIMBERS = 8
STEPS = 40
BATCH = 2_000


class Pool:
    """Judged networks, each once: networks that are equal (``space.key``) count as one.

    Args:
        space: Their space.
        judge: Architectures -> what is maximised, shape ``(n,)``.
        feasible: Architectures -> whether each may be built, shape ``(n,)``; all where None.
    """

    def __init__(self, space: SearchSpace, judge: Judge, feasible: Feasible | None = None) -> None:
        self.space, self.judge, self.feasible = space, judge, feasible
        self.archs: dict[str, Architecture] = {}
        self.values: dict[str, float] = {}
        self._seen: set[str] = set()

    def add(self, archs: Iterable[Architecture]) -> None:
        """Judge those that are new."""
        fresh: dict[str, Architecture] = {}
        for arch in archs:
            key = self.space.key(arch)
            if key not in self._seen:
                self._seen.add(key)
                fresh[key] = arch
        if not fresh:
            return
        listed = list(fresh.values())
        allowed = np.ones(len(listed), dtype=bool) if self.feasible is None else self.feasible(listed)
        kept = [(key, arch) for (key, arch), right in zip(fresh.items(), allowed, strict=True) if right]
        if kept:
            judged = self.judge([arch for _, arch in kept])
            self.archs.update(kept)
            self.values.update((key, float(value)) for (key, _), value in zip(kept, judged, strict=True))

    def best(self, count: int | None = None) -> list[str]:
        """Keys, best first; ties in order of the networks' texts."""
        order = sorted(self.values, key=lambda key: (-self.values[key], self.archs[key].text))
        return order if count is None else order[:count]

    def climb(self, climbers: int = CLIMBERS, steps: int = STEPS) -> None:
        """From each of the best networks, go to the best neighbour while that is better."""
        at = self.best(climbers)
        for _ in range(steps):
            around = {key: list(self.space.neighbours(self.archs[key])) for key in at}
            self.add(itertools.chain.from_iterable(around.values()))
            moved = []
            for key, near in around.items():
                known = {own for own in map(self.space.key, near) if own in self.values}
                best = max(known, key=lambda own: (self.values[own], own), default=key)
                if self.values[best] > self.values[key]:
                    moved.append(best)
            at = list(dict.fromkeys(moved))
            if not at:
                return


def refine(
    space: SearchSpace,
    proposals: Iterator[Architecture],
    judge: Judge,
    *,
    feasible: Feasible | None = None,
    most: int = PROPOSALS,
) -> Pool:
    """Judge up to ``most`` proposals in their order, then climb from the best of them.

    Args:
        space: The space; networks stay inside it.
        proposals: Architectures, the most promising first.
        judge: What is maximised, such as a model's prediction.
        feasible: Which networks may be built.
        most: How many proposals are looked at.
    """
    pool = Pool(space, judge, feasible)
    for _ in range(0, most, BATCH):
        part = list(itertools.islice(proposals, min(BATCH, most)))
        if not part:
            break
        pool.add(part)
    pool.climb()
    return pool


def spread(space: SearchSpace, archs: Sequence[Architecture], top: int, apart: int) -> list[int]:
    """Places of the first ``top`` networks of which any two differ in at least ``apart`` layers."""
    chosen: list[int] = []
    for place, arch in enumerate(archs):
        if all(layers_apart(arch, archs[other]) >= apart for other in chosen):
            chosen.append(place)
            if len(chosen) == top:
                break
    return chosen


def layers_apart(a: Architecture, b: Architecture) -> int:
    """In how many layers two architectures differ; a layer that only one has is one."""
    return sum(
        sum(x != y for x, y in itertools.zip_longest(one, other)) for one, other in zip(a.runs, b.runs, strict=True)
    )
