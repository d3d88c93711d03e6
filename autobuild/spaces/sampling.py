"""Draw architectures at random, and find those near a given one: its neighbours and mutations."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from autobuild.errors import SpaceError, nearest
from autobuild.settings.names import LEVELS
from autobuild.settings.option import integer
from autobuild.spaces.stage import _INT64_LIMIT, Digits, Stage
from autobuild.spaces.unit import Unit

if TYPE_CHECKING:
    from autobuild.spaces.space import Architecture, SearchSpace

DESIGNS = ("depth", "uniform")
MOST_DRAWN = 10_000_000
DEFAULT = "depth"  # default design of all functions and jobs that draw architectures


def sample(
    space: SearchSpace, n: int, seed: int | np.random.Generator = 0, design: str = DEFAULT
) -> list[Architecture]:
    """Draw ``n`` architectures, independently and with replacement.

    Args:
        space: The search space.
        n: Number of architectures.
        seed: Seed or generator; the same seed gives the same architectures.
        design: ``"depth"``: every depth of a stage is equally likely, then every run of layers of that depth.
            ``"uniform"``: every architecture is equally likely. Deep stages then dominate: in ``ofa_mbv3``, nine of ten
            stages have the largest depth, so that labels drawn this way say little about shallow networks.

    Returns:
        ``n`` architectures, possibly with repetitions.

    Raises:
        SpaceError: The design is unknown, or ``n`` is not a whole number from 0 to 10,000,000.
        ConfigError: The seed is neither a whole number of at least 0 nor a generator.
    """
    if design not in DESIGNS:
        raise SpaceError(
            f"unknown sampling design {design!r}: {nearest(design, DESIGNS)}; autobuild.sample_design covers as well"
        )
    if isinstance(n, bool) or not isinstance(n, Integral) or not 0 <= n <= MOST_DRAWN:
        raise SpaceError(f"cannot draw {n!r} architectures: give a whole number from 0 to {MOST_DRAWN:,}")
    rng = generator(seed)
    drawers = [_drawer(unit, design, rng) for unit in space.units]
    bounds = [draw.bounds() for draw in drawers]
    if any(one is None for one in bounds):
        drawn = (tuple(run for draw in drawers for run in draw()) for _ in range(n))
    else:  # the same numbers from the generator, all at once: many times faster where units are many
        every = [bound for one in bounds for bound in one or ()]
        ends = np.cumsum([len(one or ()) for one in bounds]).tolist()
        parts = [slice(end - len(one or ()), end) for one, end in zip(bounds, ends, strict=True)]
        rows = rng.integers(0, np.array(every, dtype=np.int64), size=(n, len(every))).tolist()
        pairs = list(zip(drawers, parts, strict=True))
        drawn = (tuple(run for draw, part in pairs for run in draw.of(row[part])) for row in rows)
    return [_architecture(space, runs) for runs in drawn]


def generator(seed: object) -> np.random.Generator:
    """A random generator from a seed, or the generator given. Raises ConfigError where it is neither."""
    return seed if isinstance(seed, np.random.Generator) else np.random.default_rng(integer("seed", seed, 0))


def _architecture(space: SearchSpace, runs: tuple[Digits, ...]) -> Architecture:
    from autobuild.spaces.space import Architecture

    return Architecture(space._format(runs), runs, space.family)


class _drawer:
    """Draws candidates of one unit, as digits."""

    def __init__(self, unit: Unit, design: str, rng: np.random.Generator) -> None:
        self.unit, self.design, self.rng = unit, design, rng
        self.groups: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
        if design == "depth" and unit.kept is not None:
            runs = unit.runs(np.arange(unit.size))
            depths = np.stack([(run >= 0).sum(axis=1) for run in runs], axis=1)
            _, group = np.unique(depths, axis=0, return_inverse=True)
            self.groups = [np.flatnonzero(group.ravel() == g) for g in range(int(group.max()) + 1)]

    def bounds(self) -> list[int] | None:
        """Below what every random number of a call is, where all calls take the same; None where they do not."""
        if self.design != "depth" or any(len(stage.depths) > 1 or stage.once for stage in self.unit.stages):
            return None
        if self.unit.kept is not None:
            return [len(self.groups[0])]
        return [len(stage.layers) for stage in self.unit.stages for _ in range(stage.depths[0])]

    @cached_property
    def _runs(self) -> list[list[Digits]]:
        """Runs of one layer, by digit: for every stage."""
        return [[(digit,) for digit in stage._layer_of[0].tolist()] for stage in self.unit.stages]

    def of(self, numbers: list[int]) -> tuple[Digits, ...]:
        """What a call returns with these random numbers, of which :meth:`bounds` says how large they may be."""
        if self.unit.kept is not None:
            return self.unit.candidate(int(self.groups[0][numbers[0]])).digits
        if len(numbers) == len(self._runs):
            return tuple([runs[number] for runs, number in zip(self._runs, numbers, strict=True)])
        own = iter(numbers)
        return tuple(
            tuple(runs[next(own)][0] for _ in range(stage.depths[0]))
            for stage, runs in zip(self.unit.stages, self._runs, strict=True)
        )

    def __call__(self) -> tuple[Digits, ...]:
        if self.unit.kept is None:
            return tuple(self._run(stage) for stage in self.unit.stages)
        kept = self.groups[int(self.rng.integers(len(self.groups)))] if self.groups else None
        pick = int(self.rng.integers(self.unit.size)) if kept is None else int(kept[self.rng.integers(len(kept))])
        return self.unit.candidate(pick).digits

    def _run(self, stage: Stage) -> Digits:
        if self.design == "depth":
            depth = stage.depths[int(self.rng.integers(len(stage.depths)))]
            return tuple(int(d) for d in stage.draw(depth, self.rng))
        return stage.run(big_integer(self.rng, stage.size))


def big_integer(rng: np.random.Generator, below: int) -> int:
    """A uniform integer in ``[0, below)`` of any size, without bias (rejection on whole bits)."""
    if below <= _INT64_LIMIT:
        return int(rng.integers(below))
    bits = (below - 1).bit_length()
    while True:
        number = int.from_bytes(rng.bytes((bits + 7) // 8), "little") & ((1 << bits) - 1)
        if number < below:
            return number


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
        ConfigError: The seed is neither a whole number of at least 0 nor a generator.
    """
    if level not in LEVELS:
        raise SpaceError(f"unknown mutation level {level!r}: {nearest(level, LEVELS)}")
    rng = generator(seed)
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
