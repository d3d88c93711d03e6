"""Weights of a module that is called twice: once for a group that calls it twice, once for each of two groups."""

from dataclasses import replace

import pytest
from torch import nn
from torch.nn import functional as F

import autobuild as ab
from autobuild.cost.fusion import GroupCosts, fold
from autobuild.cost.fusion.baselines.brute_force import brute_force_partition
from autobuild.cost.fusion.group_cost_cache import CachedGroupCosts
from autobuild.cost.fusion.partition.exact import exact_partition
from autobuild.graphs.operations import OperationGraph

WEIGHTS = 4 * 4 * 9 + 4 * 4  # 3 x 3 from 4 to 4 channels, biases of four bytes
MAP = 4 * 8 * 8
SHAPE = (1, 4, 8, 8)


class Twice(nn.Module):
    """A convolution, a pool between, and the same convolution again."""

    def __init__(self, norms=0, between=False, bias=True):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=bias)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(norms))
        self.between = nn.Conv2d(4, 4, 1) if between else nn.Identity()

    def forward(self, x):
        for place in (0, -1):
            x = self.conv(x)
            x = self.norms[place](x) if len(self.norms) else x
            x = F.relu(self.between(x) if place == 0 else x)
        return x


def written_as_onnx(folder):
    import onnx
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Conv", [source, "w", "b"], [target], pads=[1] * 4, kernel_shape=[3, 3])
        for source, target in (("x", "y"), ("y", "z"))
    ]
    sizes = {"w": [4, 4, 3, 3], "b": [4]}
    held = [helper.make_tensor(name, TensorProto.FLOAT, size, [0.1] * (144 if name == "w" else 4))
            for name, size in sizes.items()]  # fmt: skip
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(SHAPE)) for name in ("x", "z")]
    graph = helper.make_graph(nodes, "twice", ends[:1], ends[1:], held)
    path = folder / "twice.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(path))
    return path


@pytest.mark.parametrize("source", ["torch", "onnx", "json"])
def test_a_module_called_twice_by_hand(source, tmp_path):
    graph = ab.graph_of(written_as_onnx(tmp_path)) if source == "onnx" else ab.graph_of(Twice(), SHAPE)
    if source == "json":
        graph = OperationGraph.from_json(graph.to_json())
    folded = fold(graph)
    assert folded.shared == ((0b11, WEIGHTS),)
    assert folded.unfused_bytes == 2 * (WEIGHTS + 2 * MAP)
    assert folded.floor_bytes == folded.dram_bytes(0b11) == WEIGHTS + 2 * MAP
    alone = fold(OperationGraph(tuple(replace(node, shared=None) for node in graph.nodes), graph.edges, graph.outputs))
    for buffer in (10**6, 100):
        costs, other = GroupCosts(folded, buffer), GroupCosts(alone, buffer)
        assert costs.dram(0b11) == (WEIGHTS + 2 * MAP if buffer > 1000 else -1)
        assert costs.line_buffers.required_bytes(0b11) == other.line_buffers.required_bytes(0b11) - WEIGHTS
        assert costs.whole_tensors.required_bytes(0b11) == other.whole_tensors.required_bytes(0b11) + WEIGHTS
        assert costs(0b01) == other(0b01)  # alone it is as any other
    best = ab.fuse(graph, buffer_bytes=10**6)
    assert best.metrics["dram_bytes"] == WEIGHTS + 2 * MAP
    apart = ab.fuse(graph, buffer_bytes=10**6, algorithm="interval").metrics["dram_bytes"]
    assert apart == best.metrics["dram_bytes"]


def test_shared_weights_in_two_groups_are_read_twice():
    """A buffer that holds each convolution, and not both calls with what lies between."""
    folded = fold(ab.graph_of(Twice(between=True), SHAPE))
    between = 4 * 4 + 4 * 4
    costs = GroupCosts(folded, 10**6)
    assert costs.dram(0b101) == WEIGHTS + 4 * MAP
    assert costs.dram(0b111) == WEIGHTS + between + 2 * MAP
    lines = costs.line_buffers.required_bytes(0b111)
    less = GroupCosts(folded, lines - 1, "lbdf")
    found = exact_partition(less)
    assert len(found.groups) == 2
    assert found.dram_bytes == 2 * WEIGHTS + between + 4 * MAP


@pytest.mark.parametrize("fold_early", [True, False])
def test_shared_weights_with_different_norms_are_different_weights(fold_early):
    for bias in (True, False):
        same = fold(ab.graph_of(Twice(norms=1, bias=bias), SHAPE, fold=fold_early))
        assert same.shared == ((0b11, WEIGHTS),)
        assert [op.weight_bytes for op in same.ops] == [WEIGHTS, WEIGHTS]
        assert fold(ab.graph_of(Twice(norms=2, bias=bias), SHAPE, fold=fold_early)).shared == ()


class Recurrent(nn.Module):
    """Two modules called in turns, with a skip; shared weights cross."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.act = nn.PReLU(4)

    def forward(self, x):
        first = self.act(self.one(x))
        second = self.two(first) + x
        third = self.act(self.one(second))
        return self.two(third) + first


@pytest.mark.parametrize("scheme", ["lbdf", "brr", "mixed"])
@pytest.mark.parametrize("buffer", [300, 420, 500, 700, 900, 1200])
def test_the_best_partition_equals_brute_force(scheme, buffer):
    folded = fold(ab.graph_of(Recurrent(), SHAPE))
    assert len(folded.shared) == 2
    costs = GroupCosts(folded, buffer, scheme)
    best = brute_force_partition(costs)
    for found in (exact_partition(costs), exact_partition(costs, max_best_first=0),
                  exact_partition(CachedGroupCosts(folded, buffer, scheme))):  # fmt: skip
        assert (found.dram_bytes, found.status) == (best.dram_bytes, "optimal")
        if not costs.fallback:  # which read something several times
            assert found.dram_bytes == sum(folded.dram_bytes(group) for group in found.groups)


def test_the_cache_distinguishes_shared_weights():
    shared = fold(ab.graph_of(Twice(), SHAPE))
    plain = replace(shared, shared=())
    found = [CachedGroupCosts(graph, 10**6).dram(0b11) for graph in (shared, plain)]
    assert found[1] - found[0] == WEIGHTS
