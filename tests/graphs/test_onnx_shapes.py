"""Shapes of ONNX files: open batches, sizes that are computed, old operators, branches."""

import re

import numpy as np
import pytest
from onnx_files import helper, onnx, tensor

from autobuild.errors import ConfigError, GraphError

CONV = ("Conv", "x w", "y")
WEIGHT = {"w": (4, 3, 3, 3)}


@pytest.mark.parametrize("batch", ["N", -1, None])
def test_an_open_batch_is_one_and_is_told(batch, read):
    with pytest.warns(UserWarning, match=r"input 'x' has the open batch .*; 1 is taken \(shapes=\{'x': ...\} gives"):
        graph = read([CONV], {"x": (batch, 3, 8, 8)}, "y", WEIGHT)
    assert graph.macs == 36 * 4 * 27
    assert read([CONV], {"x": (batch, 3, 8, 8)}, "y", WEIGHT, shapes={"x": (2, 3, 8, 8)}).macs == 2 * 36 * 4 * 27


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (1, 3, -8, 8), (1, 3, 0, 8), ("N", 3, "H", 8), (1, None, 8, 8), None])
def test_other_sizes_that_are_none_are_refused(shape, read):
    said = r"input 'x' has the unknown shape .*; give it, for example shapes=\{'x': (\(1, |\.\.\.)"
    with pytest.raises(GraphError, match=said):
        read([CONV], {"x": shape}, "y", WEIGHT)


def test_inputs_that_are_no_tensors_are_named(read):
    nodes = [("SplitToSequence", "x", "s", {"axis": 0}), ("ConcatFromSequence", "s", "y", {"axis": 0})]
    with pytest.raises(GraphError, match=r"node 'SplitToSequence' .*: its output 's' is not a tensor but of .*seq"):
        read(nodes, {"x": (2, 3)}, "y")


def test_sizes_computed_from_shapes(read):
    twice = [("Shape", "x", "s"), ("Gather", "s two", "h"), ("Mul", "h two", "t"), ("Unsqueeze", "t zero", "u"),
             ("Concat", "n u u", "to", {"axis": 0}), ("Resize", "x _ _ to", "y", {"mode": "nearest"})]  # fmt: skip
    numbers = {"two": np.asarray(2), "zero": np.asarray([0]), "n": np.asarray([2, 3])}
    assert read(twice, {"x": (2, 3, 8, 8)}, "y", numbers).nodes[-1].output_shape == (2, 3, 16, 16)
    flat = [("Shape", "x", "s", {"end": 2}), ("Concat", "s rest", "to", {"axis": 0}), ("Reshape", "x to", "y")]
    assert read(flat, {"x": (2, 3, 8, 8)}, "y", {"rest": np.asarray([-1])}).nodes[-1].output_shape == (2, 3, 64)
    some = [("NonZero", "mask", "n"), ("Range", "a b c", "r"), ("Gather", "x n", "y"), ("Gather", "x r", "z")]
    ends = {"mask": np.asarray([1, 0, 1]), "a": np.asarray(0), "b": np.asarray(4), "c": np.asarray(1)}
    graph = read(some, {"x": (5, 3)}, "y z", ends)
    assert [node.output_shape for node in graph.nodes[1:]] == [(1, 2, 3), (4, 3)]
    numel = [("Size", "x", "n"), ("Unsqueeze", "n zero", "to"), ("Reshape", "x to", "y")]
    assert read(numel, {"x": (5, 3)}, "y", {"zero": np.asarray([0])}).nodes[-1].output_shape == (15,)


def test_a_shape_that_does_not_fit_is_told_in_onnxs_words(read):
    with pytest.raises(GraphError, match=r"node 'Reshape' .* its output 'y' is not known \(.*incompatible shapes\)"):
        read([("Reshape", "x to", "y")], {"x": (1, 3, 8, 8)}, "y", {"to": np.asarray([1, 5, -1])})
    with pytest.raises(ConfigError, match="names 'z', which is not a tensor"):
        read([CONV], {"x": (1, 3, 8, 8)}, "y", WEIGHT, shapes={"z": (1,)})


