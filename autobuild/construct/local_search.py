"""Local search: from the best proposals to better neighbours, for one target and for a Pareto front."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from autobuild._typing import FloatArray
from autobuild.construct._evaluators import Evaluator
from autobuild.construct.dominance import undominated
from autobuild.spaces import Architecture, SearchSpace

PROPOSALS = 10_000
CLIMBERS = 8
STEPS = 40
BATCH = 2_000
CHECKS = 1_000  # networks whose exact value is computed where that is expensive
FRONT_AT_ONCE = 24  # members of a front whose neighbours are evaluated in one step
FRONT_MOST = 40_000  # networks evaluated in all for a front


class Pool:
    """Evaluated networks, each once: networks that are equal (``space.key``) count as one.

    Exact values that are expensive are only computed for networks that come up among the best; until then the value of
    a network is its upper bound.

    Args:
        space: Their space.
        evaluator: What is maximised.
        checks: How many exact values are computed at most; networks that would need another one are left out.
    """

    def __init__(self, space: SearchSpace, evaluator: Evaluator, checks: int = CHECKS) -> None:
        self.space, self.evaluator, self.checks = space, evaluator, checks
        self.archs: dict[str, Architecture] = {}
        self.values: dict[str, float] = {}
        self._seen: set[str] = set()
        self._inexact: set[str] = set()

    def add(self, archs: Iterable[Architecture]) -> None:
        """Evaluate those that are new."""
        fresh = _fresh(self.space, archs, self._seen)
        if not fresh:
            return
        values, exact = self.evaluator.bounds(list(fresh.values()))
        for (key, arch), value, final in zip(fresh.items(), values.tolist(), exact.tolist(), strict=True):
            if value == value:  # not NaN
                self.archs[key], self.values[key] = arch, value
                if not final:
                    self._inexact.add(key)

    def _settled(self, key: str) -> bool:
        """Compute a network's exact value; False where it has none, or no computation is left."""
        if key not in self._inexact:
            return key in self.values
        self._inexact.remove(key)
        self.checks -= 1
        self.values[key] = float(self.evaluator.exact([self.archs[key]])[0]) if self.checks >= 0 else np.nan
        if self.values[key] != self.values[key]:
            del self.archs[key], self.values[key]
            return False
        return True

    def ranked(self) -> Iterator[str]:
        """Keys, best exact value first; ties in order of the networks' texts."""
        heap = [(-value, self.archs[key].text, key) for key, value in self.values.items()]
        heapq.heapify(heap)
        while heap:
            value, text, key = heapq.heappop(heap)
            if not self._settled(key):
                continue
            if -self.values[key] > value:  # below its upper bound: others come first
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
            better = [self._better(self.values[key], set(map(self.space.key, near))) for key, near in around.items()]
            at = list(dict.fromkeys(key for key in better if key is not None))
            if not at:
                return

    def _better(self, than: float, keys: set[str]) -> str | None:
        """The best of some networks, if it is better than a value; ties by key."""
        hopeful = sorted(((self.values[key], key) for key in keys if self.values.get(key, than) > than), reverse=True)
        best: tuple[float, str] | None = None
        for value, key in hopeful:
            if best is not None and value < best[0]:
                break
            if self._settled(key) and self.values[key] > than and (best is None or (self.values[key], key) > best):
                best = (self.values[key], key)
        return best[1] if best else None


def propose_and_climb(
    space: SearchSpace, proposals: Iterator[Architecture], evaluator: Evaluator, most: int = PROPOSALS
) -> Pool:
    """Evaluate up to ``most`` proposals in their order, then climb from the best of them.

    Args:
        space: The space; networks stay inside it.
        proposals: Architectures, the most promising first.
        evaluator: What is maximised, such as a model's prediction.
        most: How many proposals are evaluated.
    """
    pool = Pool(space, evaluator)
    for _ in range(0, most, BATCH):
        part = list(itertools.islice(proposals, min(BATCH, most)))
        if not part:
            break
        pool.add(part)
    pool.climb()
    return pool


def climb_front(
    space: SearchSpace,
    proposals: Iterable[Architecture],
    evaluate: Callable[[Sequence[Architecture]], FloatArray],
    *,
    most: int = FRONT_MOST,
) -> tuple[list[Architecture], FloatArray]:
    """The front of what is proposed and of all neighbours of its members, of their neighbours, and so on.

    Members whose neighbours were not evaluated yet, spread along the front, are taken until none is left or ``most``
    networks were evaluated.

    Args:
        space: The space; networks stay inside it, and equal ones (``space.key``) count as one.
        proposals: Where to begin; all are evaluated.
        evaluate: Architectures -> targets, all maximised, shape ``(n, targets)``; not finite: no value.
        most: When to stop.

    Returns:
        The networks that no other one evaluated equals or exceeds in every target, descending in the first, and their
        targets, shape ``(n, targets)``.

    Source: Pareto local search (Paquete, Chiarandini and Stuetzle, 2004).
    """
    seen: set[str] = set()
    fresh = list(_fresh(space, proposals, seen).values())
    if not fresh:
        return [], np.zeros((0, 2))
    archs, values = _front(fresh, evaluate(fresh))
    explored: set[str] = set()
    while len(seen) < most:
        left = [place for place, arch in enumerate(archs) if arch.text not in explored]
        if not left:
            break
        steps = np.unique(np.linspace(0, len(left) - 1, FRONT_AT_ONCE).round().astype(int)).tolist()
        members = [archs[left[step]] for step in steps]
        explored.update(arch.text for arch in members)
        near = itertools.chain.from_iterable(space.neighbours(arch) for arch in members)
        fresh = list(_fresh(space, near, seen).values())
        if fresh:
            archs, values = _front([*archs, *fresh], np.concatenate([values, evaluate(fresh)]))
    return archs, values


def _front(archs: list[Architecture], values: FloatArray) -> tuple[list[Architecture], FloatArray]:
    there = np.flatnonzero(np.isfinite(values).all(axis=1))  # a network without a value is on no front
    kept = there[undominated(values[there])]
    kept = kept[np.argsort(-values[kept, 0], kind="stable")]
    return [archs[row] for row in kept.tolist()], values[kept]


def _fresh(space: SearchSpace, archs: Iterable[Architecture], seen: set[str]) -> dict[str, Architecture]:
    """Those networks that were not seen yet, by key; they are noted as seen."""
    fresh: dict[str, Architecture] = {}
    for arch in archs:
        key = space.key(arch)
        if key not in seen:
            seen.add(key)
            fresh[key] = arch
    return fresh


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
