"""Narrowing: keep only the best candidates of each unit; what is left is a search space again."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autobuild.errors import ConfigError, nearest
from autobuild.spaces.sizes import readable_count

if TYPE_CHECKING:
    from autobuild.spaces import SearchSpace


def narrow_rows(scores: ArrayLike, top: int | None = None, threshold: float | None = None) -> NDArray[np.int64]:
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
    every = [scores_by_unit] if isinstance(scores_by_unit, Mapping) else scores_by_unit
    rows = [_kept(space, own, top, threshold) for own in every]
    return space.restrict(
        {unit.name: np.unique(np.concatenate([own[unit.name] for own in rows])) for unit in space.units}
    )


def _kept(
    space: SearchSpace, scores_by_unit: Mapping[str, ArrayLike], top: int | None, threshold: float | None
) -> dict[str, NDArray[np.int64]]:
    """Indices of the candidates that stay, unit by unit."""
    names = [unit.name for unit in space.units]
    for name in scores_by_unit:
        if name not in names:
            raise ConfigError(f"scores of unit {name!r}: no such unit in {space.name}; {nearest(name, names)}")
    kept: dict[str, NDArray[np.int64]] = {}
    for unit in space.units:
        if unit.name not in scores_by_unit:
            raise ConfigError(f"scores of unit {unit.name!r}: missing; given: {', '.join(scores_by_unit) or 'none'}")
        values = np.asarray(scores_by_unit[unit.name], dtype=np.float64)
        if values.shape != (unit.size,):
            raise ConfigError(f"scores of unit {unit.name!r}: given shape {values.shape}, accepted: ({unit.size},)")
        try:
            kept[unit.name] = narrow_rows(values, top, threshold)
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
