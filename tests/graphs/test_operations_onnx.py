"""ONNX files as operation graphs: the same as the network they were exported from, and clear refusals."""

import logging
import math
import re
import warnings

import pytest
import torch
from operation_nets import NETS, build, stirred
from torch import nn

import autobuild as ab
from autobuild.errors import ConfigError, GraphError

onnx = pytest.importorskip("onnx")
helper = onnx.helper
FLOAT = onnx.TensorProto.FLOAT
SAME = ("type", "input_shapes", "output_shapes", "kernel", "stride", "dilation", "padding", "groups", "bias",
        "weight_bytes", "output_bytes", "macs")  # fmt: skip


def export(net, shape, path, **options):
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.zeros(shape),), path, **{"dynamo": False, **options})
    return path


def facts(graph):
    return [tuple(getattr(node, name) for name in SAME) for node in graph.nodes]


@pytest.mark.parametrize("name", list(NETS))
def test_an_export_gives_the_same_operations(name, tmp_path):
    net, shape = build(name)
    traced = ab.graph_of(net, shape)
    read = ab.graph_of(export(net, shape, tmp_path / "net.onnx"))
    assert facts(read) == facts(traced)
    assert read.edges == traced.edges


def test_tiny_mbconv_through_either_exporter(tmp_path):
    pytest.importorskip("onnxscript")
    space = ab.space("tiny_mbconv")
    net = stirred(space.realise("e3k3s1|e2k5s0-e1k1s1|e1k3s1-e3k1s0"))
    traced = ab.graph_of(net, (1, 1, 20, 20))
    for options in ({}, {"dynamo": True, "verbose": False, "external_data": False}):
        read = ab.graph_of(export(net, (1, 1, 20, 20), tmp_path / "net.onnx", **options))
        assert facts(read) == facts(traced)
        assert (read.edges, read.macs, read.params) == (traced.edges, traced.macs, traced.folded_params)
    assert read.nodes[1].module  # the newer exporter writes down which module an operation comes from


class Einsum(nn.Module):
    """A product per head, told as an equation."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 8, 6))

    def forward(self, x):
        return torch.einsum("bhid,hde->bhie", x, self.weight)


class WeightFirst(nn.Module):
    """A weight times a map."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(32, 16))

    def forward(self, x):
        return self.weight @ x


class Heads(nn.Module):
    """Causal attention in one call."""

    def __init__(self):
        super().__init__()
        self.rows = nn.Linear(32, 96)

    def forward(self, x):
        q, k, v = self.rows(x).view(*x.shape[:2], 3, 4, 8).permute(2, 0, 3, 1, 4)
        return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


class Recurrent(nn.Module):
    """Two layers in both directions."""

    def __init__(self, kind):
        super().__init__()
        self.layers = kind(12, 16, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        return self.head(self.layers(x)[0])


def encoder():
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


MORE = {
    "einsum": (Einsum, (2, 4, 5, 8)), "weight first": (WeightFirst, (3, 16, 10)), "heads": (Heads, (2, 9, 32)),
    "lstm": (lambda: Recurrent(nn.LSTM), (2, 7, 12)), "gru": (lambda: Recurrent(nn.GRU), (2, 7, 12)),
    "encoder": (encoder, (1, 6, 32)), "volumes": (lambda: nn.Sequential(nn.Conv3d(2, 4, 3), nn.GroupNorm(2, 4)),
                                                  (1, 2, 6, 8, 8)),
    "signals": (lambda: nn.Sequential(nn.Conv1d(4, 8, 5, 2, 2), nn.PReLU(8), nn.ConvTranspose1d(8, 4, 4)), (2, 4, 20)),
    "shuffled": (lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, groups=16), nn.PixelShuffle(2)),
                 (1, 3, 8, 8)),
    "unlike": (lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.InstanceNorm2d(6, affine=True), nn.GELU()), (1, 3, 9, 9)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MORE))
