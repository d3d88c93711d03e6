"""Layer fusion: which operations an accelerator runs as one, and the DRAM bytes that this saves."""

from autobuild.cost.fusion.fold import fold
from autobuild.cost.fusion.graph import FusedOperation, FusionGraph, Tensor
from autobuild.cost.fusion.groups import SCHEMES, GroupCost, GroupCosts

__all__ = ["SCHEMES", "FusedOperation", "FusionGraph", "GroupCost", "GroupCosts", "Tensor", "fold"]