@pytest.mark.parametrize(
    ("opset", "node", "weights", "shape"),
    [
        (9, ("Upsample", "x s", "y"), {"s": np.asarray([1, 1, 2, 2], np.float32)}, (1, 3, 16, 16)),
        (7, ("Upsample", "x", "y", {"scales": [1.0, 1.0, 2.0, 2.0]}), {}, (1, 3, 16, 16)),
        (9, ("Slice", "x", "y", {"starts": [1], "ends": [3], "axes": [1]}), {}, (1, 2, 8, 8)),
        (9, ("Pad", "x", "y", {"pads": [0, 0, 1, 1, 0, 0, 2, 2]}), {}, (1, 3, 11, 11)),
        (9, ("Squeeze", "x", "y", {"axes": [0]}), {}, (3, 8, 8)),
        (11, ("ReduceMean", "x", "y", {"axes": [2, 3], "keepdims": 0}), {}, (1, 3)),
        (11, ("Clip", "x a b", "y"), {"a": np.float32(0), "b": np.float32(6)}, (1, 3, 8, 8)),
        (6, ("Add", "x b", "y", {"broadcast": 1, "axis": 1}), {"b": (3,)}, (1, 3, 8, 8)),
        (4, ("Reshape", "x", "y", {"shape": [1, -1]}), {}, (1, 192)),
        (1, ("Relu", "x", "y", {"consumed_inputs": [0]}), {}, (1, 3, 8, 8)),
    ],
)
def test_operators_of_old_files(opset, node, weights, shape, read):
    graph = read([node], {"x": (1, 3, 8, 8)}, "y", weights, opset=opset)
    assert graph.nodes[-1].output_shape == shape
    assert graph.nodes[-1].type != "other"


def test_old_dropout_and_batch_norm(read):
    nodes = [("BatchNormalization", "x a b c d", "n", {"is_test": 1, "epsilon": 1e-5}),
             ("Dropout", "n", "o m", {"ratio": 0.5}), ("Relu", "o", "y")]  # fmt: skip
    graph = read(nodes, {"x": (1, 3, 8, 8)}, "y", dict.fromkeys("abcd", (3,)), opset=6)
    assert ([node.type for node in graph.nodes], graph.params) == (["input", "batch_norm", "relu"], 6)


def test_the_branch_that_a_constant_takes_is_read(read):
    def branch(node, weights=()):
        held = [tensor(name, value) for name, value in dict(weights).items()]
        return helper.make_graph([node], "branch", [], [onnx.ValueInfoProto(name=node.output[0])], held)

    then = branch(helper.make_node("Relu", ["x"], ["t"]))
    other = branch(helper.make_node("MatMul", ["x", "w"], ["e"]), {"w": (3, 7)})
    node = ("If", "yes", "y", {"then_branch": then, "else_branch": other})
    assert read([node], {"x": (5, 3)}, "y", {"yes": np.asarray(True)}).types()["relu"] == 1
    graph = read([node, ("Relu", "y", "z")], {"x": (5, 3)}, "z", {"yes": np.asarray(False)})
    assert (graph.macs, graph.params, graph.nodes[-1].output_shape) == (105, 21, (5, 7))
    computed = [("Shape", "x", "s"), ("Gather", "s zero", "n"), ("Equal", "n one", "yes"), node]
    graph = read(computed, {"x": (1, 3)}, "y", {"zero": np.asarray(0), "one": np.asarray(1)})
    assert graph.types()["relu"] == 1
    data = [("ReduceMax", "x", "m", {"keepdims": 0}), ("Cast", "m", "yes", {"to": 9}), node]
    with pytest.raises(GraphError, match=re.escape("node 'If' (If): control flow that depends on data")):
        read(data, {"x": (5, 3)}, "y")
