"""Write an operation graph as an ONNX model with the same operators and shapes, and random weights.

So the latency of everything with an operation graph can be measured: architectures, PyTorch modules, files. The time of
an operator depends on its shapes, not on the values of its weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autobuild.errors import ConfigError, CostError
from autobuild.graphs.operations import Operation, OperationGraph, Shape

if TYPE_CHECKING:
    import onnx

OPSET, IR_VERSION = 20, 9
SIMPLE = {
    "relu": "Relu", "leaky_relu": "LeakyRelu", "elu": "Elu", "sigmoid": "Sigmoid", "hard_swish": "HardSwish",
    "gelu": "Gelu", "mish": "Mish", "tanh": "Tanh", "softplus": "Softplus", "global_avg_pool": "GlobalAveragePool",
    "global_max_pool": "GlobalMaxPool",
}  # fmt: skip
BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"}
CLIPS = {"relu6": (0.0, 6.0), "clip": (-1.0, 1.0)}  # the bounds of a clip do not affect its time


def onnx_of(graph: OperationGraph) -> onnx.ModelProto:
    """An ONNX model of a graph.

    Args:
        graph: The operation graph, with or without folded batch norms.

    Raises:
        ConfigError: The package onnx is missing.
        CostError: The graph lacks attributes of an operation (reason ``unknown``). The message names the operation.
    """
    try:
        from onnx import helper
    except ImportError as error:
        raise ConfigError("latency needs the package onnx: pip install 'autobuild-nas[onnx]'") from error
    writer = _Writer(graph)
    for number in range(len(graph)):
        writer.add(number)
    outputs = [_value(f"t{i}.0", graph.nodes[i].output_shape) for i in graph.outputs]
    made = helper.make_graph(writer.nodes, graph.name or "network", writer.inputs, outputs, writer.constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _value(name: str, shape: Shape) -> Any:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


class _Writer:
    """Collects ONNX nodes. Output ``j`` of operation ``i`` is the tensor ``t<i>.<j>``."""

    def __init__(self, graph: OperationGraph) -> None:
        self.graph = graph
        self.operands = graph.operand_table()
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.constants: list[Any] = []
        self._numbers = np.random.default_rng(0).normal(0, 0.02, 4093).astype(np.float32)

    def add(self, number: int) -> None:
        """Write one operation."""
        node = self.graph.nodes[number]
        inputs = [f"t{source}.{place}" for source, place in self.operands[number]]
        outputs = [f"t{number}.{place}" for place in range(len(node.output_shapes))]
        if node.type == "input":
            self.inputs.append(_value(outputs[0], node.output_shape))
            return
        write = _RULES.get(node.type)
        if write is None or not inputs:
            raise self.refusal(node, "there is no rule for this type")
        write(self, node, inputs, outputs)

    def refusal(self, node: Operation, why: str) -> CostError:
        """The error for an operation that cannot be written."""
        return CostError(f"latency of {self.graph.name!r}: operation {node.name!r} ({node.op or node.type}): {why}")

    def emit(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """Append an ONNX node."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))

    def weight(self, *shape: int) -> str:
        """A constant of small random numbers: a few thousand are repeated, because drawing millions is slow."""
        return self.constant(np.resize(self._numbers, shape))

    def constant(self, values: Any) -> str:
        """Add a constant; returns its name."""
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def between(self) -> str:
        """A new name for an intermediate tensor of an operation."""
        return f"b{len(self.nodes)}"


Rule = Callable[[_Writer, Operation, list[str], list[str]], None]


