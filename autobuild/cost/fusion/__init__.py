"""Layer fusion: which operations an accelerator runs as one, and the DRAM bytes that this saves."""

from autobuild.cost.fusion.folding import fold
from autobuild.cost.fusion.fusing import Fused, buffer_sweep, fuse
from autobuild.cost.fusion.graph import FusedOperation, FusionGraph, Tensor
from autobuild.cost.fusion.group_costs import SCHEMES, GroupCost, GroupCosts
from autobuild.cost.fusion.partition.solver import solve

__all__ = [
    "SCHEMES",
    "Fused",
    "FusedOperation",
    "FusionGraph",
    "GroupCost",
    "GroupCosts",
    "Tensor",
    "buffer_sweep",
    "fold",
    "fuse",
    "solve",
]
