"""Packed tensors equal the graphs built one by one."""

import numpy as np
import pytest
import torch

import autobuild as ab
from autobuild.errors import SpaceError
from autobuild.graphs import pack_architectures, pack_candidates
from autobuild.spaces import SearchSpace, candidate_graph


def as_graphs(space, packed):
    """Read packed tensors back into (nodes, edges) a graph."""
    out = []
    edges = packed.edges.T.tolist()
    for g in range(len(packed)):
        first, last = int(packed.ptr[g]), int(packed.ptr[g + 1])
        nodes = [
            {f.name: f.values[int(v)] for f, v in zip(space.node_features, row, strict=True)}
            for row in packed.x[first:last]
        ]
        own = sorted((a - first, b - first) for a, b in edges if first <= b < last)
        out.append((nodes, own, int(packed.roots[g]) - first))
    return out


def branched():
    """A space whose stages form a diamond, not a chain."""
    chain = ab.sequence_space("dag", {f"s{i}": [1, 2] for i in range(4)}, {"k": [1, 2]}, text="{k}")
    return SearchSpace("dag", chain.units, joins=[(0, 1), (0, 2), (1, 3), (2, 3), (0, 3)])


@pytest.mark.parametrize("make", [lambda: ab.space("ofa_proxyless"), branched])
def test_packing_equals_single_graphs(make):
    space = make()
    archs = space.sample(30, seed=0, design="depth")
    for (nodes, edges, root), arch in zip(as_graphs(space, pack_architectures(space, archs)), archs, strict=True):
        graph = space.graph(arch)
        assert nodes == list(graph.nodes)
        assert edges == list(graph.edges)
        assert root == graph.roots[-1]


def test_candidates_keep_their_place():
    space = ab.space("ofa_proxyless").join_units("stage5", "stage6")
    for unit in (0, 4):
        indices = np.random.default_rng(0).integers(space.units[unit].size, size=25)
        packed = as_graphs(space, pack_candidates(space, unit, indices))
        for (nodes, edges, root), i in zip(packed, indices, strict=True):
            graph = candidate_graph(space, unit, space.units[unit].candidate(int(i)))
            assert nodes == list(graph.nodes)
            assert edges == list(graph.edges)
            assert root == len(nodes) - 1


def test_take_and_slice_equal_packing_again(mbv3):
    archs = mbv3.sample(40, seed=1)
    whole = pack_architectures(mbv3, archs)
    order = torch.randperm(40)[:17]
    taken = whole.take(order)
    again = pack_architectures(mbv3, [archs[i] for i in order])
    part = whole.slice(5, 12)
    cut = pack_architectures(mbv3, archs[5:12])
    for name in ("x", "neighbours", "ptr", "roots"):
        assert torch.equal(getattr(taken, name), getattr(again, name))
        assert torch.equal(getattr(part, name), getattr(cut, name))
    assert torch.equal(part.graph_of_node.bincount(), part.sizes)


def test_another_family_is_refused(mbv3):
    with pytest.raises(SpaceError, match="belongs to 'ofa_proxyless'"):
        pack_architectures(mbv3, ab.space("ofa_proxyless").sample(2))
