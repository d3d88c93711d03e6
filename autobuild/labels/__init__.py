"""Labelled architectures: sets read and checked against a space, target expressions, splits and sampling designs.

pandas is imported only when a name that needs it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autobuild.labels.design import sample_design
    from autobuild.labels.frame import LabelledSet, TargetValues
    from autobuild.labels.target import TargetExpression

__all__ = ["LabelledSet", "TargetExpression", "TargetValues", "sample_design"]

_ROOMS = {"LabelledSet": "frame", "TargetExpression": "target", "TargetValues": "frame", "sample_design": "design"}


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
