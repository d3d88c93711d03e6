"""Graphs of operations of any network, and graphs of architectures packed into tensors."""

from autobuild.graphs.operations import Operation, OperationGraph
from autobuild.graphs.pack import pack_architectures, pack_candidates
from autobuild.graphs.pack_operations import OPERATION_FEATURES, pack_operations
from autobuild.graphs.packed import PackedGraphs
from autobuild.graphs.reading import graph_of
from autobuild.graphs.zoo import load_zoo

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
