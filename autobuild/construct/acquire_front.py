"""Which networks to evaluate next for several targets at once, or under constraints that only evaluations tell."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from autobuild.construct.acquire import DRAWN, EXPLOIT, Uncertain, joint_draws
from autobuild.construct.building import check_top, distinct
from autobuild.construct.dominance import first_fronts
from autobuild.construct.front_pool import PROPOSED, Tables, directions, front_pool
from autobuild.construct.refine import Judge
from autobuild.spaces import Architecture, SearchSpace

FloatArray = NDArray[np.float64]

AROUND = 12  # networks of the front whose neighbours are looked at
SCALARISATIONS = 256  # over which hypervolume is averaged
INSIDE = 256  # networks drawn where there are constraints
_OUTSIDE = 10  # what a deviation beyond a constraint counts, in ranges of a target


def acquire_front(
    models: Sequence[Uncertain],
    scores: Sequence[Mapping[str, FloatArray]],
    count: int,
    seed: int = 0,
    known: Iterable[Architecture] = (),
    *,
    space: SearchSpace,
    measured: FloatArray,
    best: Sequence[Architecture] = (),
    constraints: Sequence[Uncertain] = (),
) -> list[Architecture]:
    """Choose ``count`` networks that may widen the Pareto front most.

    Weighted sums of the additive scores propose, with the neighbours of the best networks so far. Every place of the
    batch goes to the network that adds most hypervolume in one joint draw of what all its targets may be (a share of
    0.3: in their predictions), what was chosen before counting as predicted: Thompson sampling by hypervolume
    (Bradford et al., TSEMO, 2018). Hypervolume is averaged over random scalarisations (Golovin and Zhang, ICML 2020),
    which holds for any number of targets. A network whose constraints are broken in the draw comes after all others.

    Args:
        models: One a target; all targets are maximised.
        scores: For each model, unit name -> additive scores of the candidates of ``space``.
        count: How many.
        seed: Seed of everything random.
        known: Networks that need no evaluation.
        space: Where to choose.
        measured: Targets of the feasible networks measured so far, shape ``(n, targets)``, n >= 1.
        best: Networks on the front so far.
        constraints: Models of numbers that have to be 0 or less.

    Returns:
        Distinct networks, none known, in order of choice; fewer where no more are found.
    """
    check_top(count)
    rng = np.random.default_rng(seed)
    taken = {space.key(arch) for arch in known}
    low, span = measured.min(axis=0), np.maximum(np.ptp(measured, axis=0), 1e-12)
    pool = _pool(models, scores, space, best, constraints, low, span, rng)
    archs = [arch for key, arch in pool.items() if key not in taken]
    if not archs:
        return []
    predicted = _predictions(models, archs)
    worth = (predicted - low) / span
    likely = _likely(worth - _OUTSIDE * _broken(constraints, archs, 0, rng)[0][:, None], rng)
    archs, predicted = [archs[place] for place in likely], predicted[likely]
    wanted = min(count, len(archs))
    drawn = np.stack([joint_draws(model, archs, wanted, int(rng.integers(2**31))) for model in models], axis=2)
    broken = _broken(constraints, archs, wanted, rng)
    gain = _Gain((measured - low) / span, rng)
    free, chosen = np.ones(len(archs), dtype=bool), []
    for place in range(wanted):
        by_mean = int((place + 1) * EXPLOIT) > int(place * EXPLOIT)
        values = ((predicted if by_mean else drawn[place]) - low) / span
        excess = broken[0] if by_mean else broken[1 + place]
        order = np.lexsort((-gain(values, rng), excess, ~free))
        pick = int(order[0])
        free[pick] = False
        chosen.append(archs[pick])
        if excess[pick] <= 0:
            gain.add((predicted[pick] - low) / span)
    return chosen


class _Gain:
    """Hypervolume that a point would add to a front, above the point 0.1 below the worst of all that was measured.

    Args:
        front: Normalised targets, maximised. Shape ``(n, targets)``.
    """

    def __init__(self, front: FloatArray, rng: np.random.Generator) -> None:
        directions = np.abs(rng.normal(size=(SCALARISATIONS, front.shape[1])))
        self.directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        self.reached = self._scalarised(front).max(axis=0)

    def _scalarised(self, points: FloatArray) -> FloatArray:
        """Shapes: ``(n, targets)`` -> ``(n, directions)``."""
        lengths: FloatArray = (np.maximum(points + 0.1, 0)[:, None] / self.directions[None]).min(axis=2)
        volumes: FloatArray = lengths ** points.shape[1]
        return volumes

    def __call__(self, points: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Shapes: ``(n, targets)`` -> ``(n,)``. One target: its value; nothing gained anywhere: by one direction."""
        if points.shape[1] == 1:
            return points[:, 0]
        lengths = self._scalarised(points)
        gained: FloatArray = np.maximum(lengths - self.reached, 0).mean(axis=1)
        return gained if gained.max() > 0 else lengths[:, int(rng.integers(SCALARISATIONS))]

    def add(self, point: FloatArray) -> None:
        """Count a point as reached."""
        self.reached = np.maximum(self.reached, self._scalarised(point[None])[0])


