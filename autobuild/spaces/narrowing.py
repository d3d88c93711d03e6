"""Make search spaces from others: keep fewer candidates per unit, or merge neighbouring units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from autobuild._typing import IntArray
from autobuild.errors import SpaceError, nearest
from autobuild.spaces.unit import Candidate, Unit

if TYPE_CHECKING:
    from autobuild.spaces.space import SearchSpace

MAX_ENUMERATED = 20_000_000


def restrict(
    space: SearchSpace,
    units: Mapping[Any, Any] | None = None,
    *,
    name: str | None = None,
    note: str = "",
    **values: Any,
) -> SearchSpace:
    """Narrow a search space to some candidates; the result is a search space of the same family.

    Args:
        space: The space to narrow.
        units: Unit (name or number) -> candidates to keep: indices, texts or :class:`Candidate` objects.
        name: Name of the new space (default: the name of ``space``).
        note: Text stored with the new space.
        **values: ``kernel=(3, 5)`` keeps candidates whose every layer has a listed value of that feature;
            ``depth=(2, 3)`` keeps candidates of a listed total depth, in units that have a choice of depth.

    Returns:
        The narrowed space.

    Raises:
        SpaceError: A unit, candidate, feature or value is unknown, or a unit would be left empty.
    """
    if not isinstance(units, Mapping | None):
        raise SpaceError(f"units={units!r}: accepted is a mapping, such as {{{space.units[0].name!r}: [0, 1]}}")
    new = list(space.units)
    for unit, wanted in (units or {}).items():
        number = space.unit_number(unit)
        new[number] = new[number].restricted(_indices(new[number], wanted))
    if values:
        allowed = _check_values(space, values)
        new = [unit.restricted(_matching(unit, allowed)) for unit in new]
    return space.replaced(new, name=name, note=note or space.note)


def _indices(unit: Unit, wanted: Any) -> IntArray:
    if isinstance(wanted, np.ndarray) and wanted.dtype.kind in "iu":
        indices = wanted.astype(np.int64).ravel()
    else:
        listed = list(wanted) if isinstance(wanted, Iterable) and not isinstance(wanted, str) else [wanted]
        for given in listed:
            if isinstance(given, bool | np.bool_) or not isinstance(given, str | Candidate | Integral):
                raise SpaceError(
                    f"unit {unit.name!r}: {given!r}: accepted are indices, texts and candidates; a mask is "
                    "np.flatnonzero(mask)"
                )
        indices = np.array(
            [unit.index(w) if isinstance(w, str | Candidate) else int(w) for w in listed], dtype=np.int64
        )
    outside = indices[(indices < 0) | (indices >= unit.size)]
    if len(outside):
        raise SpaceError(f"unit {unit.name!r} has candidates 0 to {unit.size - 1:,}; {int(outside[0])} is not one")
    return indices


def _check_values(space: SearchSpace, values: Mapping[str, Any]) -> dict[str, set[Any]]:
    known: dict[str, tuple[Any, ...]] = {feature.name: feature.values for feature in space.features}
    known["depth"] = tuple(sorted({depth for unit in space.units for depth in unit.depths}))
    allowed = {}
    for name, given in values.items():
        if name not in known:
            raise SpaceError(f"search space {space.name!r} has no feature {name!r}: {nearest(name, known)}")
        wanted = set(given) if isinstance(given, Iterable) and not isinstance(given, str) else {given}
        for value in wanted - set(known[name]):
            raise SpaceError(f"{name} is never {value!r} in {space.name!r}: {nearest(value, known[name])}")
        allowed[name] = wanted
    return allowed


def _matching(unit: Unit, allowed: Mapping[str, set[Any]]) -> IntArray:
    if unit.size > MAX_ENUMERATED:
        raise SpaceError(
            f"unit {unit.name!r} has {unit.size:,} candidates; restricting by value lists them all, which "
            f"is done up to {MAX_ENUMERATED:,}: declare a smaller space instead"
        )
    indices = np.arange(unit.size)
    keep = np.ones(unit.size, dtype=bool)
    if "depth" in allowed and len(unit.depths) > 1:
        keep &= np.isin(unit.depth_of(indices), sorted(allowed["depth"]))
    for stage, runs in zip(unit.stages, unit.runs(indices), strict=True):
        names = [feature.name for feature in stage.features]
        wanted = {names.index(name): values for name, values in allowed.items() if name in names}
        fits = [all(layer[place] in values for place, values in wanted.items()) for layer in stage.layers]
        keep &= np.array([*fits, True])[runs].all(axis=1)  # -1 (no layer) reads the last entry
    return np.flatnonzero(keep)


def join_units(space: SearchSpace, *units: str | int) -> SearchSpace:
    """Merge neighbouring units into one, whose candidates are all combinations. Texts stay the same.

    Args:
        space: The search space.
        *units: Two or more neighbouring units, by name or number.

    Returns:
        A space of the same architectures with fewer, larger units.

    Raises:
        SpaceError: A unit is unknown, or the units are not neighbours.
    """
    numbers = sorted({space.unit_number(unit) for unit in units})
    if len(numbers) < 2 or numbers != list(range(numbers[0], numbers[-1] + 1)):
        raise SpaceError(f"join_units takes two or more neighbouring units; {list(units)} were given")
    parts = [space.units[number] for number in numbers]
    kept: IntArray | None = None
    if any(part.kept is not None for part in parts):
        kept = np.zeros(1, dtype=np.int64)
        for part in parts:
            kept = (kept[:, None] * part.full_size + part.base_indices(np.arange(part.size))[None, :]).ravel()
    joined = Unit(
        "+".join(part.name for part in parts), [stage for part in parts for stage in part.stages], kept, space.separator
    )
    return space.replaced([*space.units[: numbers[0]], joined, *space.units[numbers[-1] + 1 :]], note=space.note)
