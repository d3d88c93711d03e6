"""Weights of ONNX files: stored in any way and computed ahead; and files that are damaged."""

import numpy as np
import pytest
from onnx_files import FLOAT, helper, one, onnx, raw, save, tensor, zeros

import autobuild as ab
from autobuild.errors import GraphError

TO = np.asarray([32, 16])
PRODUCT = ("MatMul", "x w", "y")
X = {"x": (2, 32)}
# nodes that make the weight w, what is stored -> parameters, bytes
MADE = {
    "shape": ([("ConstantOfShape", "to", "w")], {"to": TO}, 512, 2048),
    "constant": ([("Constant", "", "w", {"value": tensor("c", (32, 16))})], {}, 512, 2048),
    "copy": ([("Identity", "v", "w")], {"v": (32, 16)}, 512, 2048),
    "turned": ([("Transpose", "v", "w")], {"v": (16, 32)}, 512, 2048),
    "reshaped": ([("Reshape", "v to", "w")], {"v": (512,), "to": TO}, 512, 2048),
    "cast": ([("Cast", "v", "w", {"to": FLOAT})], {"v": raw(10, (32, 16), 1024)}, 512, 1024),
    "brain floats": ([("Cast", "v", "w", {"to": FLOAT})], {"v": raw(16, (32, 16), 1024)}, 512, 1024),
    "eight bits": ([("Cast", "v", "w", {"to": FLOAT})], {"v": raw(17, (32, 16), 512)}, 512, 512),
    "four bits": ([("DequantizeLinear", "v s", "w")], {"v": raw(22, (32, 16), 256), "s": one()}, 512, 256),
    "quantised": ([("DequantizeLinear", "v s z", "w")], {"v": zeros("int8", 32, 16), "s": one(), "z": zeros("int8")},
                  512, 512),
    "quantised per column": ([("DequantizeLinear", "v s", "w", {"axis": 1})],
                             {"v": zeros("int8", 32, 16), "s": (16,)}, 512, 512),
    "both ways": ([("QuantizeLinear", "v s z", "q"), ("DequantizeLinear", "q s z", "w")],
                  {"v": (32, 16), "s": one(), "z": zeros("int8")}, 512, 512),
    "scaled": ([("Cast", "v", "f", {"to": FLOAT}), ("Mul", "f s", "w")],
               {"v": zeros("int8", 32, 16), "s": np.ones(1, np.float32)}, 512, 2048),
    "a part": ([("Slice", "v from to axes", "w")],
               {"v": (64, 16), "from": np.asarray([0]), "to": np.asarray([32]), "axes": np.asarray([0])}, 1024, 2048),
    "two parts": ([("Concat", "u v", "w", {"axis": 0})], {"u": (20, 16), "v": (12, 16)}, 512, 2048),
    "repeated": ([("Expand", "v to", "w")], {"v": (1, 16), "to": TO}, 16, 64),
}  # fmt: skip


@pytest.mark.parametrize("name", list(MADE))
def test_weights_are_counted_as_they_are_stored(name, read):
    nodes, stored, params, size = MADE[name]
    graph = read([*nodes, PRODUCT], X, "y", stored, opset=21, ir=10)
    product = graph.nodes[-1]
    assert (product.type, graph.macs, graph.params, product.weight_bytes) == ("linear", 2 * 32 * 16, params, size)


def test_a_weight_that_is_read_in_parts_or_twice_is_stored_once(read):
    places = {"a": np.asarray([0]), "b": np.asarray([32]), "c": np.asarray([64])}
    nodes = [("Slice", "v a b a", "w"), PRODUCT, ("Slice", "v b c a", "u"), ("MatMul", "x u", "z")]
    assert read(nodes, X, "y z", {"v": (64, 16), **places}).params == 64 * 16
    nodes = [("Transpose", "v", "w"), PRODUCT, ("Identity", "w", "u"), ("MatMul", "x u", "z")]
    graph = read(nodes, X, "y z", {"v": (16, 32)})
    assert (graph.params, graph.nodes[1].shared) == (512, (("v", (32, 16)),))


