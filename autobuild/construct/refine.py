"""From proposals to networks: the full predictor re-ranks what additive scores propose, and climbs from the best."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

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
CHECKS = 1_000  # of networks whose last word takes long


class Lazy(Protocol):
    """A judge whose last word takes long: at once it only says how good a network may be at the most."""

    def __call__(self, archs: Sequence[Architecture], /) -> FloatArray:
        """What is maximised, at the most; shape ``(n,)``."""

    def settle(self, archs: Sequence[Architecture], /) -> FloatArray:
        """What is maximised, shape ``(n,)``; NaN where a network has no value."""


class Decisive(Protocol):
    """Limits whose last word takes long: some networks are decided at once, others are not."""

    def decide(self, archs: Sequence[Architecture], /) -> NDArray[np.int64]:
        """1: feasible, -1: infeasible, 0: to be looked at; shape ``(n,)``."""

    def feasible(self, archs: Sequence[Architecture], /) -> NDArray[np.bool_]:
        """Whether each may be built, shape ``(n,)``."""


class Pool:
    """Judged networks, each once: networks that are equal (``space.key``) count as one.

    Where the last word on a network takes long, it is only asked for as the network comes up among the best: values are
    then what a network may reach, until it is settled.

    Args:
        space: Their space.
        judge: Architectures -> what is maximised, shape ``(n,)``; or a :class:`Lazy` one.
        feasible: Architectures -> whether each may be built, shape ``(n,)``; or :class:`Decisive`; all where None.
        checks: How many networks are settled at most; those that are not are then left out.
    """

    def __init__(
        self, space: SearchSpace, judge: Judge | Lazy, feasible: Feasible | Decisive | None = None, checks: int = CHECKS
    ) -> None:
        self.space, self.judge, self.checks = space, judge, checks
        self.archs: dict[str, Architecture] = {}
        self.values: dict[str, float] = {}
        self._seen: set[str] = set()
        self._open: dict[str, bool] = {}  # networks to be settled: whether the limits are open, too
        self._settle: Judge | None = getattr(judge, "settle", None)
        self._decide: Callable[[Sequence[Architecture]], NDArray[np.int64]] | None = getattr(feasible, "decide", None)
        whole = getattr(feasible, "feasible", None)
        self._feasible: Feasible | None = whole or (feasible if callable(feasible) else None)

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
        verdicts = self._verdicts(list(fresh.values()))
        told = zip(fresh.items(), verdicts.tolist(), strict=True)
        kept = [(key, arch, verdict) for (key, arch), verdict in told if verdict >= 0]
        if not kept:
            return
        judged = self.judge([arch for _, arch, _ in kept])
        for (key, arch, verdict), value in zip(kept, judged.tolist(), strict=True):
            if value == value:  # NaN: a cost that it has no value for
                self.archs[key], self.values[key] = arch, value
                if verdict == 0 or self._settle is not None:
                    self._open[key] = verdict == 0

    def _verdicts(self, archs: Sequence[Architecture]) -> NDArray[np.int64]:
        if self._decide is not None:
            return self._decide(archs)
        if self._feasible is None:
            return np.ones(len(archs), dtype=np.int64)
        return np.where(self._feasible(archs), 1, -1)

    def _settled(self, key: str) -> bool:
        """Get the last word on a network; False where it may not be built, or cannot be asked about any more."""
        if key not in self._open:
            return key in self.values
        arch, limits = [self.archs[key]], self._open.pop(key)
        self.checks -= 1
        if self.checks < 0 or (limits and self._feasible is not None and not self._feasible(arch)[0]):
            return self._dropped(key)
        if self._settle is not None:
            self.values[key] = float(self._settle(arch)[0])
            if self.values[key] != self.values[key]:
                return self._dropped(key)
        return True

    def _dropped(self, key: str) -> bool:
        del self.archs[key], self.values[key]
        return False

    def ranked(self) -> Iterator[str]:
        """Keys, best first, settled as they come; ties in order of the networks' texts."""
        heap = [(-value, self.archs[key].text, key) for key, value in self.values.items()]
        heapq.heapify(heap)
        while heap:
            value, text, key = heapq.heappop(heap)
            if not self._settled(key):
                continue
            if -self.values[key] > value:  # less than it might have been: others come first
                heapq.heappush(heap, (-self.values[key], text, key))
            else:
                yield key

    def best(self, count: int | None = None) -> list[str]:
        """The first of :meth:`ranked`."""
        return list(itertools.islice(self.ranked(), count))

    def climb(self, climbers: int = CLIMBERS, steps: int = STEPS) -> None:
        """From each of the best networks, go to the best neighbour while that is better."""
        at = self.best(climbers)
        for _ in range(steps):
            around = {key: list(self.space.neighbours(self.archs[key])) for key in at}
            self.add(itertools.chain.from_iterable(around.values()))
            moved = []
            for key, near in around.items():
                better = self._better(self.values[key], set(map(self.space.key, near)))
                if better is not None:
                    moved.append(better)
            at = list(dict.fromkeys(moved))
            if not at:
                return

    def _better(self, than: float, keys: set[str]) -> str | None:
        """The best of some networks, if it is better than a value; ties by key."""
        hopeful = sorted(((self.values[key], key) for key in keys if self.values.get(key, than) > than), reverse=True)
        found: tuple[float, str] | None = None
        for value, key in hopeful:
            if found is not None and value < found[0]:
                break
            if self._settled(key) and self.values[key] > than and (found is None or (self.values[key], key) > found):
                found = (self.values[key], key)
        return found[1] if found else None


def refine(
    space: SearchSpace,
    proposals: Iterator[Architecture],
    judge: Judge | Lazy,
    *,
    feasible: Feasible | Decisive | None = None,
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


def spread(archs: Iterable[Architecture], top: int, apart: int) -> list[Architecture]:
    """The first ``top`` networks of which any two differ in at least ``apart`` layers."""
    chosen: list[Architecture] = []
    for arch in archs:
        if all(layers_apart(arch, other) >= apart for other in chosen):
            chosen.append(arch)
            if len(chosen) == top:
                break
    return chosen


def layers_apart(a: Architecture, b: Architecture) -> int:
    """In how many layers two architectures differ; a layer that only one has is one."""
    return sum(
        sum(x != y for x, y in itertools.zip_longest(one, other)) for one, other in zip(a.runs, b.runs, strict=True)
    )
