"""Costs as sums over units: one table of candidates for each, where a space's costs are additive."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from autobuild.cost.analytic import INPUT, CostTables, cost_tables
from autobuild.errors import SpaceError, nearest
from autobuild.spaces import SearchSpace, Unit
from autobuild.spaces.additive import Additive
from autobuild.spaces.blocks import Tally

MAX_CANDIDATES = 5_000_000  # of one unit


def unit_tables(
    space: SearchSpace, cost: str, num_classes: int | None = None, input_shape: tuple[int, int, int] | None = None
) -> Additive:
    """An exact cost as ``constant + sum over units``: equal to ``costs_of(space)[cost]`` for every architecture.

    Args:
        space: The space, narrowed or joined as it may be.
        cost: ``params``, ``macs`` or another cost of the space.
        num_classes: As for :func:`~autobuild.cost.costs_of`.
        input_shape: As for :func:`~autobuild.cost.costs_of`.

    Raises:
        SpaceError: The cost is unknown, or not additive over the units of this space: the message names the part and
            the unit whose choice it depends on as well, or says that the space has no tables.
    """
    tables, rules = cost_tables(space, num_classes, input_shape)
    if cost not in rules:
        raise SpaceError(f"space {space.name!r} has no cost {cost!r}: {nearest(cost, rules)}")
    if tables is None:
        raise SpaceError(f"{cost} of {space.name!r} is counted from whole networks: it has no tables over units")
    weights = np.array([rules[cost].get(name, 0) for name in Tally._fields], dtype=np.int64)
    for unit in space.units:
        if unit.size > MAX_CANDIDATES:
            raise SpaceError(f"unit {unit.name!r} has {unit.size:,} candidates: up to {MAX_CANDIDATES:,} are listed")
    owners = [number for number, unit in enumerate(space.units) for _ in unit.stages]
    runs = [unit.runs(np.arange(unit.size)) for unit in space.units]
    only_params = set(np.flatnonzero(weights)) <= {Tally._fields.index("params")}
    constant = 0
    out = [np.zeros(unit.size, dtype=np.int64) for unit in space.units]
    for part in tables.parts:
        places = [*tables.context[part], *([tables.places[part]] if part in tables.places else [])]
        if only_params:  # which never depend on the size of the input
            places = [place for place in places if place != tables.places.get(INPUT)]
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
    weights: NDArray[np.int64],
    units: Sequence[Unit],
    owners: Sequence[int],
    runs: Sequence[Sequence[NDArray[np.int64]]],
    free: int | None,
) -> NDArray[np.int64]:
    """What a part costs for every candidate of the one unit that it depends on; ``(1,)`` where on none."""
    first = {owner: owners.index(owner) for owner in owners}
    count = 1 if free is None else units[free].size

    def digits(place: int) -> NDArray[np.int64]:
        owner = owners[place]
        own = runs[owner][place - first[owner]]
        return own if owner == free else np.repeat(own[:1], count, axis=0)

    context = [digits(place) for place in tables.context[part]]
    joined = np.concatenate([np.zeros((count, 1), dtype=np.int64), *context], axis=1)
    distinct, group = np.unique(joined, axis=0, return_inverse=True)
    out = np.zeros(count, dtype=np.int64)
    widths = np.cumsum([1, *(run.shape[1] for run in context)])
    for number, row in enumerate(distinct):
        chosen = tuple(
            tuple(int(digit) for digit in row[start:stop] if digit >= 0)
            for start, stop in itertools.pairwise(widths.tolist())
        )
        entries = tables.table(part, chosen) @ weights
        members = np.flatnonzero(group.reshape(-1) == number)
        if part not in tables.places:
            out[members] = entries[0, 0]
        else:  # behind the last layer a digit is -1: the last entry, no layer
            own = digits(tables.places[part])[members]
            out[members] = entries[np.arange(own.shape[1]), own].sum(axis=1)
    return out


def additive_costs(space: SearchSpace, names: Sequence[str]) -> tuple[dict[str, Additive], Mapping[str, str]]:
    """Tables of those costs that are additive over the units, and for the others the reason why there are none."""
    found: dict[str, Additive] = {}
    reasons: dict[str, str] = {}
    for name in names:
        try:
            found[name] = unit_tables(space, name)
        except SpaceError as error:
            reasons[name] = str(error)
    return found, reasons
