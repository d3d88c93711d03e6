"""Moved to ``autobuild.graph_of(space, arch)``, which reads the blocks of any space; works for one release."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from autobuild.graphs.from_blocks import graph_of_plan
from autobuild.graphs.operations import OperationGraph
from autobuild.spaces.registry import declared_by, load_space, network_arguments

PLANS = {"ofa_mbv3": "ofa_mbv3(width=1.2)", "ofa_proxyless": "ofa_proxyless(width=1.3)", "mnasnet": "mnasnet"}


def mbconv_graph(
    plan: str, layers: Sequence[Sequence[Mapping[str, Any]]], resolution: int = 224, name: str = ""
) -> OperationGraph:
    """Operation graph of the layers of an architecture; ``plan`` is one of :data:`PLANS`."""
    warnings.warn("mbconv_graph is autobuild.graph_of(space, arch) now; the old path ends with the next release",
                  DeprecationWarning, stacklevel=2)  # fmt: skip
    space = load_space(plan)
    blocks = declared_by(space).plan(layers, **network_arguments(space, None, 3))
    return graph_of_plan(blocks, (3, resolution, resolution), name or space.name)
