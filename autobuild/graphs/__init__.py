"""Architecture graphs as packed tensors."""

from autobuild.graphs.pack import pack_architectures, pack_candidates
from autobuild.graphs.packed import PackedGraphs

__all__ = ["PackedGraphs", "pack_architectures", "pack_candidates"]
