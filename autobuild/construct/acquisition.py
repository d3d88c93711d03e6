"""Acquisition: which networks to evaluate next, from predictions and joint posterior draws of one target or several."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from autobuild._typing import FloatArray
from autobuild.construct._evaluators import Evaluator, WithinLimits, evaluator_of
from autobuild.construct.building import check_top, distinct, tables_of
from autobuild.construct.dominance import first_fronts
from autobuild.construct.limits import Limited
from autobuild.construct.local_search import Pool, layers_apart, propose_and_climb
from autobuild.registry import ACQUISITIONS
from autobuild.settings.names import ACQUISITION
from autobuild.spaces import Architecture, SearchSpace

if TYPE_CHECKING:
    from autobuild.models import FittedModel


EXPLOIT = 0.3  # share of a batch that is simply the predicted best
LEVEL = 0.8  # of the interval whose upper bound is hoped for
PROPOSALS = 3_000
HOPEFUL = 200  # of the predicted best, from which the upper bound is climbed
DRAWN = 800  # networks of a joint draw, whose cost grows with the cube of their number
NORMAL_80 = 1.2816  # half-width of an 80 % interval in standard deviations
APART = 2  # layers in which networks of a batch differ where nothing else keeps them apart
DIRECTIONS = 8  # weighted sums of targets that propose, beside each target alone
PROPOSED = 200  # networks of each
STEPS = 12  # of climbing on each
AROUND = 12  # networks of the front whose neighbours are looked at
INSIDE = 256  # networks drawn if there are constraints
OUTSIDE = 10  # weight of a deviation beyond a constraint, in ranges of a target
SCALARISATIONS = 256  # over which hypervolume is averaged

Chooser = TypeVar("Chooser", bound=Callable[..., Iterable[int]])
Tables = Sequence[FloatArray]  # scores of the candidates of each unit


class Uncertain(Protocol):
    """What an acquisition asks of a model; every :class:`autobuild.models.FittedModel` gives it."""

    @property
    def space(self) -> SearchSpace:
        """Its space."""
        ...

    @property
    def training_archs(self) -> Sequence[Architecture]:
        """The architectures fitted."""
        ...

    def predict_mean(self, archs: Sequence[Architecture]) -> FloatArray:
        """Predicted target. Shape ``(n,)``."""
        ...

    def intervals(self, archs: Sequence[Architecture], level: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Prediction and bounds. Shapes: three times ``(n,)``."""
        ...

    def draw(self, archs: Sequence[Architecture], count: int, seed: int) -> FloatArray | None:
        """Joint draws of the target, shape ``(count, n)``, or None."""
        ...


def acquire(
    model: FittedModel,
    scores: Mapping[str, FloatArray],
    count: int,
    seed: int = 0,
    known: Iterable[Architecture] = (),
    *,
    by: str = ACQUISITION,
    space: SearchSpace | None = None,
) -> list[Architecture]:
    """Choose ``count`` networks to evaluate next.

    Additive scores propose, and the model climbs from the best of them, once by its prediction and once by its upper
    bound. Of that pool a batch is taken. ``"balanced"``: the predicted best networks fill a share of 0.3 (at least
    the first place); every other place goes to the best network of one joint draw of what all labels may be, so that
    a network is chosen as often as it may be the best one (Thompson sampling; in batches: Kandasamy et al., AISTATS
    2018). Correlated draws spread a batch by themselves. A model that draws nothing is asked for its upper bound
    instead, and networks of a batch then differ in at least two layers, as far as the pool has such.

    Args:
        model: The fitted model.
        scores: Unit name -> additive scores of its candidates, as ``Scores.unit_scores``.
        count: How many networks.
        seed: Seed of the draws; the same seed gives the same batch.
        known: Networks that need no evaluation, beside those that the model was fitted on.
        by: ``"upper"``: the best by the upper bound of the 80 % interval, apart as above; ``"balanced"``;
            ``"predicted"``: the predicted best only; or a registered one (:func:`register_acquisition`).
            ``benchmarks.rounds`` compares them.
        space: Where to choose: the model's space (default), or one narrowed or joined from it, which ``scores`` are of.

    Returns:
        Distinct networks (by ``space.key``), none of them known, in order of choice; fewer than ``count`` where the
        pool has no more.

    Raises:
        ConfigError: For an unusable ``count`` or ``by``, or scores that are missing.
    """
    ACQUISITIONS.check(by)
    check_top(count)
    space = (space or model.space).told_apart(model.space.equal)
    taken = {space.key(arch) for arch in itertools.chain(model.training_archs, known)}
    pool = pool_of(model, space, scores, len(taken) + max(PROPOSALS, count))
    archs = [arch for key, arch in pool.items() if key not in taken]
    if not archs:
        return []
    predicted, _, upper = model.intervals(archs, LEVEL)
    upper = np.where(np.isfinite(upper), upper, predicted)  # too few rows were held out for a bound
    given = {"model": model, "archs": archs, "predicted": predicted, "upper": upper, "count": count, "seed": seed}
    places = [int(place) for place in ACQUISITIONS.make(by, given)]
    if len(set(places)) < len(places) or len(places) > count or not set(places) <= set(range(len(archs))):
        raise ACQUISITIONS.blame(by, f"it gave {places}; accepted: at most {count} distinct places below {len(archs)}")
    return [archs[place] for place in places]


