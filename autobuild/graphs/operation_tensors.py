"""Pack operation graphs of any family of networks into tensors, with a fixed vocabulary of feature values.

Numbers are mapped to steps of a logarithmic scale. A step is a quarter or half octave (a factor of 2^(1/4) or 2^(1/2)),
so that for example 96 and 104 channels fall into the same step or neighbouring ones. The vocabulary is:

| feature | values |
| --- | --- |
| ``type`` | the types of operations |
| ``kernel``, ``stride`` | the largest size over dimensions: none, 1, 2, ... 8, more |
| ``grouping`` | none, dense, grouped, depthwise |
| ``in_channels``, ``out_channels`` | none, then quarter octaves from 1 to 8,192 |
| ``ratio`` | out / in channels: none, then quarter octaves from 1/16 to 16 |
| ``positions`` | positions of the output map: half octaves from 1 to 2^20 |
| ``macs``, ``weights`` | MACs and weight bytes of one input: none, then half octaves from 1 to 2^40 and 2^32 |
| ``depth`` | distance from the input, in tenths of the longest path |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from autobuild._typing import IntArray
from autobuild.errors import GraphError
from autobuild.graphs.operations import OPERATIONS, Operation, OperationGraph
from autobuild.graphs.pack import neighbour_table
from autobuild.graphs.packed import PackedGraphs

GROUPINGS = ("none", "dense", "grouped", "depthwise")
_SIZES = 8  # kernel and stride sizes with a value of their own; larger ones share one value
_CHANNELS, _RATIO, _POSITIONS, _MACS, _WEIGHTS, _DEPTH = 13, 4, 20, 40, 32, 10  # octaves; for the depth, tenths

OPERATION_FEATURES: dict[str, int] = {
    "type": len(OPERATIONS),
    "kernel": _SIZES + 2,
    "stride": _SIZES + 2,
    "grouping": len(GROUPINGS),
    "in_channels": 4 * _CHANNELS + 2,
    "out_channels": 4 * _CHANNELS + 2,
    "ratio": 8 * _RATIO + 2,
    "positions": 2 * _POSITIONS + 2,
    "macs": 2 * _MACS + 2,
    "weights": 2 * _WEIGHTS + 2,
    "depth": _DEPTH + 1,
}
"""Feature name -> number of values: the ``vocabulary`` of an encoder for operation graphs is ``.values()``."""

ORDERED = ("in_channels", "out_channels", "ratio", "positions", "macs", "weights")  # values are steps of a scale


def pack_operations(graphs: Sequence[OperationGraph]) -> PackedGraphs:
    """Pack operation graphs of any families; the root of a graph is its first output.

    Raises:
        GraphError: A graph has no nodes or no outputs.
    """
    blocks, sources, targets, roots = [], [], [], []
    start = 0
    for graph in graphs:
        if not graph.nodes or not graph.outputs:
            raise GraphError(f"graph {graph.name!r} has no nodes or no outputs: there is nothing to pack")
        block = np.array([_codes(_nameless(node)) for node in graph.nodes], dtype=np.int64)
        edges = np.array(graph.edges, dtype=np.int64).reshape(-1, 2)
        blocks.append(np.concatenate([block, _depths(graph)[:, None]], axis=1))
        sources.append(edges[:, 0] + start)
        targets.append(edges[:, 1] + start)
        roots.append(start + graph.outputs[0])
        start += len(graph)
    sizes = [len(graph) for graph in graphs]
    features = len(OPERATION_FEATURES)
    empty = np.zeros((0, features), dtype=np.int64)
    neighbours = neighbour_table(
        np.concatenate([*sources, empty[:, 0]]), np.concatenate([*targets, empty[:, 0]]), start
    )
    return PackedGraphs(
        x=torch.from_numpy(np.concatenate([*blocks, empty])),
        neighbours=torch.from_numpy(neighbours),
        ptr=torch.tensor([0, *np.cumsum(sizes)], dtype=torch.int64),
        roots=torch.tensor(roots, dtype=torch.int64),
    )


def seen_values(graphs: PackedGraphs) -> tuple[tuple[int, ...], ...]:
    """For each feature the values that occur in the graphs, ascending."""
    return tuple(tuple(torch.unique(column).tolist()) for column in graphs.x.unbind(1))


def snap_to_seen(graphs: PackedGraphs, seen: Sequence[Sequence[int]]) -> PackedGraphs:
    """Replace steps of a scale that do not occur in training data by the nearest one that does.

    The embedding of a value that does not occur in training is random; that of the nearest trained step is better.
    """
    x = graphs.x.clone()
    for column, (name, size) in enumerate(OPERATION_FEATURES.items()):
        scale = torch.tensor([value for value in seen[column] if value > 0])
        if name in ORDERED and len(scale):
            nearest = scale[(torch.arange(size)[:, None] - scale[None]).abs().argmin(dim=1)]
            nearest[0] = 0  # 0 ("none") is not a step of the scale
            x[:, column] = nearest[x[:, column]]
    return replace(graphs, x=x)


def _nameless(node: Operation) -> tuple[object, ...]:
    """The fields on which the features depend, as a cache key: the same operation occurs in many networks."""
    return (node.type, node.kernel, node.stride, node.groups, node.input_shapes[:1], node.output_shapes[:1],
            node.macs, node.weight_bytes)  # fmt: skip


@lru_cache(maxsize=1 << 16)
def _codes(key: tuple[object, ...]) -> tuple[int, ...]:
    kind, kernel, stride, groups, inputs, outputs, macs, weights = key
    node = Operation("", kind, inputs, outputs)  # type: ignore[arg-type]
    batch = outputs[0][0] if outputs[0] else 1  # type: ignore[index]
    before, after = node.in_channels, node.out_channels
    shape = node.output_shape
    positions = math.prod(shape[2:] if len(shape) >= 4 else shape[1:-1])
    return (
        OPERATIONS.index(kind),
        _size(kernel),
        _size(stride),
        _grouping(groups, before),
        _step(before or 0, 4, 4 * _CHANNELS),
        _step(after, 4, 4 * _CHANNELS),
        0 if not before else 1 + min(max(round(4 * math.log2(after / before)) + 4 * _RATIO, 0), 8 * _RATIO),
        _step(positions, 2, 2 * _POSITIONS),
        _step((macs or 0) / max(batch, 1), 2, 2 * _MACS),  # type: ignore[operator]
        _step(weights, 2, 2 * _WEIGHTS),  # type: ignore[arg-type]
    )


def _step(value: float, per_octave: int, last: int) -> int:
    """Step of a scale: 0 for 0, otherwise 1 + the number of steps above one, at most ``1 + last``."""
    return 0 if value < 1 else 1 + min(round(per_octave * math.log2(value)), last)


def _size(sizes: object) -> int:
    return 0 if not sizes else min(max(sizes), _SIZES + 1)  # type: ignore[call-overload]


def _grouping(groups: object, before: int | None) -> int:
    return 0 if not groups else 1 if groups == 1 else 3 if groups == before else 2


def _depths(graph: OperationGraph) -> IntArray:
    """Length of the longest path to each node, in tenths of the longest path of the graph."""
    steps = np.zeros(len(graph), dtype=np.int64)
    for source, target in graph.edges:  # sorted by source, and every edge runs forward
        steps[target] = max(steps[target], steps[source] + 1)
    longest = max(1, int(steps.max()))
    tenths: IntArray = (steps * _DEPTH + longest // 2) // longest
    return tenths
