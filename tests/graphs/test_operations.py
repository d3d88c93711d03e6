"""PyTorch networks as operation graphs: counts, edges, names, round trips."""

import math

import pytest
import torch
from operation_nets import NETS, build
from torch import nn

import autobuild as ab
from autobuild.cost import count_macs, count_params
from autobuild.errors import GraphError
from autobuild.graphs import Operation, OperationGraph


@pytest.fixture(scope="module", params=list(NETS))
def traced(request):
    net, shape = build(request.param)
    return net, shape, ab.graph_of(net, shape, fold=False)


def test_counts_equal_those_of_the_modules(traced):
    net, shape, graph = traced
    products = sum(node.macs for node in graph.nodes if node.type == "matmul")
    assert graph.params == count_params(net)
    assert graph.macs - products == count_macs(net, shape[1:])
    assert graph.uncounted == {}
    assert products == (2 * 9 * 9 * 12 if isinstance(net, NETS["rows"][0]) else 0)


def test_edges_carry_the_shapes(traced):
    _, shape, graph = traced
    assert [node.output_shape for node in graph.nodes if node.type == "input"] == [shape]
    for sources, node in zip(graph.sources(), graph.nodes, strict=True):
        assert {graph.nodes[source].output_shape for source in sources} == set(node.input_shapes)
    assert len({node.name for node in graph.nodes}) == len(graph)


def test_json_round_trip(traced):
    graph = traced[2]
    assert OperationGraph.from_json(graph.to_json()) == graph
    assert len(graph.describe()) == len(graph)
    assert graph.nodes[-1].name in graph._repr_html_()


def test_folding_moves_batch_norms_into_biases():
    net, shape = build("gated")
    kept, folded = ab.graph_of(net, shape, fold=False), ab.graph_of(net, shape)
    assert kept.types() - folded.types() == {"batch_norm": 2}
    assert folded.macs == kept.macs
    assert folded.params == kept.params == kept.folded_params == count_params(net)
    # 8 channels: the stem's convolution gains a bias, the other one had its own; two scales and two shifts go
    assert folded.folded_params == kept.params - 4 * 8 + 8
    stem = folded.nodes[1]
    assert (stem.name, stem.bias, stem.params, stem.folded_params) == ("stem.0/conv", True, 216 + 16, 216 + 8)
    assert (stem.weight_elements, stem.weight_bytes) == (216 + 8, 4 * (216 + 8))


def test_fields_of_convolutions_and_pools():
    net, shape = build("gated")
    nodes = {node.name: node for node in ab.graph_of(net, shape).nodes}
    stem, grouped, pool = nodes["stem.0/conv"], nodes["grouped.0/conv"], nodes["pool/max_pool"]
    assert (stem.kernel, stem.stride, stem.dilation, stem.padding) == ((3, 3), (2, 2), (2, 2), ((2, 2), (2, 2)))
    assert (grouped.groups, grouped.macs) == (4, 8 * 8 * 8 * 2 * 9)
    assert (pool.kernel, pool.stride, pool.padding) == ((3, 3), (2, 2), ((1, 1), (1, 1)))
    assert nodes["tail.0/conv"].padding == ((0, 0), (1, 1))
    assert nodes["gate.0/global_avg_pool"].kernel == (8, 8)
    assert (nodes["head/linear"].macs, nodes["head/linear"].output_bytes) == (30, 20)


def test_in_place_writes_are_read_by_later_readers():
    class Net(nn.Module):
        def forward(self, x):
            y = torch.exp(x)
            y.add_(x)  # the result is not used, what it wrote is
            return torch.tanh(y)

    graph = ab.graph_of(Net(), (1, 4))
    assert [node.type for node in graph.nodes] == ["input", "elementwise", "add", "tanh"]
    assert graph.edges == ((0, 1), (0, 2), (1, 2), (2, 3))


