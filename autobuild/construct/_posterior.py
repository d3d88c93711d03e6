"""Which networks are the best ones, or on the Pareto front, in joint draws from the posterior of fitted models."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autobuild._typing import FloatArray, IntArray
from autobuild.construct._evaluators import Evaluator, WithinLimits, evaluator_of
from autobuild.construct.acquisition import (
    AROUND,
    LEVEL,
    PROPOSALS,
    PROPOSED,
    STEPS,
    Tables,
    directions,
    front_pool,
    joint_draws,
    likely,
    pool_of,
    upper_bound,
)
from autobuild.construct.dominance import first_fronts, fronts, undominated
from autobuild.construct.limits import Limited
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.additive import Additive

if TYPE_CHECKING:
    from autobuild.models import FittedModel

JUDGED = 1_000  # of which are drawn, jointly
DRAWS = 256
DRAWN_AT_RANDOM = 200  # networks that say, with the best and those fitted, how far the targets range
RANKS = 20  # of every draw, the networks whose candidates count: more than the best one smooths 256 draws


@dataclass(frozen=True, eq=False)
class Probable:
    """How probable networks are among the best ones.

    Attributes:
        indices: Their candidates, ``(n, units)``.
        weight: Share of all draws' first 20 places that a network takes, ``(n,)``; sums to one.
        best: Share of the draws in which it is the best, ``(n,)``; sums to one. For several targets, where a draw has a
            front: see :func:`probable_front`.
    """

    indices: IntArray
    weight: FloatArray
    best: FloatArray


def probable_networks(
    model: FittedModel,
    space: SearchSpace,
    scores: Mapping[str, FloatArray],
    *,
    seed: int = 0,
    limited: Limited | None = None,
) -> Probable:
    """Draw what all labels may be, jointly, and count which networks come out best.

    Args:
        model: The fitted model. One without draws is drawn within its intervals, each network by itself.
        space: Where to look.
        scores: Unit name -> scores of its candidates; their sums propose, and the model climbs from there.
        seed: Seed of the draws.
        limited: Limits that every network has to satisfy.

    Raises:
        NoNetworkError: No network satisfies the limits.
    """
    candidates = pool_of(model, space, scores, PROPOSALS, limited=limited).values()
    pool = [arch for arch in candidates if limited is None or arch in space]
    if not pool:
        assert limited is not None
        raise limited.refuse()
    predicted, _, upper = model.intervals(pool, LEVEL)
    upper = np.where(np.isfinite(upper), upper, predicted)
    archs = [pool[place] for place in likely(pool, predicted, upper, JUDGED)]
    drawn = joint_draws(model, archs, DRAWS, seed)
    order = np.argsort(-drawn, axis=1, kind="stable")
    return Probable(
        np.array([space.indices(arch) for arch in archs], dtype=np.int64),
        np.bincount(order[:, :RANKS].ravel(), minlength=len(archs)) / order[:, :RANKS].size,
        np.bincount(order[:, 0], minlength=len(archs)) / len(drawn),
    )


def probable_front(
    models: Sequence[FittedModel],
    space: SearchSpace,
    scores: Sequence[Mapping[str, FloatArray]],
    *,
    seed: int = 0,
    limited: Limited | None = None,
) -> Probable:
    """Draw what the labels of all targets may be, and count which networks come out on the front.

    Every target is drawn jointly over one pool of networks, by its own model and from random numbers of its own. In
    each draw, whatever the size of its front, the members share one vote; so what is left of all votes in a narrowed
    space is the share of the front that stays inside, in expectation. The pool is proposed by weighted sums of the
    scores and climbed by predictions and by their upper bounds; of it those networks are drawn that come first, front
    after front, by upper bound and by prediction.

    Args:
        models: The fitted models, one a target; all targets are maximised. One without draws is drawn within its
            intervals, each network by itself.
        space: Where to look.
        scores: For each model, unit name -> scores of its candidates: those of ``space``, or of the space of
            ``limited``, which may be wider.
        seed: Seed of everything random.
        limited: Limits that every network has to satisfy.

    Returns:
        ``best``: the share of the votes; ``weight``: the same, counted over as many whole fronts of every draw as hold
        20 networks.

    Raises:
        NoNetworkError: No network satisfies the limits.
    """
    rng = np.random.default_rng(seed)
    means = _Asked(len(models), lambda archs: [model.predict_mean(archs) for model in models])
    uppers = _Asked(len(models), lambda archs: [upper_bound(model, archs) for model in models])
    pool = _pool(models, space, scores, means, uppers, rng, limited)
    valued = np.asarray(np.isfinite(means(pool)).all(axis=1))
    archs = [arch for arch, good in zip(pool, valued, strict=True) if good and (limited is None or arch in space)]
    if not archs:
        assert limited is not None
        raise limited.refuse()
    first = [first_fronts(asked(archs), JUDGED // 2, rng) for asked in (uppers, means)]
    archs = [archs[place] for place in dict.fromkeys(itertools.chain(*first))]
    seeds = rng.integers(2**31, size=len(models)).tolist()
    drawn = np.stack(
        [joint_draws(model, archs, DRAWS, each) for model, each in zip(models, seeds, strict=True)],
        axis=2,
    )
    weight, best = _votes(drawn)
    return Probable(np.array([space.indices(arch) for arch in archs], dtype=np.int64), weight, best)


def front_scores(scores: Sequence[Mapping[str, FloatArray]], seed: int = 0) -> dict[str, FloatArray]:
    """Scores for several targets at once: minus the smallest gap to a unit's best candidate in any direction.

    Args:
        scores: For each target, unit name -> scores of its candidates.
        seed: Of the directions.

    Returns:
        Unit name -> scores, 0 for a candidate that is best in some weighted sum of the targets; the unit of each target
        is what its sums range over.
    """
    spans = [sum(float(np.ptp(table)) for table in target.values()) or 1.0 for target in scores]
    weights = np.array(directions(len(scores), np.random.default_rng(seed))) / spans
    joined: dict[str, FloatArray] = {}
    for name in scores[0]:
        sums = weights @ np.stack([target[name] for target in scores])  # (directions, candidates)
        joined[name] = (sums - sums.max(axis=1, keepdims=True)).max(axis=0)
    return joined


class _Asked:
    """Numbers of networks, each network asked about once. Shape ``(n, columns)``."""

    def __init__(self, columns: int, ask: Callable[[list[Architecture]], list[FloatArray]]) -> None:
        self.columns, self.ask = columns, ask
        self.known: dict[str, FloatArray] = {}

    def __call__(self, archs: Sequence[Architecture]) -> FloatArray:
        new = list({arch.text: arch for arch in archs if arch.text not in self.known}.values())
        if new:
            self.known.update(zip((arch.text for arch in new), np.stack(self.ask(new), axis=1), strict=True))
        return np.array([self.known[arch.text] for arch in archs]).reshape(len(archs), self.columns)


def _pool(
    models: Sequence[FittedModel],
    space: SearchSpace,
    scores: Sequence[Mapping[str, FloatArray]],
    means: _Asked,
    uppers: _Asked,
    rng: np.random.Generator,
    limited: Limited | None,
) -> list[Architecture]:
    """Networks that may be on the front, each once."""
    wide = space if limited is None else limited.space
    known = {arch.text: arch for model in models for arch in model.training_archs if arch in wide}
    ends = [wide.assemble([int(target[unit.name].argmax()) for unit in wide.units]) for target in scores]
    start = [*ends, *known.values(), *wide.sample(DRAWN_AT_RANDOM, rng, "uniform")]
    low, span = _range(means(start))
    weights = directions(len(models), rng)

    def propose(tables: Tables) -> Iterator[Architecture]:
        assert limited is not None
        score, work = Additive(0.0, tuple(tables)), limited.max_work // len(weights)
        part = Limited(wide, score, limited.limits, limited.metrics, limited.time_limit_s, max_work=work)
        return part.proposals()

    def pool(asked: _Asked, proposed: int, steps: int) -> dict[str, Architecture]:
        def scalarised(weight: FloatArray) -> tuple[Evaluator, Tables]:
            shares = weight / span
            tables = [sum(w * table[unit.name] for w, table in zip(shares, scores, strict=True)) for unit in wide.units]
            evaluator = Evaluator(lambda archs: (asked(archs) - low) @ shares)
            return WithinLimits(evaluator, limited, lazily=False) if limited else evaluator, tables

        return front_pool(
            wide, weights, scalarised, propose=propose if limited else None, proposed=proposed, steps=steps
        )

    # Where a target takes a graph for each network, there is no climbing.
    slow = not all(evaluator_of(model, wide, lambda part: part.predict_mean).cheap for model in models)
    pooled = pool(means, PROPOSED, 0 if slow else STEPS)
    if not slow:
        pooled |= pool(uppers, PROPOSED // 4, STEPS)
    pooled |= _feasible({wide.key(arch): arch for arch in start}, limited)
    archs = list(pooled.values())
    front = [archs[place] for place in undominated(np.nan_to_num(means(archs), nan=-np.inf))] if archs else []
    some = np.unique(np.linspace(0, len(front) - 1, AROUND).round().astype(int)).tolist() if front and not slow else []
    near = itertools.chain.from_iterable(wide.neighbours(front[place]) for place in some)
    return list((pooled | _feasible({wide.key(arch): arch for arch in near}, limited)).values())


def _feasible(archs: dict[str, Architecture], limited: Limited | None) -> dict[str, Architecture]:
    if limited is None or not archs:
        return archs
    return {key: archs[key] for key, good in zip(archs, limited.feasible(list(archs.values())), strict=True) if good}


def _range(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Least value and range of every target over the front of some networks, or over all where that has no range."""
    rows = values[np.isfinite(values).all(axis=1)]
    if not len(rows):
        return np.zeros(values.shape[1]), np.ones(values.shape[1])
    front = rows[undominated(rows)]
    span = np.where(np.ptp(front, axis=0) > 0, np.ptp(front, axis=0), np.ptp(rows, axis=0))
    return front.min(axis=0), np.where(span > 0, span, 1.0)


def _votes(drawn: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Shares of places on the fronts of draws ``(draws, n, targets)``: over whole fronts of at least 20 networks in
    all, and over the first front. Shapes: twice ``(n,)``."""
    weight, best = np.zeros(drawn.shape[1]), np.zeros(drawn.shape[1])
    for draw in drawn:
        places: list[int] = []
        for front in fronts(draw):
            if not places:
                best[front] += 1 / len(front)
            places += front.tolist()
            if len(places) >= RANKS:
                break
        weight[places] += 1 / len(places)
    return weight / len(drawn), best / len(drawn)
