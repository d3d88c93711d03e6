"""Pack architectures and candidates into tensors, vectorised over graphs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from autobuild._typing import IntArray
from autobuild.errors import SpaceError
from autobuild.graphs.packed import PackedGraphs
from autobuild.spaces import Architecture, SearchSpace


def pack_architectures(space: SearchSpace, archs: Sequence[Architecture]) -> PackedGraphs:
    """Pack whole architectures.

    Args:
        space: The search space; its :attr:`~autobuild.spaces.SearchSpace.node_features` are the columns of ``x``.
        archs: The architectures. Length ``(G,)``.

    Returns:
        G packed graphs, in the same order.

    Raises:
        SpaceError: An architecture belongs to another family of spaces.
    """
    for arch in archs:
        if arch.family != space.family:
            raise SpaceError(f"{arch!r} belongs to {arch.family!r}, not to {space.family!r}")
    runs = [stage.padded([arch.runs[s] for arch in archs]) for s, stage in enumerate(space.stages)]
    return _pack(space, range(len(space.stages)), runs)


def pack_candidates(space: SearchSpace, unit: str | int, indices: IntArray) -> PackedGraphs:
    """Pack candidates of one unit, one graph per candidate; nodes have the same ``unit`` and ``layer`` as in the space.

    Shapes: ``indices (G,)`` -> G graphs, in the same order.
    """
    number = space.unit_number(unit)
    start = sum(len(u.stages) for u in space.units[:number])
    chosen = space.units[number]
    return _pack(space, range(start, start + len(chosen.stages)), chosen.runs(indices))


def pack_in_context(space: SearchSpace, unit: str | int, indices: IntArray, context: Architecture) -> PackedGraphs:
    """Pack an architecture with one unit filled by each candidate; roots are the candidates' last layers.

    Shapes: ``indices (G,)`` -> G graphs, in the same order.
    """
    number = space.unit_number(unit)
    start = sum(len(u.stages) for u in space.units[:number])
    runs = [
        np.tile(stage.padded([run]), (len(indices), 1)) for stage, run in zip(space.stages, context.runs, strict=True)
    ]
    own = space.units[number].runs(indices)
    runs[start : start + len(own)] = own
    return _pack(space, range(len(runs)), runs, start + len(own) - 1)


def _pack(space: SearchSpace, stages: range, runs: list[IntArray], root: int = -1) -> PackedGraphs:
    """Concatenate graphs; nodes are ordered by graph, stage, layer. Shapes: ``runs[s] (G, depth_s)``, -1 = no layer."""
    depths = [run.shape[1] for run in runs]
    columns = np.concatenate(([0], np.cumsum(depths)))
    present = np.concatenate(runs, axis=1) >= 0
    node = np.where(present, np.cumsum(present).reshape(present.shape) - 1, -1)
    codes = np.concatenate([_codes(space, stage, run) for stage, run in zip(stages, runs, strict=True)], axis=1)
    sources, targets = [], []
    for s, depth in enumerate(depths):
        within = node[:, columns[s] : columns[s] + depth]
        pairs = within[:, 1:] >= 0
        sources.append(within[:, :-1][pairs])
        targets.append(within[:, 1:][pairs])
    last = np.stack([_last(node[:, columns[s] : columns[s + 1]]) for s in range(len(runs))], axis=1)
    place = {stage: i for i, stage in enumerate(stages)}
    for a, b in space.joins:
        if a in place and b in place:
            sources.append(last[:, place[a]])
            targets.append(node[:, columns[place[b]]])
    ptr = np.concatenate(([0], np.cumsum(present.sum(axis=1))))
    neighbours = neighbour_table(np.concatenate(sources), np.concatenate(targets), int(ptr[-1]))
    return PackedGraphs(
        x=torch.from_numpy(np.ascontiguousarray(codes[present])),
        neighbours=torch.from_numpy(neighbours),
        ptr=torch.from_numpy(ptr.astype(np.int64)),
        roots=torch.from_numpy(np.ascontiguousarray(last[:, root])),
    )


def _last(nodes: IntArray) -> IntArray:
    out: IntArray = nodes.max(axis=1)
    return out


def _codes(space: SearchSpace, number: int, run: IntArray) -> IntArray:
    """Node features of one stage as value indices. Shapes: ``run (G, depth)`` -> ``(G, depth, F)``."""
    stage = space.stages[number]
    own = {feature.name: place for place, feature in enumerate(stage.features)}
    table = np.zeros((len(stage.layers) + 1, len(space.features)), dtype=np.int64)
    for column, feature in enumerate(space.features):
        index = {value: i for i, value in enumerate(feature.values)}
        for digit, layer in enumerate(stage.layers):
            table[digit, column] = index[layer[own[feature.name]] if feature.name in own else None]
    place = np.empty((*run.shape, 2), dtype=np.int64)
    place[..., 0] = number
    place[..., 1] = np.arange(run.shape[1])
    return np.concatenate([table[run], place], axis=2)


def neighbour_table(sources: IntArray, targets: IntArray, n_nodes: int) -> IntArray:
    """Table with each node itself and its sources, padded with -1. Shape ``(N, 1 + largest in-degree)``."""
    order = np.lexsort((sources, targets))
    sources, targets = sources[order], targets[order]
    first = np.searchsorted(targets, targets, side="left")
    slot = np.arange(len(targets)) - first
    table = np.full((n_nodes, 2 + int(slot.max(initial=0))), -1, dtype=np.int64)
    table[:, 0] = np.arange(n_nodes)
    table[targets, slot + 1] = sources
    return table
