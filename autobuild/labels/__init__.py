"""Labelled architectures: sets read and checked against a space, targets, splits and sampling designs.

pandas is imported only when a name that needs it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autobuild._lazy import attach

if TYPE_CHECKING:
    from autobuild.labels._equal_networks import executed_names
    from autobuild.labels.labelled_set import LabelledSet, TargetValues
    from autobuild.labels.sampling_designs import sample_design

__all__ = ["LabelledSet", "TargetValues", "executed_names", "sample_design"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "LabelledSet": "labelled_set",
        "TargetValues": "labelled_set",
        "executed_names": "_equal_networks",
        "sample_design": "sampling_designs",
    },
)
