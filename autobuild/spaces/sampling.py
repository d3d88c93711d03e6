"""Draw architectures at random: uniformly over depths and then over layers, or uniformly over architectures."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from autobuild.errors import SpaceError, nearest
from autobuild.spaces.stage import _INT64_LIMIT, Digits, Stage
from autobuild.spaces.unit import Unit

if TYPE_CHECKING:
    from autobuild.spaces.space import Architecture, SearchSpace

DESIGNS = ("depth", "uniform")
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
        SpaceError: The design is unknown, or ``n`` is not a whole number of at least 0.
    """
    if design not in DESIGNS:
        raise SpaceError(
            f"unknown sampling design {design!r}: {nearest(design, DESIGNS)}; autobuild.sample_design covers as well"
        )
    if isinstance(n, bool) or not isinstance(n, Integral) or n < 0:
        raise SpaceError(f"cannot draw {n!r} architectures: give a whole number of at least 0")
    rng = np.random.default_rng(seed)
    drawers = [_drawer(unit, design, rng) for unit in space.units]
    out = []
    for _ in range(n):
        runs = tuple(run for draw in drawers for run in draw())
        out.append(_architecture(space, runs))
    return out


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
