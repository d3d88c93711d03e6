"""The acquisition ``upper``: the best upper bounds."""

from __future__ import annotations

from collections.abc import Sequence

from autobuild._typing import FloatArray
from autobuild.construct.acquisition import apart, best_first
from autobuild.registry import ACQUISITIONS
from autobuild.spaces import Architecture


@ACQUISITIONS.register("upper")
def upper(archs: Sequence[Architecture], upper: FloatArray, count: int) -> list[int]:
    """Places of networks with the best upper bounds, some layers apart (GP-UCB, Srinivas et al., ICML 2010).

    :func:`register_acquisition` describes the arguments.
    """
    return apart(archs, best_first(upper, archs), [], count)