def _pool(
    models: Sequence[Uncertain],
    scores: Sequence[Mapping[str, FloatArray]],
    space: SearchSpace,
    best: Sequence[Architecture],
    constraints: Sequence[Uncertain],
    low: FloatArray,
    span: FloatArray,
    rng: np.random.Generator,
) -> dict[str, Architecture]:
    """Networks worth a look, by key."""

    def scalarised(weight: FloatArray) -> tuple[Judge, Tables]:
        def judge(archs: Sequence[Architecture]) -> FloatArray:
            value: FloatArray = ((_predictions(models, archs) - low) / span) @ weight
            for constraint in constraints:
                value -= _OUTSIDE * np.maximum(constraint.predict_mean(list(archs)), 0) / _scale(constraint)
            return value

        tables = [
            np.sum([w * own[unit.name] / s for w, s, own in zip(weight, span, scores, strict=True)], axis=0)
            for unit in space.units
        ]
        return judge, tables

    # Under constraints the largest sums may all be far outside: what climbs has to begin inside.
    inside = [*best, *space.sample(INSIDE, rng, "depth")] if constraints else []

    def propose(tables: Tables) -> Iterator[Architecture]:
        return itertools.chain(inside, (arch for _, arch in distinct(space, list(tables))))

    found = front_pool(
        space, directions(len(models), rng), scalarised, propose=propose, proposed=PROPOSED + len(inside)
    )
    near = itertools.chain.from_iterable(space.neighbours(arch) for arch in list(best)[:AROUND])
    return found | {space.key(arch): arch for arch in near}


def _scale(model: Uncertain) -> float:
    return float(np.std(model.predict_mean(list(model.training_archs)))) or 1.0


def _predictions(models: Sequence[Uncertain], archs: Sequence[Architecture]) -> FloatArray:
    """Shape ``(len(archs), targets)``."""
    return np.stack([model.predict_mean(list(archs)) for model in models], axis=1)


def _likely(values: FloatArray, rng: np.random.Generator) -> list[int]:
    """Places of up to 800 points: front after front (one target: the best), the last one cut at random."""
    if values.shape[1] == 1:
        return [int(place) for place in np.argsort(-values[:, 0], kind="stable")[:DRAWN]]
    return first_fronts(values, DRAWN, rng)


def _broken(
    constraints: Sequence[Uncertain], archs: Sequence[Architecture], count: int, rng: np.random.Generator
) -> FloatArray:
    """Summed violations, in standard deviations of each constraint: predicted (first row), then drawn ones.

    Shape ``(1 + count, n)``.
    """
    total = np.zeros((1 + count, len(archs)))
    for constraint in constraints:
        both = constraint.predict_mean(list(archs))[None]
        if count:
            both = np.concatenate([both, joint_draws(constraint, archs, count, int(rng.integers(2**31)))])
        total += np.maximum(both, 0) / _scale(constraint)
    return total