def test_either_exporter_gives_the_numbers_of_the_network(name, tmp_path):
    """Weights are drawn: the newer exporter stores equal ones only once."""
    pytest.importorskip("onnxscript")
    make, shape = MORE[name]
    torch.manual_seed(0)
    net = make().eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    traced = ab.graph_of(net, shape)
    for options in ({"opset_version": 17}, {"dynamo": True, "verbose": False}):
        read = ab.graph_of(export(net, shape, tmp_path / "net.onnx", **options))
        assert (read.macs, read.params, read.uncounted) == (traced.macs, traced.params, {})
    assert traced.params == sum(parameter.numel() for parameter in net.parameters())


def test_batch_norms_kept_in_the_file_are_folded_on_request(tmp_path):
    net, shape = build("gated")
    kept = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    names = {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch", 2: "height"}}}
    file = export(net, shape, tmp_path / "net.onnx", **kept, **names)
    for fold in (False, True):
        read = ab.graph_of(file, shapes={"x": shape}, fold=fold)
        traced = ab.graph_of(net, shape, fold=fold)
        assert (read.types(), read.macs, read.params) == (traced.types(), traced.macs, traced.params)
        assert read.folded_params == traced.folded_params
    two = ab.graph_of(file, shapes={"x": (2, *shape[1:])})
    assert two.macs == 2 * read.macs
    with pytest.raises(GraphError, match=re.escape("input 'x' has the unknown shape (batch, 3, height, 32)")) as error:
        ab.graph_of(file)
    assert "shapes={'x': (1, 3, 1, 32)}" in str(error.value)
    with pytest.raises(ConfigError, match=r"'y', which is not a tensor of the file: .*accepted: x"):
        ab.graph_of(file, shapes={"y": shape})


def model(nodes, inputs, outputs, weights=(), path=None, **options):
    """Save a model that is written down by hand."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [helper.make_tensor(name, FLOAT, shape, [0.5] * torch.Size(shape).numel()) for name, shape in weights],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my.domain", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8, **options), path)
    return path


def test_custom_operators_are_named_and_taken_with_a_shape(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first", auto_pad="SAME_UPPER", strides=[2, 2]),
        helper.make_node("Warp", ["a"], ["b"], name="bend", domain="my.domain"),
        helper.make_node("Relu", ["b"], ["y"], name="last"),
    ]
    file = model(nodes, {"x": [1, 2, 9, 8]}, ["y"], [("w", (4, 2, 3, 3))], tmp_path / "warp.onnx")
    said = re.escape("node 'bend' (custom operator my.domain::Warp): the shape of its output 'b' is not known")
    with pytest.raises(GraphError, match=said + ".*" + re.escape("shapes={'b': (1, 64, 56, 56)}")):
        ab.graph_of(file)
    graph = ab.graph_of(file, shapes={"b": (1, 4, 5, 4)})
    conv, warp, relu = graph.nodes[1:]
    assert (conv.output_shape, conv.padding) == ((1, 4, 5, 4), ((1, 1), (0, 1)))
    assert (warp.type, warp.op, warp.macs, relu.output_shape) == ("other", "my.domain::Warp", None, (1, 4, 5, 4))


def test_unknown_shapes_inside_name_the_node(tmp_path):
    nodes = [
        helper.make_node("NonZero", ["x"], ["where"], name="find"),
        helper.make_node("Cast", ["where"], ["y"], name="number", to=FLOAT),
    ]
    file = model(nodes, {"x": [3, 4]}, ["y"], path=tmp_path / "dynamic.onnx")
    with pytest.raises(GraphError, match=r"node 'find' \(NonZero\): the shape of its output 'where' is not known"):
        ab.graph_of(file)


def test_functions_of_the_file_are_read_through(tmp_path):
    function = helper.make_function(
        "my.domain", "Twice", ["a"], ["c"],
        [helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Tanh", ["b"], ["c"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    nodes = [helper.make_node("Twice", ["x"], ["y"], domain="my.domain")]
    file = model(nodes, {"x": [1, 4]}, ["y"], path=tmp_path / "f.onnx", functions=[function])
    assert [node.type for node in ab.graph_of(file).nodes] == ["input", "relu", "tanh"]


def test_weights_are_not_needed_beside_the_file(tmp_path):
    net, shape = build("rows")
    file = export(net, shape, tmp_path / "net.onnx")
    whole = onnx.load(str(file))
    options = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 100}
    onnx.save_model(whole, str(tmp_path / "split.onnx"), **options)
    (tmp_path / "weights.bin").unlink()
    assert facts(ab.graph_of(tmp_path / "split.onnx")) == facts(ab.graph_of(file))


def test_control_flow_and_damage_are_refused(tmp_path):
    branch = helper.make_graph([], "b", [], [])
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Cast", ["m"], ["yes"], to=onnx.TensorProto.BOOL),
        helper.make_node("If", ["yes"], [], name="fork", then_branch=branch, else_branch=branch),
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    file = model(nodes, {"x": [3]}, ["y"], path=tmp_path / "if.onnx")
    with pytest.raises(GraphError, match=r"node 'fork' \(If\): control flow"):
        ab.graph_of(file)
    whole = file.read_bytes()
    for damaged in (b"no model at all", whole[: len(whole) // 2], b""):
        file.write_bytes(damaged)
        with pytest.raises(GraphError, match="not an ONNX model, or a damaged one"):
            ab.graph_of(file)
    with pytest.raises(GraphError, match="takes shapes="):
        ab.graph_of(file, (1, 3))


def convolution_file(path, *, inputs=(1, 3, 8, 8), weights=(8, 3, 3, 3), nodes=(), output="y"):
    conv = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1])
    held = helper.make_tensor("w", FLOAT, weights, [0.5] * math.prod(weights))
    graph = helper.make_graph([conv, *nodes], "g", [helper.make_tensor_value_info("x", FLOAT, inputs)],
                              [helper.make_tensor_value_info(output, FLOAT, (1, 8, 8, 8))], [held])  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ([(1, 3, 8, 8)], "accepted is such as {'x': (1, 3, 224, 224)}"),
        ({"x": "1388"}, "shapes={'x': '1388'}: a tuple of positive whole sizes is accepted"),
        ({"x": None}, "shapes={'x': None}: a tuple of positive whole sizes is accepted"),
        ({"x": (1, 3, 0, 8)}, "shapes={'x': (1, 3, 0, 8)}: a tuple of positive whole sizes is accepted"),
        ({"x": (3, 8, 8)}, "shapes={'x': (3, 8, 8)}: the file declares (N, 3, H, W): 4 sizes are accepted"),
    ],
)
def test_shapes_that_are_none_are_told(tmp_path, shapes, said):
    file = convolution_file(tmp_path / "net.onnx", inputs=("N", 3, "H", "W"))
    with pytest.raises(ConfigError, match=re.escape(said)):
        ab.graph_of(file, shapes=shapes)


def test_channels_that_the_weights_do_not_take_are_told(tmp_path):
    wrong = convolution_file(tmp_path / "wrong.onnx", weights=(8, 4, 3, 3))
    opened = convolution_file(tmp_path / "open.onnx", inputs=("N", "C", 8, 8))
    assert ab.graph_of(opened, shapes={"x": (1, 3, 8, 8)}).macs == 8 * 64 * 27
    for file, shapes, taken in ((wrong, None, 4), (opened, {"x": (1, 4, 8, 8)}, 3)):
        with pytest.raises(GraphError, match=rf"node 'conv' \(Conv\): its input .* which accept {taken} channels"):
            ab.graph_of(file, shapes=shapes)


def test_tensors_written_twice_or_never_are_told(tmp_path):
    twice = convolution_file(tmp_path / "twice.onnx", nodes=[helper.make_node("Relu", ["x"], ["y"], name="again")])
    with pytest.raises(GraphError, match="node 'again' writes 'y', which was written before"):
        ab.graph_of(twice)
    with pytest.raises(GraphError, match="its output 'z' is written by no node"):
        ab.graph_of(convolution_file(tmp_path / "never.onnx", output="z"))
