"""The acquisition ``predicted``: the best predictions."""

from __future__ import annotations

from collections.abc import Sequence

from autobuild._typing import FloatArray
from autobuild.construct.acquisition import best_first
from autobuild.registry import ACQUISITIONS
from autobuild.spaces import Architecture


@ACQUISITIONS.register("predicted")
def predicted(archs: Sequence[Architecture], predicted: FloatArray, count: int) -> list[int]:
    """Places of the networks with the best predictions; see :func:`register_acquisition` for the arguments."""
    return best_first(predicted, archs)[:count]
