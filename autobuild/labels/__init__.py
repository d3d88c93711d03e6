"""Labelled architectures: sets read and checked against a space, targets, splits and sampling designs.

pandas is imported only when a name that needs it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autobuild._lazy import attach

if TYPE_CHECKING:
    from autobuild.labels.design import sample_design
    from autobuild.labels.frame import LabelledSet, TargetValues

__all__ = ["LabelledSet", "TargetValues", "sample_design"]

__getattr__, __dir__ = attach(
    __name__,
    {"LabelledSet": "frame", "TargetValues": "frame", "sample_design": "design"},
)
