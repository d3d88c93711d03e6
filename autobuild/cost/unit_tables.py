"""Costs as sums over units: for each unit a table of its candidates, if the cost is additive over units."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autobuild._typing import IntArray
from autobuild.cost.choice_tables import ChoiceTables
from autobuild.cost.layer_tables import INPUT, CostTables, cost_tables
from autobuild.errors import SpaceError, nearest
from autobuild.spaces import SearchSpace, Unit
from autobuild.spaces.additive import Additive, Bounds
from autobuild.spaces.blocks import Tally

MAX_CANDIDATES = 5_000_000  # of one unit


def unit_tables(
    space: SearchSpace, cost: str, num_classes: int | None = None, input_shape: tuple[int, int, int] | None = None
) -> Additive:
    """A cost as ``constant + sum over units``, equal to ``costs_of(space)[cost]`` for every architecture.

    Args:
        space: The space; it may be narrowed, and its units may be joined.
        cost: ``params``, ``macs`` or another cost of the space.
        num_classes: As for :func:`~autobuild.cost.costs_of`.
        input_shape: As for :func:`~autobuild.cost.costs_of`.

    Raises:
        SpaceError: The cost is unknown, the space has no tables, or the cost is not additive over units. The message
            names the part that depends on several units, and these units.
    """
    tables, rules = cost_tables(space, num_classes, input_shape)
    if cost not in rules:
        raise SpaceError(f"space {space.name!r} has no cost {cost!r}: {nearest(cost, rules)}")
    if tables is None:
        raise SpaceError(f"{cost} of {space.name!r} is counted from whole networks: it has no tables over units")
    if isinstance(tables, ChoiceTables):
        return tables.additive(cost)
    weights = np.array([rules[cost].get(name, 0) for name in tables.fields], dtype=np.int64)
    _check_sizes(space)
    owners = [number for number, unit in enumerate(space.units) for _ in unit.stages]
    runs = [unit.runs(np.arange(unit.size)) for unit in space.units]
    sizeless = {Tally._fields.index("params"), *range(len(Tally._fields), len(tables.fields))}
    only_params = set(np.flatnonzero(weights)) <= sizeless
    constant = 0
    out = [np.zeros(unit.size, dtype=np.int64) for unit in space.units]
    for part in tables.parts:
        places = [*tables.context[part], *([tables.stage_index[part]] if part in tables.stage_index else [])]
        if only_params:  # which never depend on the size of the input
            places = [place for place in places if place != tables.stage_index.get(INPUT)]
        free = [owner for owner in dict.fromkeys(owners[place] for place in places) if space.units[owner].size > 1]
        if len(free) > 1:
            names = [space.units[owner].name for owner in free]
            raise SpaceError(
                f"{cost} of {space.name!r} is not a sum over units: what {part!r} costs depends on "
                f"{' and '.join(names)} together (accepted: such units joined into one, or narrowed to one candidate)"
            )
        if not free:
            constant += int(_part(tables, part, weights, space.units, owners, runs, None)[0])
        else:
            out[free[0]] += _part(tables, part, weights, space.units, owners, runs, free[0])
    return Additive(float(constant), tuple(table.astype(np.float64) for table in out))


def _part(
    tables: CostTables,
    part: str,
    weights: IntArray,
    units: Sequence[Unit],
    owners: Sequence[int],
    runs: Sequence[Sequence[IntArray]],
    free: int | None,
) -> NDArray[Any]:
    """Cost of a part for every candidate of the unit that it depends on; shape ``(1,)`` if it depends on none."""
    first = {owner: owners.index(owner) for owner in owners}
    count = 1 if free is None else units[free].size

    def digits(place: int) -> IntArray:
        owner = owners[place]
        own = runs[owner][place - first[owner]]
        return own if owner == free else np.repeat(own[:1], count, axis=0)

    context = [digits(place) for place in tables.context[part]]
    joined = np.concatenate([np.zeros((count, 1), dtype=np.int64), *context], axis=1)
    distinct, group = np.unique(joined, axis=0, return_inverse=True)
    out: NDArray[Any] = np.zeros(count, dtype=tables.dtype)
    widths = np.cumsum([1, *(run.shape[1] for run in context)])
    for number, row in enumerate(distinct):
        chosen = tuple(
            tuple(int(digit) for digit in row[start:stop] if digit >= 0)
            for start, stop in itertools.pairwise(widths.tolist())
        )
        entries = tables.table(part, chosen) @ weights
        members = np.flatnonzero(group.reshape(-1) == number)
        if part not in tables.stage_index:
            out[members] = entries[0, 0]
        else:  # after the last layer digits are -1, which selects the last entry (no layer)
            own = digits(tables.stage_index[part])[members]
            out[members] = entries[np.arange(own.shape[1]), own].sum(axis=1)
    return out


def enclosing(space: SearchSpace, tables: CostTables, lower: str, upper: str) -> Bounds:
    """Lower and upper bounds as sums over units, from two fields of tables.

    A part that depends on several units is counted in the table of its own unit, with the minimum (maximum) over the
    choices of the other units.

    Args:
        space: The space; it may be narrowed, and its units may be joined.
        tables: Tables of the space.
        lower: Name of the field with lower bounds.
        upper: Name of the field with upper bounds.

    Raises:
        SpaceError: A unit has too many candidates.
    """
    _check_sizes(space)
    low, high = ([int(name == field) for name in tables.fields] for field in (lower, upper))
    found = _enclosed(space, tables, np.array(low), np.minimum), _enclosed(space, tables, np.array(high), np.maximum)
    same = found[0].constant == found[1].constant and all(map(np.array_equal, found[0].tables, found[1].tables))
    return Bounds(found[0], found[0] if same else found[1])


def _enclosed(space: SearchSpace, tables: CostTables, weights: IntArray, worse: np.ufunc) -> Additive:
    owners = [number for number, unit in enumerate(space.units) for _ in unit.stages]
    runs = [unit.runs(np.arange(unit.size)) for unit in space.units]
    constant = 0.0
    out = [np.zeros(unit.size) for unit in space.units]
    for part in tables.parts:
        own = [tables.stage_index[part]] if part in tables.stage_index else []
        free = dict.fromkeys(owners[place] for place in [*own, *tables.context[part]])
        chosen = [owner for owner in free if space.units[owner].size > 1]
        others = [_distinct(tables, part, owner, owners, runs) for owner in chosen[1:]]
        value = None
        for given in itertools.product(*others):
            row_of = dict(zip(chosen[1:], given, strict=True))
            held = [
                [column[row_of[owner] : row_of[owner] + 1] for column in run] if owner in row_of else run
                for owner, run in enumerate(runs)
            ]
            one = _part(tables, part, weights, space.units, owners, held, chosen[0] if chosen else None)
            value = one if value is None else worse(value, one)
        assert value is not None
        if chosen:
            out[chosen[0]] += value
        else:
            constant += float(value[0])
    return Additive(constant, tuple(out))


def _distinct(
    tables: CostTables, part: str, owner: int, owners: Sequence[int], runs: Sequence[Sequence[IntArray]]
) -> list[int]:
    """One candidate of a unit for each distinct effect on a part."""
    first = owners.index(owner)
    columns = [runs[owner][place - first] for place in tables.context[part] if owners[place] == owner]
    _, rows = np.unique(np.concatenate(columns, axis=1), axis=0, return_index=True)
    return [int(row) for row in rows]


def _check_sizes(space: SearchSpace) -> None:
    for unit in space.units:
        if unit.size > MAX_CANDIDATES:
            raise SpaceError(f"unit {unit.name!r} has {unit.size:,} candidates: up to {MAX_CANDIDATES:,} are listed")


def additive_costs(space: SearchSpace, names: Sequence[str]) -> tuple[dict[str, Additive], Mapping[str, str]]:
    """Tables of the costs that are additive over units; for the others the reason why they are not."""
    found: dict[str, Additive] = {}
    reasons: dict[str, str] = {}
    for name in names:
        try:
            found[name] = unit_tables(space, name)
        except SpaceError as error:
            reasons[name] = str(error)
    return found, reasons
