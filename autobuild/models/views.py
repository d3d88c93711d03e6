"""Which descriptions fit a target: of the function that networks compute, or of what is executed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autobuild._typing import FloatArray
from autobuild.models.describe import Describer
from autobuild.models.gp_family import GPMember
from autobuild.models.members import Inputs
from autobuild.models.process import fit_process
from autobuild.spaces import Architecture, SearchSpace

ROWS = 300  # at most, from which views are compared
FUNCTION = ("function",)
EXECUTION = (("written",), ("pruned",), ("function", "written"))


def best_views(
    space: SearchSpace, archs: Sequence[Architecture], values: FloatArray, of: str, seed: int = 0
) -> tuple[str, ...]:
    """The views from which a process explains the labels best: that of the largest marginal likelihood.

    Args:
        space: The search space.
        archs: Labelled architectures. Length ``(n,)``.
        values: Their labels. Shape ``(n,)``.
        of: What equal networks share: ``"function"``, ``"execution"`` or ``"either"``.
        seed: Seed of the rows that are compared if there are many.

    Returns:
        Views, as :class:`~autobuild.models.describe.Describer` takes them.
    """
    if of == "function" or space.executed().equal == "function":
        return FUNCTION
    rows = np.random.default_rng(seed).permutation(len(archs))[:ROWS]
    found = {}
    for views in (FUNCTION, *EXECUTION) if of == "either" else EXECUTION:
        inputs = Inputs(space, [archs[row] for row in rows], Describer(space, views=views))
        process = fit_process(inputs.description, values[rows], GPMember.parts_of(inputs), seed=seed)
        found[views] = process.evidence
    return max(found, key=lambda views: found[views])