def test_numbers_that_say_what_to_do_are_no_parameters(read):
    """States of zeros, masks, and the scales of a group norm that an exporter takes apart."""
    mask = np.triu(np.full((5, 5), -np.inf, np.float32), 1)
    nodes = [("Add", "x m", "a"), ("Softmax", "a", "y"), ("Shape", "x", "s"), ("ConstantOfShape", "s", "o"),
             ("Add", "x o", "z")]  # fmt: skip
    assert read(nodes, {"x": (2, 5, 5)}, "y z", {"m": mask}).params == 0
    nodes = [("Reshape", "x r", "a"), ("InstanceNormalization", "a one zero", "b"), ("Reshape", "b t", "c"),
             ("Mul", "c g", "y")]  # fmt: skip
    ones = {"r": np.asarray([1, 2, -1]), "t": np.asarray([1, 4, 3, 3]), "one": np.ones(2, np.float32)}
    graph = read(nodes, {"x": (1, 4, 3, 3)}, "y", {**ones, "zero": np.zeros(2, np.float32), "g": (4, 1, 1)})
    assert graph.params == 4


def test_weights_among_the_inputs_sparse_and_empty_ones(read):
    assert read([PRODUCT], {**X, "w": (32, 16)}, "y", {"w": (32, 16)}, ir=3).params == 512
    values, places = helper.make_tensor("w", FLOAT, [3], [1.0] * 3), helper.make_tensor("i", 7, [3], [1, 5, 9])
    graph = read([PRODUCT], X, "y", sparse_initializer=[helper.make_sparse_tensor(values, places, [32, 16])])
    assert (graph.params, graph.macs) == (3, 1024)
    assert read([("Concat", "x w", "y", {"axis": 0})], X, "y", {"w": np.zeros((0, 32), np.float32)}).params == 0


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (onnx.TensorProto(data_type=1, dims=[32, -16]), "has the shape (32, -16); accepted are sizes that are not neg"),
        (onnx.TensorProto(data_type=1, dims=[32, 16], raw_data=bytes(8)), "holds 8 bytes; its shape (32, 16) needs 20"),
        (onnx.TensorProto(data_type=1, dims=[32, 16], float_data=[1.0]), "holds 1 numbers; its shape (32, 16) needs 5"),
        (onnx.TensorProto(data_type=77, dims=[32, 16]), "has the unknown element type 77"),
    ],
)
def test_damaged_weights_are_told(weight, said, read):
    with pytest.raises(GraphError) as error:
        read([PRODUCT], X, "y", {"w": weight})
    assert f"the weight 'w' {said}" in str(error.value)


def test_a_file_of_which_bytes_are_wrong_is_refused_or_read(tmp_path):
    """Whatever is written over the bytes of a file: a graph with numbers that are not negative, or a reason."""
    nodes = [("Conv", "x w b", "a", {"pads": [1] * 4}), ("Relu", "a", "c"), ("Reshape", "c to", "d"),
             ("Gemm", "d v", "y", {"transB": 1})]  # fmt: skip
    weights = {"w": (4, 3, 3, 3), "b": (4,), "to": np.asarray([1, -1]), "v": (5, 256)}
    file = save(tmp_path / "net.onnx", nodes, {"x": (1, 3, 8, 8)}, "y", weights)
    whole, refused, read = file.read_bytes(), 0, 0
    places = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in places.integers(0, len(whole), 3):
            if place > len(whole) - 300 or place < 400:  # not inside of the numbers
                damaged[place] = places.integers(0, 256)
        file.write_bytes(damaged)
        try:
            graph = ab.graph_of(file)
        except GraphError as error:
            refused += str(file) in str(error)
        else:
            read += 1
            assert min(graph.macs, graph.params, *(node.output_bytes for node in graph.nodes)) >= 0
    assert read > 10 < refused == 300 - read
