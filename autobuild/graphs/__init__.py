"""Graphs of operations of any network, and graphs of architectures packed into tensors."""

from typing import TYPE_CHECKING

from autobuild._lazy import attach
from autobuild.graphs.operations import Operation, OperationGraph
from autobuild.graphs.reading import graph_of
from autobuild.graphs.zoo import load_zoo

if TYPE_CHECKING:
    from autobuild.graphs.operation_tensors import OPERATION_FEATURES, pack_operations
    from autobuild.graphs.pack import pack_architectures, pack_candidates, pack_in_context
    from autobuild.graphs.packed import PackedGraphs
    from autobuild.graphs.stacked import StackedGraphs, stacked_batches

__all__ = [
    "OPERATION_FEATURES",
    "Operation",
    "OperationGraph",
    "PackedGraphs",
    "StackedGraphs",
    "graph_of",
    "load_zoo",
    "pack_architectures",
    "pack_candidates",
    "pack_in_context",
    "pack_operations",
    "stacked_batches",
]

_FROM = {  # these import torch
    "OPERATION_FEATURES": "operation_tensors",
    "PackedGraphs": "packed",
    "StackedGraphs": "stacked",
    "pack_architectures": "pack",
    "pack_candidates": "pack",
    "pack_in_context": "pack",
    "pack_operations": "operation_tensors",
    "stacked_batches": "stacked",
}
__getattr__, __dir__ = attach(__name__, _FROM)
