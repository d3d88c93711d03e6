"""ONNX files written down by hand."""

import math

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
helper = onnx.helper
FLOAT, UINT8, INT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8, onnx.TensorProto.INT8
DOMAINS = ("com.microsoft", "my.domain", "ai.onnx.ml", "ai.onnx.preview")


def save(path, nodes, inputs, outputs, weights=(), *, opset=17, kinds=(), ir=8, **options):
    """Write a model.

    Args:
        path: Where.
        nodes: ``(operator, inputs, outputs, attributes)`` each, names with spaces between, ``_`` where one is left
            out; ``"domain::Operator"`` for another domain.
        inputs: Shapes by name.
        outputs: Names with spaces between.
        weights: Shapes, arrays or tensors by name.
        opset: Version of the operators.
        kinds: Element types of inputs, by name.
        ir: Version of the format.
        options: Of the graph.
    """
    made = []
    for kind, reads, writes, *rest in nodes:
        domain, _, op = kind.rpartition("::")
        named = [["" if name == "_" else name for name in names.split()] for names in (reads, writes)]
        made.append(helper.make_node(op, *named, name=op, domain=domain, **(rest[0] if rest else {})))
    given = [helper.make_tensor_value_info(name, dict(kinds).get(name, FLOAT), shape) for name, shape in inputs.items()]
    written = [onnx.ValueInfoProto(name=name) for name in outputs.split()]
    held = [tensor(name, value) for name, value in dict(weights).items()]
    graph = helper.make_graph(made, "g", given, written, held, **options)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in DOMAINS)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=ir).SerializeToString())
    return path


def tensor(name, value):
    """A stored tensor: of halves where only a shape is given."""
    if isinstance(value, onnx.TensorProto):
        value.name = name
        return value
    if isinstance(value, np.ndarray | np.generic):
        return onnx.numpy_helper.from_array(np.asarray(value), name)
    return helper.make_tensor(name, FLOAT, value, [0.5] * math.prod(value))


def raw(kind, shape, size):
    """A stored tensor of an element type that numpy does not have."""
    return onnx.TensorProto(data_type=kind, dims=shape, raw_data=bytes(size))


def zeros(kind, *shape):
    return np.zeros(shape, kind)


def one():
    return np.float32(1)
