"""Narrowing by what the best network probably is: joint draws of a model judge whole networks, not units one by one."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autobuild.construct.acquire import LEVEL, Uncertain, joint_draws, likely, pool_of
from autobuild.construct.limited import Limited
from autobuild.errors import ConfigError
from autobuild.spaces import Architecture, SearchSpace

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

PROPOSALS = 3_000  # networks looked at
JUDGED = 1_000  # of which are drawn, jointly
DRAWS = 256
RANKS = 20  # of every draw, the networks whose candidates count: more than the best one smooths 256 draws


@dataclass(frozen=True, eq=False)
class Probable:
    """How probable networks are among the best ones.

    Attributes:
        indices: Their candidates, ``(n, units)``.
        weight: Share of all draws' first 20 places that a network takes, ``(n,)``; sums to one.
        best: Share of the draws in which it is the best, ``(n,)``; sums to one. For several targets, where a draw has a
            front: see :func:`autobuild.construct.probable_front.probable_front`.
    """

    indices: IntArray
    weight: FloatArray
    best: FloatArray


def probable_networks(
    model: Uncertain,
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
        scores: Unit name -> scores of its candidates; they propose, with the model's own climbing.
        seed: Seed of the draws.
        limited: Limits that every network looked at has to satisfy.

    Raises:
        NoNetworkError: No network satisfies the limits.
    """
    found = pool_of(model, space, scores, PROPOSALS, limited=limited).values()
    pool = [arch for arch in found if limited is None or arch in space]
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


def narrow_probable(
    space: SearchSpace,
    scores: Mapping[str, FloatArray],
    probable: Probable,
    *,
    mass: float | None = None,
    share: float | None = None,
    of: int | None = None,
) -> tuple[SearchSpace, float]:
    """Drop candidates, those first with which least is lost.

    First go the candidates that no probable network has, those with the largest gap to their unit's best score first;
    then, one after another, the one whose probable networks weigh least for what it takes off the logarithm of the
    space's size.

    Args:
        space: The space.
        scores: Unit name -> scores of its candidates, on one scale.
        probable: What :func:`probable_networks` found.
        mass: Go on as long as the best network stays inside with this probability.
        share: Go on until at most this share is left (at least one network).
        of: Of how many architectures; those of ``space`` where None.

    Returns:
        The narrowed space, and the probability that the best network is in it.

    Raises:
        ConfigError: Unless one of ``mass`` and ``share`` is given, above 0 and up to 1.
    """
    for name, value in (("mass", mass), ("share", share)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < value <= 1):
            raise ConfigError(f"{name}={value!r}: a number above 0 and up to 1 is accepted")
    if (mass is None) == (share is None):
        raise ConfigError(f"narrow: given mass={mass} and share={share}; accepted: one of them")
    most = max(1, math.floor((of or space.size) * share)) if share is not None else 1
    dropping = _Dropping(space, [scores[unit.name] for unit in space.units], probable)
    dropping.improbable(most)
    while dropping.size > most and dropping.least(1 - mass if mass is not None else None):
        pass
    kept = {unit.name: rows for unit, rows in zip(space.units, dropping.kept, strict=True)}
    return space.restrict(kept), dropping.covered


