"""From proposals to a predicted Pareto front: full predictors judge them, and the front climbs to its neighbours."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from autobuild.construct.dominance import undominated
from autobuild.spaces import Architecture, SearchSpace

FloatArray = NDArray[np.float64]
JudgeAll = Callable[[Sequence[Architecture]], FloatArray]

AT_ONCE = 24  # members of the front whose neighbours are judged in one step
MOST = 40_000  # networks judged in all


def climb_front(
    space: SearchSpace, proposals: Iterable[Architecture], judge: JudgeAll, *, most: int = MOST
) -> tuple[list[Architecture], FloatArray]:
    """The front of what is proposed and of all neighbours of its members, of their neighbours, and so on.

    Pareto local search (Paquete, Chiarandini and Stuetzle, 2004): members whose neighbours were not looked at yet,
    spread along the front, are taken until none is left or ``most`` networks were judged.

    Args:
        space: The space; networks stay inside it, and equal ones (``space.key``) count as one.
        proposals: Where to begin; all are judged.
        judge: Architectures -> targets, all maximised, shape ``(n, targets)``.
        most: When to stop.

    Returns:
        The networks that no other one judged equals or exceeds in every target, descending in the first, and their
        targets, shape ``(n, targets)``.
    """
    known: set[str] = set()

    def judged(candidates: Iterable[Architecture]) -> tuple[list[Architecture], FloatArray] | None:
        fresh: dict[str, Architecture] = {}
        for arch in candidates:
            key = space.key(arch)
            if key not in known:
                known.add(key)
                fresh[key] = arch
        return (list(fresh.values()), judge(list(fresh.values()))) if fresh else None

    first = judged(proposals)
    if first is None:
        return [], np.zeros((0, 2))
    archs, values = _front(*first)
    explored: set[str] = set()
    while len(known) < most:
        left = [place for place, arch in enumerate(archs) if arch.text not in explored]
        if not left:
            break
        steps = np.unique(np.linspace(0, len(left) - 1, AT_ONCE).round().astype(int)).tolist()
        members = [archs[left[step]] for step in steps]
        explored.update(arch.text for arch in members)
        found = judged(itertools.chain.from_iterable(space.neighbours(arch) for arch in members))
        if found is not None:
            archs, values = _front([*archs, *found[0]], np.concatenate([values, found[1]]))
    return archs, values


def _front(archs: list[Architecture], values: FloatArray) -> tuple[list[Architecture], FloatArray]:
    there = np.flatnonzero(np.isfinite(values).all(axis=1))  # a network without a value is on no front
    kept = there[undominated(values[there])]
    kept = kept[np.argsort(-values[kept, 0], kind="stable")]
    return [archs[row] for row in kept.tolist()], values[kept]