def test_shared_weights_count_once_and_splits_have_several_outputs():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
            self.two.weight = self.one.weight

        def forward(self, x):
            a, b = x.split([4, 4], dim=1)
            return self.one(a) + self.two(b) + self.one(b)

    net = Net()
    graph = ab.graph_of(net, (2, 8))
    assert graph.params == count_params(net) == 16 + 4 + 4
    assert graph.nodes[1].output_shapes == ((2, 4), (2, 4))
    assert graph.macs == 3 * 2 * 16


def test_attention_and_unknown_operators():
    class Net(nn.Module):
        def forward(self, q):
            read = nn.functional.scaled_dot_product_attention(q, q[..., :5, :], q[..., :5, :])
            return torch.linalg.matrix_exp(read)

    graph = ab.graph_of(Net(), (1, 2, 6, 6))
    attention, other = graph.nodes[-2:]
    assert (attention.type, attention.macs) == ("attention", 2 * 6 * 5 * 12)
    assert (other.type, other.macs, graph.uncounted) == ("other", None, {"aten.linalg_matrix_exp.default": 1})
    assert "M MACs without 1 aten.linalg_matrix_exp.default" in repr(graph)


def test_the_network_is_left_as_it_was():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sequential(nn.Dropout()).eval())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    ab.graph_of(net, (4, 1, 8, 8))
    assert [module.training for module in net.modules()] == [True, True, True, False, False]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_regions_without_gradient_are_read_through():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 1)

        def forward(self, x):
            with torch.no_grad():
                y = self.conv(x)
            return y + 1

    assert ab.graph_of(Net(), (1, 1, 4, 4)).types() == {"input": 1, "conv": 1, "add": 1}


def test_taking_types_out_joins_their_neighbours():
    net, shape = build("gated")
    graph = ab.graph_of(net, shape)
    small = graph.without(["relu", "relu6", "hard_swish", "silu", "alias", "mul"])
    assert small.macs == graph.macs
    names = [node.name for node in small.nodes]
    joined = {(names[a], names[b]) for a, b in small.edges}
    assert ("stem.0/conv", "pool/max_pool") in joined
    assert ("gate.2/sigmoid", "add") in joined  # through the product
    assert ("grouped.2/conv", "add") in joined
    with pytest.raises(GraphError, match="unknown type 'relus'"):
        graph.without(["relus"])


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (nn.Linear(3, 2), {}, "needs example_input"),
        (nn.Linear(3, 2), {"example_input": (1, 4)}, "could not be traced"),
        ("nothing.onnx", {}, "no such file"),
        (3, {}, "given a int"),
    ],
)
def test_unusable_input_is_refused(model, options, said):
    with pytest.raises(GraphError, match=said):
        ab.graph_of(model, **options)


def test_data_dependent_control_flow_is_refused():
    class Net(nn.Module):
        def forward(self, x):
            return x + 1 if x.sum() > 0 else x

    with pytest.raises(GraphError, match=r"Net could not be traced.*control flow"):
        ab.graph_of(Net(), (2, 2))


def test_damaged_data_is_refused():
    good = ab.graph_of(nn.Linear(3, 2), (1, 3)).to_dict()
    for change, said in [
        ({"edges": [[1, 0]]}, "does not run forward"),
        ({"outputs": [7]}, "output 7"),
        ({"nodes": [{**good["nodes"][0], "type": "warp"}]}, "unknown type 'warp'"),
        ({"nodes": [{**good["nodes"][0], "colour": 1}]}, "unknown key 'colour'"),
        ({"nodes": None}, "'nodes' is missing"),
    ]:
        with pytest.raises(GraphError, match=said):
            OperationGraph.from_dict({**good, **change})
    for text in ("{", "[]"):
        with pytest.raises(GraphError):
            OperationGraph.from_json(text)
    assert Operation.from_dict(good["nodes"][0]).output_bytes == 4 * math.prod((1, 3))