class _Dropping:
    """What is still kept; candidates of all units stand in one row, unit after unit."""

    def __init__(self, space: SearchSpace, scores: Sequence[FloatArray], probable: Probable) -> None:
        self.sizes = [unit.size for unit in space.units]
        self.starts = np.cumsum([0, *self.sizes])
        self.unit = np.repeat(np.arange(len(self.sizes)), self.sizes)
        self.gap = np.concatenate([np.max(own) - own for own in scores])
        self.alive = np.ones(len(self.unit), dtype=bool)
        self.left = np.array(self.sizes)
        self.rows = probable.indices + self.starts[:-1]
        self.weight, self.best = probable.weight.copy(), probable.best.copy()

    @property
    def size(self) -> int:
        """Architectures left, exact."""
        return math.prod(int(n) for n in self.left)

    @property
    def covered(self) -> float:
        """Probability that the best network is left."""
        return float(self.best.sum())

    @property
    def kept(self) -> list[IntArray]:
        """Candidates left in each unit."""
        return [np.flatnonzero(self.alive[a:b]) for a, b in zip(self.starts, self.starts[1:], strict=False)]

    def improbable(self, most: int) -> None:
        """Drop candidates that none of the probable networks has until at most ``most`` architectures are left."""
        idle = np.ones(len(self.unit), dtype=bool)
        idle[self.rows[(self.weight > 0) | (self.best > 0)].ravel()] = False
        size = self.size
        for candidate in np.flatnonzero(idle)[np.argsort(-self.gap[idle], kind="stable")]:
            if size <= most:
                return
            unit = self.unit[candidate]
            size = size // int(self.left[unit]) * int(self.left[unit] - 1)
            self._drop(int(candidate))

    def least(self, may_lose: float | None) -> bool:
        """Drop the candidate with which least is lost; False where the probability lost would exceed ``may_lose``."""
        lost = np.bincount(self.rows.ravel(), np.repeat(self.weight, self.rows.shape[1]), len(self.unit))
        taken = np.log(self.left / np.maximum(self.left - 1, 1))[self.unit]
        able = self.alive & (self.left[self.unit] > 1)
        if may_lose is not None:
            best = np.bincount(self.rows.ravel(), np.repeat(self.best, self.rows.shape[1]), len(self.unit))
            able &= best <= may_lose - (1 - self.covered) + 1e-12
        if not able.any():
            return False
        worth = np.where(able, lost / np.maximum(taken, 1e-300), np.inf)
        least = np.flatnonzero(worth <= worth.min() * (1 + 1e-12))
        self._drop(int(least[np.argmax(self.gap[least])]))
        return True

    def _drop(self, candidate: int) -> None:
        self.alive[candidate] = False
        self.left[self.unit[candidate]] -= 1
        gone = (self.rows == candidate).any(axis=1)
        self.weight[gone] = self.best[gone] = 0.0


def widen(
    space: SearchSpace,
    small: SearchSpace,
    archs: Sequence[Architecture],
    scores: Mapping[str, FloatArray] | Sequence[Mapping[str, FloatArray]] | None = None,
    margin: float = 0.0,
) -> SearchSpace:
    """Give back what narrowing may have cut off too early: the surroundings of the best networks found.

    A network lies on the rim of a narrowed space where a candidate one step away from its own is in ``space`` but not
    in ``small``. These candidates come back; with ``scores`` (of the model that knows the new labels) only those that
    score as much as the network's own candidate less ``margin``.

    Args:
        space: The space that was narrowed.
        small: What was left.
        archs: The best networks found in ``small``.
        scores: Unit name -> scores of the candidates of ``space``; for several targets one of these for each, and a
            candidate comes back if it scores as much in all of them.
        margin: In units of the scores, such as the deviation of what their sums leave.

    Returns:
        The wider space; ``small`` itself where nothing comes back.

    Raises:
        ConfigError: The spaces do not have the same units.
    """
    if [unit.name for unit in space.units] != [unit.name for unit in small.units]:
        raise ConfigError(f"widen: {small.name!r} was not narrowed from {space.name!r}: their units differ")
    tables = [] if scores is None else [scores] if isinstance(scores, Mapping) else scores
    kept = [{wide.index(own) for own in unit} for wide, unit in zip(space.units, small.units, strict=True)]
    before = sum(map(len, kept))
    for arch in archs:
        own = space.indices(arch)
        for near in space.neighbours(arch):
            for place, index in enumerate(space.indices(near)):
                name, mine = space.units[place].name, own[place]
                if all(table[name][index] >= table[name][mine] - margin for table in tables):
                    kept[place].add(index)
    if sum(map(len, kept)) == before:
        return small
    return space.restrict({unit.name: sorted(own) for unit, own in zip(space.units, kept, strict=True)})
