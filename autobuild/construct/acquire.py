"""Which networks to evaluate next: the predicted best, and beside them those that may well be better."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autobuild.construct.building import check_top, distinct
from autobuild.construct.computed import Computed, judge_of
from autobuild.construct.limited import Limited
from autobuild.construct.refine import Pool, layers_apart, refine
from autobuild.errors import ConfigError, nearest
from autobuild.spaces import Architecture, SearchSpace

FloatArray = NDArray[np.float64]

ACQUISITIONS = ("balanced", "predicted", "upper")
EXPLOIT = 0.3  # share of a balanced batch that is simply the predicted best
LEVEL = 0.8  # of the interval whose upper bound is hoped for
PROPOSALS = 3_000
HOPEFUL = 200  # of the predicted best, from which the upper bound is climbed
DRAWN = 800  # networks of a joint draw, whose cost grows with the cube of their number
NORMAL_80 = 1.2816  # half-width of an 80 % interval in standard deviations
APART = 2  # layers in which networks of a batch differ where nothing else keeps them apart


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
    model: Uncertain,
    scores: Mapping[str, FloatArray],
    count: int,
    seed: int = 0,
    known: Iterable[Architecture] = (),
    *,
    by: str = "balanced",
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
        by: ``"balanced"``; ``"predicted"``: the predicted best only; ``"upper"``: the best by the upper bound of the
            80 % interval, apart as above.
        space: Where to choose: the model's space (default), or one narrowed or joined from it, which ``scores`` are of.

    Returns:
        Distinct networks (by ``space.key``), none of them known, in order of choice; fewer than ``count`` where the
        pool has no more.

    Raises:
        ConfigError: For an unusable ``count`` or ``by``, or scores that are missing.
    """
    if by not in ACQUISITIONS:
        raise ConfigError(f"acquisition={by!r}: {nearest(by, ACQUISITIONS)}")
    check_top(count)
    space = space or model.space
    taken = {space.key(arch) for arch in itertools.chain(model.training_archs, known)}
    pool = pool_of(model, space, scores, len(taken) + max(PROPOSALS, count))
    archs = [arch for key, arch in pool.items() if key not in taken]
    if not archs:
        return []
    predicted, _, upper = model.intervals(archs, LEVEL)
    upper = np.where(np.isfinite(upper), upper, predicted)  # too few rows were held out for a bound
    if by == "predicted":
        return [archs[place] for place in _order(predicted, archs)[:count]]
    if by == "upper":
        return [archs[place] for place in _apart(archs, _order(upper, archs), [], count)]
    places = _order(predicted, archs)[: max(1, math.floor(EXPLOIT * count))]
    return [archs[place] for place in _explored(model, archs, predicted, upper, places, count, seed)]


def _explored(
    model: Uncertain,
    archs: list[Architecture],
    predicted: FloatArray,
    upper: FloatArray,
    places: list[int],
    count: int,
    seed: int,
) -> list[int]:
    """Fill a batch that begins with ``places``: the best of one draw each, or the best upper bounds."""
    hopeful = list(dict.fromkeys([*places, *likely(archs, predicted, upper, DRAWN)]))
    wanted = min(count, len(hopeful)) - len(places)
    draws = model.draw([archs[place] for place in hopeful], wanted, seed) if wanted > 0 else None
    if draws is None:
        return _apart(archs, _order(upper, archs), places, count)
    chosen = list(places)
    free = np.ones(len(hopeful), dtype=bool)
    free[: len(places)] = False
    for draw in draws:
        best = int(np.where(free, draw, -np.inf).argmax())
        free[best] = False
        chosen.append(hopeful[best])
    return chosen


def pool_of(
    model: Uncertain,
    space: SearchSpace,
    scores: Mapping[str, FloatArray],
    most: int,
    *,
    limited: Limited | None = None,
) -> dict[str, Architecture]:
    """Networks worth a look, by key: the ``most`` best sums, and climbs from there by prediction and bound.

    With limits, only networks that satisfy them.
    """
    tables = [scores[unit.name] if unit.name in scores else _missing(unit.name) for unit in space.units]
    proposals = limited.proposals() if limited else (arch for _, arch in distinct(space, tables))
    feasible = limited.feasible if limited else None
    judge = judge_of(model, space, lambda part: part.predict_mean)
    proposed = refine(space, proposals, judge, feasible=feasible, most=most)
    hopeful = Pool(space, judge_of(model, space, _upper), feasible)
    hopeful.add(proposed.archs[key] for key in proposed.best(HOPEFUL))
    hopeful.climb()
    if isinstance(judge, Computed):  # what is not settled is not looked at any further
        return {key: pool.archs[key] for pool in (proposed, hopeful) for key in pool.best(HOPEFUL)}
    return proposed.archs | hopeful.archs


def _upper(model: Uncertain) -> Callable[[Sequence[Architecture]], FloatArray]:
    def upper(archs: Sequence[Architecture]) -> FloatArray:
        predicted, _, bound = model.intervals(list(archs), LEVEL)
        return np.where(np.isfinite(bound), bound, predicted)

    return upper


def likely(archs: Sequence[Architecture], predicted: FloatArray, upper: FloatArray, most: int) -> list[int]:
    """Places of the networks that may be the best, at most ``most``: half by upper bound, half by prediction."""
    return list(dict.fromkeys([*_order(upper, archs)[: most // 2], *_order(predicted, archs)[: most // 2]]))


def joint_draws(model: Uncertain, archs: Sequence[Architecture], count: int, seed: int) -> FloatArray:
    """Joint draws, or independent ones within the interval of a model that draws nothing. Shape ``(count, n)``."""
    drawn = model.draw(archs, count, seed)
    if drawn is not None:
        return drawn
    predicted, _, upper = model.intervals(archs, LEVEL)
    sd = np.where(np.isfinite(upper), upper - predicted, 0) / NORMAL_80
    return predicted + sd * np.random.default_rng(seed).normal(size=(count, len(archs)))


def _missing(name: str) -> FloatArray:
    raise ConfigError(f"unit {name!r} needs one score for each of its candidates")


def _order(values: FloatArray, archs: Sequence[Architecture]) -> list[int]:
    """Places, best first; ties in order of the networks' texts."""
    return sorted(range(len(archs)), key=lambda place: (-values[place], archs[place].text))


def _apart(archs: Sequence[Architecture], order: Sequence[int], places: Sequence[int], count: int) -> list[int]:
    """Add to ``places`` from ``order`` what differs from every place in at least two layers, then what is left."""
    chosen = list(places)
    for place in order:
        if len(chosen) == count:
            return chosen
        if place not in chosen and all(layers_apart(archs[place], archs[other]) >= APART for other in chosen):
            chosen.append(place)
    left = (place for place in order if place not in set(chosen))
    return [*chosen, *itertools.islice(left, count - len(chosen))]
