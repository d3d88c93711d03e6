"""What operations work along: the same from a network and from its export."""

import pytest
import torch
from test_operations_onnx import export
from torch import nn
from torch.nn import functional as F

import autobuild as ab
from autobuild.errors import GraphError
from autobuild.graphs import OperationGraph


class Moves(nn.Module):
    """Slices, splits, joins, transpositions, borders, interpolation, softmax, norms."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, padding=1)
        self.norm = nn.LayerNorm(6)

    def forward(self, x):
        a, b = x.split([1, 3], dim=1)
        y = self.conv(torch.cat([b, a], dim=1))
        y = F.pad(y, (0, 0, 2, 1))[:, 1:5, 1:-1]
        y = torch.cat([y, y[:, ::2]], dim=1)
        rows = self.norm(y.flatten(2).transpose(1, 2))
        first = rows[:, 0]
        weights = torch.softmax(rows, dim=1)
        up = F.interpolate(x, scale_factor=2.0, mode="bilinear")
        return first, weights.mean(1), F.interpolate(up, scale_factor=3.0)


FIELDS = ("type", "axes", "spans", "mode", "weight_elements")
ALONG = [
    ("slice", (1,), (((0, 1, 1),), ((1, 4, 1),)), None),
    ("concat", (1,), (((0, 3, 1),), ((3, 4, 1),)), None),
    ("slice", (1,), (((1, 5, 1),),), None),
    ("slice", (2,), (((1, 10, 1),),), None),
    ("slice", (1,), (((0, 4, 2),),), None),
    ("concat", (1,), (((0, 4, 1),), ((4, 6, 1),)), None),
    ("transpose", (0, 2, 1), None, None),
    ("layer_norm", (2,), None, None),
    ("softmax", (1,), None, None),
    ("resize", None, None, "linear"),
    ("reduce", (1,), None, None),
    ("resize", None, None, "nearest"),
]


def along(graph):
    wanted = {kind for kind, *_ in ALONG}
    return [tuple(getattr(node, name) for name in FIELDS[:-1]) for node in graph.nodes if node.type in wanted]


def test_a_network_says_along_what():
    graph = ab.graph_of(Moves(), (1, 4, 8, 5))
    # a step of several dimensions is traced as several slices; those of everything are none
    assert [found for found in along(graph) if found[0] != "slice" or found[2] != (((0, 1, 1),),)] == ALONG
    pad = next(node for node in graph.nodes if node.type == "pad")
    assert (pad.mode, pad.padding) == ("constant", ((0, 0), (0, 0), (2, 1), (0, 0)))
    assert next(node for node in graph.nodes if node.type == "conv").weight_elements == 6 * 4 * 9 + 6
    assert [node.type for node in graph.nodes if node.spans == (((0, 1, 1),),)] == ["slice"]  # rows[:, 0]


@pytest.mark.parametrize("dynamo", [True, False])
def test_its_export_says_the_same(dynamo, tmp_path):
    pytest.importorskip("onnxscript")
    traced = ab.graph_of(Moves(), (1, 4, 8, 5))
    path = export(
        Moves(), (1, 4, 8, 5), tmp_path / "net.onnx", **({"dynamo": True, "verbose": False} if dynamo else {})
    )
    read = ab.graph_of(path)  # one of the exporters computes the border's sizes in the file
    kinds = ("concat", "transpose", "layer_norm", "softmax", "reduce", "resize")
    assert [found for found in along(read) if found[0] in kinds] == [f for f in along(traced) if f[0] in kinds]
    picked = [node for node in read.nodes if node.type == "gather"]
    assert [(node.axes, node.spans) for node in picked] == [((1,), (((0, 1, 1),),))]  # rows[:, 0]
    pads = [(node.mode, node.padding) for node in read.nodes if node.type == "pad"]
    assert pads == [("constant", ((0, 0), (0, 0), (2, 1), (0, 0)))]


def test_operands_keep_order_and_places():
    class Net(nn.Module):
        def forward(self, x):
            a, b = x.split([4, 4], dim=1)
            return b - a

    graph = ab.graph_of(Net(), (2, 8))
    assert graph.operands == ((), ((0, 0),), ((1, 1), (1, 0)))
    assert OperationGraph.from_json(graph.to_json()) == graph
    bare = OperationGraph(graph.nodes, graph.edges, graph.outputs)
    assert bare.operand_table() == ((), ((0, 0),), ((1, 0), (1, 0)))  # equal shapes cannot be told apart
    with pytest.raises(GraphError, match="reads output 2 of node 1"):
        OperationGraph(graph.nodes, graph.edges, graph.outputs, "net", ((), ((0, 0),), ((1, 2), (1, 0))))
    with pytest.raises(GraphError, match="operands of 1 nodes, it has 3"):
        OperationGraph(graph.nodes, graph.edges, graph.outputs, "net", ((),))


@pytest.mark.parametrize(
    "gelu",
    [
        lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
        lambda x: x * (0.5 * (1 + torch.erf(x * 0.7071))),
        lambda x: 0.5 * x * (1 + torch.tanh(0.79788 * (x + 0.044715 * torch.pow(x, 3)))),
        lambda x: 0.5 * x * (1 + torch.tanh(x * 0.79788 * (1 + 0.044715 * x * x))),
    ],
)
def test_a_gelu_that_is_written_out_is_one_operation(gelu):
    class Net(nn.Module):
        def forward(self, x):
            x = torch.exp(x)
            return gelu(x) + x

    graph = ab.graph_of(Net(), (2, 8))
    assert [node.type for node in graph.nodes] == ["input", "elementwise", "gelu", "add"]
    assert graph.edges == ((0, 1), (1, 2), (1, 3), (2, 3))


def test_what_is_no_gelu_stays():
    class Net(nn.Module):
        def forward(self, x):
            inner = torch.erf(x / 2)
            return x * 0.5 * (1 + inner), inner, x * torch.tanh(F.softplus(x))

    kinds = ab.graph_of(Net(), (2, 8)).types()
    assert "gelu" not in kinds
    assert kinds["mul"] == 3