def _conv(w: _Writer, node: Operation, inputs: list[str], outputs: list[str]) -> None:
    kernel, groups = node.kernel or (), node.groups or 1
    given, made = node.input_shapes[0][1], node.output_shape[1]
    transposed = node.type == "conv_transpose"
    shape = (given, made // groups) if transposed else (made, given // groups)
    window = _window(node)
    if transposed:
        window["output_shape"] = list(node.output_shape[2:])
    read = [*inputs, w.weight(*shape, *kernel)] + ([w.weight(made)] if node.bias else [])
    w.emit("ConvTranspose" if transposed else "Conv", read[: 2 + bool(node.bias)], outputs, group=groups, **window)


def _window(node: Operation) -> dict[str, Any]:
    kernel = node.kernel or ()
    padding = node.padding or ((0, 0),) * len(kernel)
    return {
        "kernel_shape": list(kernel),
        "strides": list(node.stride or (1,) * len(kernel)),
        "dilations": list(node.dilation or (1,) * len(kernel)),
        "pads": [before for before, _ in padding] + [after for _, after in padding],
    }


def _pool(w: _Writer, node: Operation, inputs: list[str], outputs: list[str]) -> None:
    if node.kernel is None:
        raise w.refusal(node, "its windows are not known")
    window = _window(node)
    sizes = zip(node.input_shapes[0][2:], node.kernel or (), window["strides"], window["dilations"],
                node.padding or ((0, 0),) * 9, strict=False)  # fmt: skip
    floors = [(size + sum(pad) - d * (k - 1) - 1) // s + 1 for size, k, s, d, pad in sizes]
    ceil = int(floors != list(node.output_shape[2:]))
    w.emit("MaxPool" if node.type == "max_pool" else "AveragePool", inputs, outputs[:1], ceil_mode=ceil, **window)


def _linear(w: _Writer, node: Operation, inputs: list[str], outputs: list[str]) -> None:
    given, made = node.input_shapes[0][-1], node.output_shape[-1]
    if len(node.input_shapes[0]) == 2:
        read = [*inputs, w.weight(made, given)] + ([w.weight(made)] if node.bias else [])
        w.emit("Gemm", read, outputs, alpha=1.0, beta=1.0, transB=1)
        return
    product = w.between() if node.bias else outputs[0]
    w.emit("MatMul", [*inputs, w.weight(given, made)], [product])
    if node.bias:
        w.emit("Add", [product, w.weight(made)], outputs)


def _matmul(w: _Writer, node: Operation, inputs: list[str], outputs: list[str]) -> None:
    if node.macs is None or len(inputs) > 2:
        raise w.refusal(node, "which numbers are multiplied is not known")
    by_weight = [w.weight(node.input_shapes[0][-1], node.output_shape[-1])] if len(inputs) == 1 else []
    w.emit("MatMul", [*inputs, *by_weight], outputs)


def _attention(w: _Writer, node: Operation, inputs: list[str], outputs: list[str]) -> None:
    keys = node.input_shapes[1]
    order = [*range(len(keys) - 2), len(keys) - 1, len(keys) - 2]
    turned, scores, scaled, shares = (f"{w.between()}.{place}" for place in range(4))
    w.emit("Transpose", [inputs[1]], [turned], perm=order)
    w.emit("MatMul", [inputs[0], turned], [scores])
    w.emit("Mul", [scores, w.constant(np.float32(keys[-1] ** -0.5))], [scaled])
    w.emit("Softmax", [scaled], [shares], axis=-1)
    w.emit("MatMul", [shares, inputs[2]], outputs)


def _binary(w: _Writer, node: Operation, inputs: list[str], outputs: list[str]) -> None:
    if len(inputs) == 2:
        w.emit(BINARY[node.type], inputs, outputs)
        return
    shape, numbers = node.output_shape, node.weight_elements
    fits = {math.prod(shape[i:]): shape[i:] for i in range(len(shape) + 1)}
    if len(shape) > 2:
        fits.setdefault(shape[1], (shape[1], *(1,) * (len(shape) - 2)))
    if numbers > 1 and numbers not in fits:
        raise w.refusal(node, f"how its {numbers} weights meet {shape} is not known")
    made = w.weight(*fits[numbers]) if numbers > 1 else w.constant(np.float32(0.5))
    w.emit(BINARY[node.type], [*inputs, made], outputs)


def _batch_norm(w: _Writer, node: Operation, inputs: list[str], outputs: list[str]) -> None:
    features = node.output_shape[1]
    positive = w.constant(np.ones(features, dtype=np.float32))
    w.emit("BatchNormalization", [*inputs, positive, w.weight(features), w.weight(features), positive], outputs)


def _layer_norm(w: _Writer, node: Operation, inputs: list[str], outputs: list[str]) -> None:
    over = node.axes or (len(node.output_shape) - 1,)
    shape = node.output_shape[min(over) :]
    if len(over) != len(shape):
        raise w.refusal(node, f"dimensions {over} of {node.output_shape} are not the last ones")
    w.emit("LayerNormalization", [*inputs, w.weight(*shape), w.weight(*shape)], outputs, axis=min(over))


def _clip(w: _Writer, node: Operation, inputs: list[str], outputs: list[str]) -> None:
    bounds = [w.constant(np.float32(bound)) for bound in CLIPS[node.type]]
    w.emit("Clip", [*inputs, *bounds], outputs)


def _silu(w: _Writer, node: Operation, inputs: list[str], outputs: list[str]) -> None:
    gate = w.between()
    w.emit("Sigmoid", inputs, [gate])
    w.emit("Mul", [*inputs, gate], outputs)


def _simple(w: _Writer, node: Operation, inputs: list[str], outputs: list[str]) -> None:
    squeezed = node.type.startswith("global_") and len(node.output_shape) < len(node.input_shapes[0])
    made = w.between() if squeezed else outputs[0]
    w.emit(SIMPLE[node.type], inputs[:1], [made])
    if squeezed:
        w.emit("Flatten", [made], outputs[:1], axis=1)


def _softmax(w: _Writer, node: Operation, inputs: list[str], outputs: list[str]) -> None:
    if node.axes is None or len(node.axes) != 1:
        raise w.refusal(node, "its dimension is not known")
    w.emit("Softmax", inputs, outputs, axis=(node.axes or (-1,))[0])


def _concat(w: _Writer, node: Operation, inputs: list[str], outputs: list[str]) -> None:
    if node.axes is None or len(node.axes) != 1:
        raise w.refusal(node, "its dimension is not known")
    axis = (node.axes or (1,))[0]
    lacking = node.output_shape[axis] - sum(shape[axis] for shape in node.input_shapes)
    if lacking:  # a constant, such as a class token, is concatenated before or after the inputs
        shape = [*node.output_shape]
        shape[axis] = lacking
        first = bool(node.spans) and (node.spans or ())[0][0][0] > 0
        inputs = [w.weight(*shape), *inputs] if first else [*inputs, w.weight(*shape)]
    w.emit("Concat", inputs, outputs, axis=axis)


def _slice(w: _Writer, node: Operation, inputs: list[str], outputs: list[str]) -> None:
    if node.axes is None or node.spans is None:
        raise w.refusal(node, "what it takes is not known")
    for span, output, shape in zip(node.spans or (), outputs, node.output_shapes, strict=True):
        parts = [np.array([one[place] for one in span], dtype=np.int64) for place in range(3)]
        starts, stops, steps = map(w.constant, parts)
        axes = w.constant(np.array(node.axes, dtype=np.int64))
        reshaped = len(shape) != len(node.input_shapes[0])
        taken = w.between() if reshaped else output
        w.emit("Slice", [inputs[0], starts, stops, axes, steps], [taken])
        if reshaped:
            w.emit("Reshape", [taken, w.constant(np.array(shape, dtype=np.int64))], [output])


def _reshape(w: _Writer, node: Operation, inputs: list[str], outputs: list[str]) -> None:
    if math.prod(node.input_shapes[0]) != math.prod(node.output_shape):
        w.emit("Expand", [inputs[0], w.constant(np.array(node.output_shape, dtype=np.int64))], outputs[:1])
        return
    if node.output_shape == (node.input_shapes[0][0], math.prod(node.input_shapes[0][1:])):
        w.emit("Flatten", [inputs[0]], outputs[:1], axis=1)
        return
    w.emit("Reshape", [inputs[0], w.constant(np.array(node.output_shape, dtype=np.int64))], outputs[:1])


def _transpose(w: _Writer, node: Operation, inputs: list[str], outputs: list[str]) -> None:
    if node.axes is None or len(node.axes) != len(node.output_shape):
        raise w.refusal(node, "its order of dimensions is not known")
    w.emit("Transpose", inputs, outputs, perm=list(node.axes or ()))


def _reduce(w: _Writer, node: Operation, inputs: list[str], outputs: list[str]) -> None:
    if node.axes is None:
        raise w.refusal(node, "its dimensions are not known")
    kept = len(node.output_shape) == len(node.input_shapes[0])
    over = w.constant(np.array(node.axes, dtype=np.int64))
    w.emit("ReduceMean", [inputs[0], over], outputs[:1], keepdims=int(kept))


def _resize(w: _Writer, node: Operation, inputs: list[str], outputs: list[str]) -> None:
    how, _, corners = (node.mode or "").partition("-")
    if how not in ("nearest", "linear", "cubic"):
        raise w.refusal(node, f"how it fills ({node.mode}) is not known")
    where = "align_corners" if corners == "corners" else "asymmetric" if how == "nearest" else "half_pixel"
    sizes = w.constant(np.array(node.output_shape, dtype=np.int64))
    w.emit("Resize", [inputs[0], "", "", sizes], outputs, mode=how, coordinate_transformation_mode=where,
           nearest_mode="floor")  # fmt: skip


def _pad(w: _Writer, node: Operation, inputs: list[str], outputs: list[str]) -> None:
    if node.padding is None or node.mode != "constant" or len(node.padding) != len(node.output_shape):
        raise w.refusal(node, "what it adds is not known")
    pads = [before for before, _ in node.padding or ()] + [after for _, after in node.padding or ()]
    w.emit("Pad", [inputs[0], w.constant(np.array(pads, dtype=np.int64))], outputs)


def _hard_sigmoid(w: _Writer, node: Operation, inputs: list[str], outputs: list[str]) -> None:
    w.emit("HardSigmoid", inputs, outputs, alpha=float(np.float32(1 / 6)), beta=0.5)


_RULES: dict[str, Rule] = {
    "conv": _conv, "conv_transpose": _conv, "linear": _linear, "matmul": _matmul, "attention": _attention,
    "batch_norm": _batch_norm, "layer_norm": _layer_norm, "max_pool": _pool, "avg_pool": _pool,
    "concat": _concat, "softmax": _softmax, "slice": _slice, "alias": _reshape, "transpose": _transpose,
    "reduce": _reduce, "resize": _resize, "pad": _pad, "silu": _silu, "hard_sigmoid": _hard_sigmoid,
    **dict.fromkeys(SIMPLE, _simple), **dict.fromkeys(BINARY, _binary), **dict.fromkeys(CLIPS, _clip),
}  # fmt: skip
