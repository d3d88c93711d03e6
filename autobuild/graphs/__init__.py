"""Graphs of operations of any network, and graphs of architectures packed into tensors."""

from typing import TYPE_CHECKING

from autobuild._lazy import attach
from autobuild.graphs.operations import Operation, OperationGraph
from autobuild.graphs.reading import graph_of
from autobuild.graphs.zoo import load_zoo

if TYPE_CHECKING:
    from autobuild.graphs.operation_tensors import OPERATION_FEATURES, pack_operations
    from autobuild.graphs.pack import pack_architectures, pack_candidates
    from autobuild.graphs.packed import PackedGraphs

__all__ = [
    "OPERATION_FEATURES",
    "Operation",
    "OperationGraph",
    "PackedGraphs",
    "graph_of",
    "load_zoo",
    "pack_architectures",
    "pack_candidates",
    "pack_operations",
]

_FROM = {  # these import torch
    "OPERATION_FEATURES": "operation_tensors",
    "PackedGraphs": "packed",
    "pack_architectures": "pack",
    "pack_candidates": "pack",
    "pack_operations": "operation_tensors",
}
__getattr__, __dir__ = attach(__name__, _FROM)
