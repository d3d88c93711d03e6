"""Joint spaces by name, for the command line: ``space="joint:tiny_mbconv(quant=['uaq4', 'uaq8'])"``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autobuild.quant.joint import joint_space
from autobuild.spaces import SearchSpace, load_space, space_names


def __getattr__(name: str) -> Callable[..., SearchSpace]:
    """The joint space of the architectures of a space."""
    if name not in space_names():
        raise AttributeError(f"no search space {name!r}")

    def space(quant: Sequence[str] = ("uaq3", "uaq4", "uaq8"), grain: str = "layer", fold: bool = True) -> SearchSpace:
        return joint_space(load_space(name), quant, grain=grain, fold=fold)

    return space


def __dir__() -> list[str]:
    return space_names()
