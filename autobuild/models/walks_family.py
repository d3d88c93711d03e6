"""A process over the walks through a network whose stages do not form a chain."""

from __future__ import annotations

from autobuild.models.gp_family import ProcessMember
from autobuild.registry import FAMILIES


@FAMILIES.register("walks")
class WalksMember(ProcessMember):
    """A process over the walks through a network whose stages do not form a chain."""

    parts = ("linear", "whole", "walks")
