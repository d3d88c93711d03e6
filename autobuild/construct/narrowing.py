"""Narrowing: keep only some candidates of each unit, by their scores or by what the best network probably has."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from autobuild._typing import FloatArray, IntArray
from autobuild.errors import ConfigError, nearest
from autobuild.spaces.sizes import readable_count

if TYPE_CHECKING:
    from autobuild.construct._posterior import Probable
    from autobuild.spaces import Architecture, SearchSpace


def narrow_rows(scores: ArrayLike, top: int | None = None, threshold: float | None = None) -> IntArray:
    """Which candidates of one unit are kept, as ascending indices; never none.

    Args:
        scores: Scores of the unit's candidates, shape (unit size,).
        top: Keep this many best ones, >= 1 (all where the unit has fewer); of equal scores the lower index is kept.
        threshold: Keep those that score at least this much, or the single best one where none does. With ``top`` as
            well, both must hold.

    Raises:
        ConfigError: neither limit given, ``top`` below 1, ``threshold`` or a score NaN, or no candidate.
    """
    values = np.asarray(scores, dtype=np.float64)
    if top is None and threshold is None:
        raise ConfigError("narrow: given neither top nor threshold, accepted: one of them or both")
    if top is not None and (isinstance(top, bool) or not isinstance(top, numbers.Integral) or top < 1):
        raise ConfigError(f"top: given {top!r}, accepted: a whole number from 1")
    if threshold is not None and (not isinstance(threshold, numbers.Real) or math.isnan(threshold)):
        raise ConfigError(f"threshold: given {threshold!r}, accepted: a number")
    if values.ndim != 1 or values.size == 0:
        raise ConfigError(f"scores: given shape {values.shape}, accepted: (candidates,), at least one")
    bad = np.flatnonzero(np.isnan(values))
    if bad.size:
        raise ConfigError(f"scores: candidate {bad[0]} has NaN ({bad.size} such in all), accepted: numbers")
    best_first = np.argsort(-values, kind="stable")
    count = values.size if top is None else min(int(top), values.size)
    if threshold is not None:
        count = min(count, int((values >= threshold).sum()))
    return np.sort(best_first[: max(count, 1)]).astype(np.int64)


def narrow_units(
    space: SearchSpace,
    scores_by_unit: Mapping[str, ArrayLike] | Sequence[Mapping[str, ArrayLike]],
    top: int | None = None,
    threshold: float | None = None,
) -> SearchSpace:
    """The space whose units keep only their best candidates (see :func:`narrow_rows`).

    Args:
        space: The space to narrow.
        scores_by_unit: For each unit's name the scores of its candidates in the order of their indices, (unit size,);
            for several targets one such mapping each: what is kept for any of them is kept.
        top: Keep this many best candidates of each unit.
        threshold: Keep the candidates that score at least this much.

    Raises:
        ConfigError: a unit that the space does not have, one without scores, a wrong number of scores, or whatever
            :func:`narrow_rows` refuses (the message names the unit).
    """
    targets = [scores_by_unit] if isinstance(scores_by_unit, Mapping) else scores_by_unit
    kept = [_kept(space, scores, top, threshold) for scores in targets]
    return space.restrict(
        {unit.name: np.unique(np.concatenate([rows[unit.name] for rows in kept])) for unit in space.units}
    )


def _kept(
    space: SearchSpace, scores_by_unit: Mapping[str, ArrayLike], top: int | None, threshold: float | None
) -> dict[str, IntArray]:
    """Indices of the candidates that stay, unit by unit."""
    names = [unit.name for unit in space.units]
    for name in scores_by_unit:
        if name not in names:
            raise ConfigError(f"scores of unit {name!r}: no such unit in {space.name}; {nearest(name, names)}")
    kept: dict[str, IntArray] = {}
    for unit in space.units:
        if unit.name not in scores_by_unit:
            raise ConfigError(f"scores of unit {unit.name!r}: missing; given: {', '.join(scores_by_unit) or 'none'}")
        shape = np.shape(scores_by_unit[unit.name])
        if shape != (unit.size,):
            raise ConfigError(f"scores of unit {unit.name!r}: given shape {shape}, accepted: ({unit.size},)")
        try:
            kept[unit.name] = narrow_rows(scores_by_unit[unit.name], top, threshold)
        except ConfigError as error:
            raise ConfigError(f"unit {unit.name!r}: {error}") from error
    return kept


def narrowing_note(before: SearchSpace, after: SearchSpace) -> str:
    """One line that says how large the space was and is: in architectures, and in candidates of each unit."""
    units = ", ".join(
        f"{old.name} {readable_count(old.size)} -> {readable_count(new.size)}"
        for old, new in zip(before.units, after.units, strict=True)
    )
    return (
        f"{before.name}: {readable_count(before.size)} -> {readable_count(after.size)} architectures "
        f"(candidates: {units})"
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
    most = max(1, math.floor((of or space.size) * Fraction(str(share)))) if share is not None else 1
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
        self.gap = np.concatenate([np.max(table) - table for table in scores])
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
    """Add candidates back to a narrowed space: those one step away from the candidates of the best networks found.

    With ``scores`` (of the model that knows the new labels) only candidates come back that score at least as much as
    the network's present candidate less ``margin``.

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
    kept = [{wide.index(candidate) for candidate in unit} for wide, unit in zip(space.units, small.units, strict=True)]
    before = sum(map(len, kept))
    for arch in archs:
        present = space.indices(arch)
        for near in space.neighbours(arch):
            for place, index in enumerate(space.indices(near)):
                name = space.units[place].name
                if all(table[name][index] >= table[name][present[place]] - margin for table in tables):
                    kept[place].add(index)
    if sum(map(len, kept)) == before:
        return small
    return space.restrict({unit.name: sorted(rows) for unit, rows in zip(space.units, kept, strict=True)})
