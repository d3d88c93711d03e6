"""Networks worth a look for several targets at once: weighted sums propose them, and climb."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from autobuild.construct.building import distinct
from autobuild.construct.refine import Feasible, Judge, Pool
from autobuild.spaces import Architecture, SearchSpace

FloatArray = NDArray[np.float64]
Tables = Sequence[FloatArray]  # a table of scores a unit
Scalarised = Callable[[FloatArray], tuple[Judge, Tables]]  # weights -> what is maximised, and scores that propose
Propose = Callable[[Tables], Iterator[Architecture]]

DIRECTIONS = 8  # scalarisations that propose, beside each target alone
PROPOSED = 200  # networks of each
STEPS = 12  # of climbing on each


def directions(targets: int, rng: np.random.Generator) -> list[FloatArray]:
    """Weights that sum to one: of each target alone, and eight drawn evenly. Shapes ``(targets,)``."""
    if targets == 1:
        return [np.ones(1)]
    return [*np.eye(targets), *rng.dirichlet(np.ones(targets), DIRECTIONS)]


def front_pool(
    space: SearchSpace,
    weights: Sequence[FloatArray],
    scalarised: Scalarised,
    *,
    propose: Propose | None = None,
    feasible: Feasible | None = None,
    proposed: int = PROPOSED,
    steps: int = STEPS,
) -> dict[str, Architecture]:
    """For each direction the networks with the largest weighted sums of scores, and climbs from the best two of them.

    Args:
        space: The space.
        weights: Directions, each of shape ``(targets,)``.
        scalarised: Direction -> a judge, and scores of every unit's candidates on the judge's scale.
        propose: Scores of every unit -> architectures, best first (default: the largest sums, exactly).
        feasible: Which networks may be taken (default: all).
        proposed: Networks of each direction.
        steps: Of climbing on each.

    Returns:
        Architectures by key.
    """
    found: dict[str, Architecture] = {}
    for weight in weights:
        judge, tables = scalarised(weight)
        archs = propose(tables) if propose is not None else (arch for _, arch in distinct(space, list(tables)))
        pool = Pool(space, judge, feasible)
        pool.add(itertools.islice(archs, proposed))
        pool.climb(climbers=2, steps=steps)
        found |= pool.archs
    return found