def register_acquisition(name: str) -> Callable[[Chooser], Chooser]:
    """Decorator that registers an acquisition, for ``ab.rounds(..., acquisition=name)`` and ``acquisition=name``.

    It decorates a function that is called with those of these arguments that it names: ``model`` (the fitted model),
    ``archs`` (the n networks to choose from), ``predicted`` and ``upper`` (their predictions and the upper bounds of
    their 80 % intervals, shapes ``(n,)``), ``count`` and ``seed``. It returns the places in ``archs`` of at most
    ``count`` networks, in order of choice. A package declares its acquisition as an entry point of the group
    ``autobuild.acquisitions``.

    Args:
        name: Its name, as for :meth:`autobuild.registry.Registry.register`, which says what errors there are.

    Returns:
        The decorator.
    """
    return ACQUISITIONS.register(name)


def pool_of(
    model: FittedModel,
    space: SearchSpace,
    scores: Mapping[str, FloatArray],
    most: int,
    *,
    limited: Limited | None = None,
) -> dict[str, Architecture]:
    """Candidates for the best network: the ``most`` best sums, and climbs from there by prediction and upper bound.

    With limits, only networks that satisfy them.

    Returns:
        Architectures by key.
    """
    tables = tables_of(space, scores)
    proposals = limited.proposals() if limited else (arch for _, arch in distinct(space, tables))

    def within(predict: Callable[[FittedModel], Callable[[Sequence[Architecture]], FloatArray]]) -> Evaluator:
        evaluator = evaluator_of(model, space, predict)
        return WithinLimits(evaluator, limited, lazily=False) if limited else evaluator

    proposed = propose_and_climb(space, proposals, within(lambda part: part.predict_mean), most)
    hopeful = Pool(space, within(lambda part: lambda archs: upper_bound(part, archs)))
    hopeful.add(proposed.archs[key] for key in proposed.best(HOPEFUL))
    hopeful.climb()
    if not proposed.evaluator.cheap:  # networks without an exact value are left out
        return {key: pool.archs[key] for pool in (proposed, hopeful) for key in pool.best(HOPEFUL)}
    return proposed.archs | hopeful.archs


def upper_bound(model: FittedModel, archs: Sequence[Architecture]) -> FloatArray:
    """Upper bound of the 80 % interval; the prediction where too few rows were held out for a bound. Shape ``(n,)``."""
    predicted, _, upper = model.intervals(list(archs), LEVEL)
    return np.where(np.isfinite(upper), upper, predicted)


