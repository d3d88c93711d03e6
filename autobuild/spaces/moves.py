"""Neighbours and mutations of architectures; all results are inside the space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from autobuild.errors import SpaceError, nearest
from autobuild.settings.names import LEVELS
from autobuild.spaces.sampling import _architecture, big_integer
from autobuild.spaces.stage import Digits, Stage
from autobuild.spaces.unit import Unit

if TYPE_CHECKING:
    from autobuild.spaces.space import Architecture, SearchSpace


def neighbours(space: SearchSpace, arch: Architecture) -> Iterator[Architecture]:
    """Every architecture one step away, each once, in a fixed order.

    A step changes one feature of one layer (of all layers, if the stage chooses that feature once), or adds or removes
    the last layer of a stage. In a tied stage it may change the depth to the next smaller or larger one.
    """
    for number in range(len(space.units)):
        yield from _unit_neighbours(space, arch, number)


def _unit_neighbours(space: SearchSpace, arch: Architecture, number: int) -> Iterator[Architecture]:
    unit, part = space.units[number], space._unit_stages[number]
    for s in range(part.start, part.stop):
        for run in _steps(space.stages[s], arch.runs[s]):
            runs = (*arch.runs[:s], run, *arch.runs[s + 1 :])
            if _holds(unit, runs[part]):
                yield _architecture(space, runs)


def _steps(stage: Stage, run: Digits) -> Iterator[Digits]:
    for away in _one_feature_away(stage, run[0], once=True):
        yield tuple(digit + away for digit in run)
    if stage.tied:
        place = stage.depths.index(len(run))
        yield from ((run[0],) * depth for depth in (*stage.depths[:place][-1:], *stage.depths[place + 1 :][:1]))
        return
    for position, digit in enumerate(run):
        for away in _one_feature_away(stage, digit, once=False):
            yield (*run[:position], digit + away, *run[position + 1 :])
    if len(run) - 1 in stage.depths:
        yield run[:-1]
    if len(run) + 1 in stage.depths:
        for digit in dict.fromkeys(stage.sharing(np.arange(len(stage.layers)), run[0]).tolist()):
            yield (*run, digit)


def _one_feature_away(stage: Stage, digit: int, once: bool) -> Iterator[int]:
    """Differences of digits that change one feature; ``once`` selects the features that a stage chooses once."""
    stride = len(stage.layers)
    for feature in stage.features:
        count = len(feature.values)
        stride //= count
        current = digit // stride % count
        if (feature.name in stage.once) == once:
            yield from ((value - current) * stride for value in range(count) if value != current)


def _holds(unit: Unit, runs: tuple[Digits, ...]) -> bool:
    if unit.kept is None:
        return True
    try:
        unit.index_of_runs(runs)
    except SpaceError:
        return False
    return True


def mutate(
    space: SearchSpace, arch: Architecture, seed: int | np.random.Generator = 0, level: str = "layer"
) -> Architecture:
    """Change an architecture at random; the result differs from ``arch`` unless the space has no other.

    Args:
        space: The search space; the result is in it.
        arch: An architecture of the space.
        seed: Seed or generator.
        level: ``"layer"``: a random neighbour. ``"unit"``: random steps inside one unit, at least two and at most the
            number of its layers. ``"candidate"``: one unit gets another of its candidates, each equally likely. If a
            narrowed space allows no single step, the first two also replace a whole candidate. The unit is drawn among
            those with more than one candidate.

    Returns:
        The changed architecture.

    Raises:
        SpaceError: The level is unknown.
    """
    if level not in LEVELS:
        raise SpaceError(f"unknown mutation level {level!r}: {nearest(level, LEVELS)}")
    rng = np.random.default_rng(seed)
    if level == "layer":
        steps = list(neighbours(space, arch))
        if steps:
            return steps[int(rng.integers(len(steps)))]
    free = [u for u, unit in enumerate(space.units) if unit.size > 1]
    if not free:
        return arch
    u = free[int(rng.integers(len(free)))]
    if level == "unit":
        changed = _wander(space, arch, u, rng)
        if changed != arch:
            return changed
    indices = list(space.indices(arch))
    pick = big_integer(rng, space.units[u].size - 1)
    indices[u] = pick + (pick >= indices[u])
    return space.assemble(indices)


def _wander(space: SearchSpace, arch: Architecture, number: int, rng: np.random.Generator) -> Architecture:
    """Take a few random steps inside one unit."""
    layers = sum(len(run) for run in arch.runs[space._unit_stages[number]])
    here = arch
    for _ in range(int(rng.integers(2, max(2, layers) + 1))):
        steps = list(_unit_neighbours(space, here, number))
        if not steps:
            break
        here = steps[int(rng.integers(len(steps)))]
    return here