def likely(archs: Sequence[Architecture], predicted: FloatArray, upper: FloatArray, most: int) -> list[int]:
    """Places of the networks that may be the best, at most ``most``: half by upper bound, half by prediction."""
    return list(dict.fromkeys([*best_first(upper, archs)[: most // 2], *best_first(predicted, archs)[: most // 2]]))


def joint_draws(model: Uncertain, archs: Sequence[Architecture], count: int, seed: int) -> FloatArray:
    """Joint draws, or independent ones within the interval of a model that draws nothing. Shape ``(count, n)``."""
    drawn = model.draw(archs, count, seed)
    if drawn is not None:
        return drawn
    predicted, _, upper = model.intervals(archs, LEVEL)
    sd = np.where(np.isfinite(upper), upper - predicted, 0) / NORMAL_80
    return predicted + sd * np.random.default_rng(seed).normal(size=(count, len(archs)))


def best_first(values: FloatArray, archs: Sequence[Architecture]) -> list[int]:
    """Places, best first; ties in order of the networks' texts."""
    return sorted(range(len(archs)), key=lambda place: (-values[place], archs[place].text))


def apart(archs: Sequence[Architecture], order: Sequence[int], places: Sequence[int], count: int) -> list[int]:
    """Add to ``places`` from ``order`` what differs from every place in at least two layers, then what is left."""
    chosen = list(places)
    for place in order:
        if len(chosen) == count:
            return chosen
        if place not in chosen and all(layers_apart(archs[place], archs[other]) >= APART for other in chosen):
            chosen.append(place)
    left = (place for place in order if place not in set(chosen))
    return [*chosen, *itertools.islice(left, count - len(chosen))]


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
    likely_places = _first_places(worth - OUTSIDE * _broken(constraints, archs, 0, rng)[0][:, None], rng)
    archs, predicted = [archs[place] for place in likely_places], predicted[likely_places]
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

    def scalarised(weight: FloatArray) -> tuple[Evaluator, Tables]:
        def weighted(archs: Sequence[Architecture]) -> FloatArray:
            value: FloatArray = ((_predictions(models, archs) - low) / span) @ weight
            for constraint in constraints:
                value -= OUTSIDE * np.maximum(constraint.predict_mean(list(archs)), 0) / _scale(constraint)
            return value

        tables = [
            np.sum([w * table[unit.name] / s for w, s, table in zip(weight, span, scores, strict=True)], axis=0)
            for unit in space.units
        ]
        return Evaluator(weighted), tables

    # Under constraints the largest sums may all be far outside: the search has to begin inside.
    inside = [*best, *space.sample(INSIDE, rng, "depth")] if constraints else []

    def propose(tables: Tables) -> Iterator[Architecture]:
        return itertools.chain(inside, (arch for _, arch in distinct(space, list(tables))))

    pool = front_pool(space, directions(len(models), rng), scalarised, propose=propose, proposed=PROPOSED + len(inside))
    near = itertools.chain.from_iterable(space.neighbours(arch) for arch in list(best)[:AROUND])
    return pool | {space.key(arch): arch for arch in near}


def _scale(model: Uncertain) -> float:
    return float(np.std(model.predict_mean(list(model.training_archs)))) or 1.0


def _predictions(models: Sequence[Uncertain], archs: Sequence[Architecture]) -> FloatArray:
    """Shape ``(len(archs), targets)``."""
    return np.stack([model.predict_mean(list(archs)) for model in models], axis=1)


def _first_places(values: FloatArray, rng: np.random.Generator) -> list[int]:
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


def directions(targets: int, rng: np.random.Generator) -> list[FloatArray]:
    """Weights that sum to one: of each target alone, and eight drawn evenly. Shapes ``(targets,)``."""
    if targets == 1:
        return [np.ones(1)]
    return [*np.eye(targets), *rng.dirichlet(np.ones(targets), DIRECTIONS)]


def front_pool(
    space: SearchSpace,
    weights: Sequence[FloatArray],
    scalarised: Callable[[FloatArray], tuple[Evaluator, Tables]],
    *,
    propose: Callable[[Tables], Iterator[Architecture]] | None = None,
    proposed: int = PROPOSED,
    steps: int = STEPS,
) -> dict[str, Architecture]:
    """For each direction the networks with the largest weighted sums of scores, and climbs from the best two of them.

    Args:
        space: The space.
        weights: Directions, each of shape ``(targets,)``.
        scalarised: Direction -> an evaluator, and scores of every unit's candidates on its scale.
        propose: Scores of every unit -> architectures, best first (default: the largest sums, exactly).
        proposed: Networks of each direction.
        steps: Of climbing on each.

    Returns:
        Architectures by key.
    """
    pools: dict[str, Architecture] = {}
    for weight in weights:
        evaluator, tables = scalarised(weight)
        archs = propose(tables) if propose is not None else (arch for _, arch in distinct(space, list(tables)))
        pool = Pool(space, evaluator)
        pool.add(itertools.islice(archs, proposed))
        pool.climb(climbers=2, steps=steps)
        pools |= pool.archs
    return pools
