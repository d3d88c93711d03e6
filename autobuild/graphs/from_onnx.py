"""An ONNX file as an operation graph: shapes by ONNX's own inference, operators by a table.

Weights are not read, only their shapes are, so that files with external data need not have it beside them.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError, GraphError, nearest
from autobuild.graphs.drafts import Draft, Value, Weight, clipping, convolution, finish, linear, matmul
from autobuild.graphs.onnx_axes import Call, fill_axes
from autobuild.graphs.operations import OperationGraph, Shape

if TYPE_CHECKING:
    import onnx

TYPES = {
    "Relu": "relu", "LeakyRelu": "leaky_relu", "PRelu": "prelu", "Elu": "elu", "Selu": "elu", "Celu": "elu",
    "Sigmoid": "sigmoid", "HardSigmoid": "hard_sigmoid", "Swish": "silu", "HardSwish": "hard_swish", "Gelu": "gelu",
    "Mish": "mish", "Tanh": "tanh", "Softplus": "softplus", "Softmax": "softmax", "LogSoftmax": "softmax",
    "Clip": "clip", "BatchNormalization": "batch_norm", "LayerNormalization": "layer_norm",
    "RMSNormalization": "layer_norm", "GroupNormalization": "group_norm", "InstanceNormalization": "group_norm",
    "LRN": "local_response_norm", "Add": "add", "Sum": "add", "Sub": "sub", "Mul": "mul", "Div": "div",
    "MaxPool": "max_pool", "AveragePool": "avg_pool", "GlobalAveragePool": "global_avg_pool",
    "GlobalMaxPool": "global_max_pool", "Concat": "concat", "Slice": "slice", "Split": "slice", "Pad": "pad",
    "Resize": "resize", "Upsample": "resize", "GridSample": "resize", "Cast": "cast", "CastLike": "cast",
    "Attention": "attention",
    **dict.fromkeys(("LSTM", "GRU", "RNN"), "rnn"),
    **dict.fromkeys(("Gather", "GatherElements", "GatherND", "Compress"), "gather"),
    **dict.fromkeys(("Transpose", "DepthToSpace", "SpaceToDepth", "Tile", "ReverseSequence"), "transpose"),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand"), "alias"),
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceSum", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
                     "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare", "ArgMax", "ArgMin", "CumSum", "TopK"),
                    "reduce"),
    **dict.fromkeys(("Abs", "Exp", "Log", "Sqrt", "Pow", "Neg", "Reciprocal", "Sin", "Cos", "Erf", "Where", "Equal",
                     "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Not", "Floor", "Ceil", "Round",
                     "Mod", "Sign", "Softsign", "Trilu", "IsNaN", "IsInf", "Max", "Min", "Mean"), "elementwise"),
}  # fmt: skip
IDENTITIES = ("Identity", "Dropout")
SHAPE_ONLY = ("Shape", "Size", "ConstantOfShape", "EyeLike", "RandomNormalLike", "RandomUniformLike")
CONTROL = ("If", "Loop", "Scan", "SequenceMap")
# Whose inputs after the first are learnt whatever their size.
WEIGHTED = ("conv", "conv_transpose", "linear", "batch_norm", "layer_norm", "group_norm", "prelu", "rnn")
# Which may take a constant map; one number is a factor, as in x * 0.5. The others' constants say what to do.
MAPS = ("add", "sub", "mul", "div", "matmul", "attention", "concat", "gather", "embedding", "elementwise", "other")
Shapes = Mapping[str, tuple[int, ...]]


def from_onnx(path: str | Path, *, shapes: Shapes | None = None, name: str = "", fold: bool = True) -> OperationGraph:
    """Read an ONNX file.

    Args:
        path: The file. Functions that it defines itself are read through.
        shapes: Shapes of inputs, or of any tensor inside, that the file leaves open or that cannot be inferred, e.g.
            ``{"x": (1, 3, 224, 224)}``.
        name: Of the graph; the file's name by default.
        fold: Fold batch norms into the convolutions before them.

    Parameters are floating-point weights; a file does not say which of them were learnt, so that constant maps of
    more than one number count too.

    Raises:
        ConfigError: If the package onnx is missing, or ``shapes`` names a tensor that the file does not have.
        GraphError: For a file that is no ONNX, unknown shapes, custom operators without given shapes (which node, and
            how to give them), or control flow.
    """
    path = Path(path)
    model = _load(path)
    given = _checked(shapes, path)
    model = _with_shapes(model, given, path)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 17)
    reader = _Reader(model.graph, given, path, opset)
    outputs = reader.run()
    return finish(reader.drafts, outputs, name or path.stem, fold=fold)


def _checked(shapes: Shapes | None, path: Path) -> dict[str, Shape]:
    """The shapes given, if they are some. Raises ConfigError."""
    if not isinstance(shapes, Mapping | None):
        raise ConfigError(f"{path}: shapes={shapes!r}: accepted is such as {{'x': (1, 3, 224, 224)}}")
    for name, shape in (shapes or {}).items():
        listed = isinstance(shape, tuple | list)
        if not listed or not all(isinstance(size, Integral) and size > 0 for size in shape):
            raise ConfigError(f"{path}: shapes={{{name!r}: {shape!r}}}: a tuple of positive whole sizes is accepted")
    return {name: tuple(int(size) for size in shape) for name, shape in (shapes or {}).items()}


def _load(path: Path) -> onnx.ModelProto:
    try:
        import onnx
        from onnx import inliner
    except ImportError as error:
        raise ConfigError(
            f"{path}: reading ONNX files needs the package onnx: pip install 'autobuild-nas[onnx]'"
        ) from error
    if not path.is_file():
        raise GraphError(f"{path}: there is no such file")
    try:
        model = onnx.load(str(path), load_external_data=False)
        if not model.graph.output or not model.opset_import:
            raise GraphError(f"{path}: not an ONNX model, or a damaged one: it has no outputs")
        return inliner.inline_local_functions(model) if model.functions else model
    except GraphError:
        raise
    except Exception as error:  # protobuf raises several types for a damaged file
        raise GraphError(f"{path}: not an ONNX model, or a damaged one ({type(error).__name__}: {error})") from error


def _with_shapes(model: onnx.ModelProto, given: dict[str, Shape], path: Path) -> onnx.ModelProto:
    """Set the shapes given, forget the inferred ones (they may be of other sizes), and infer anew."""
    import onnx

    graph = model.graph
    produced = [name for node in graph.node for name in node.output]
    accepted = [value.name for value in graph.input] + produced
    for name in given:
        if name not in accepted:
            raise ConfigError(f"{path}: shapes= names {name!r}, which is no tensor of it: {nearest(name, accepted)}")
    weights = {initializer.name for initializer in graph.initializer}
    for value in graph.input:
        if value.name in weights:
            continue
        if value.name in given:
            said = _open(value) or _sizes(value)
            if said and len(said) != len(given[value.name]):
                raise ConfigError(f"{path}: shapes={{{value.name!r}: {given[value.name]}}}: the file says "
                                  f"{_words(said)}: {len(said)} sizes are accepted")  # fmt: skip
            _set(value, given[value.name])
        if (open_shape := _open(value)) is not None:
            sizes = tuple(size if isinstance(size, int) else 1 for size in open_shape) or ("...",)
            raise GraphError(
                f"{path}: input {value.name!r} has the unknown shape {_words(open_shape)}; give it, for example "
                f"shapes={{{value.name!r}: {sizes}}}".replace("'...'", "...")
            )
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
    if any(value.name in given for value in graph.input):
        del graph.value_info[:]
        for value in graph.output:
            value.type.tensor_type.ClearField("shape")
    for name in given.keys() & set(produced):
        kept = [value for value in graph.value_info if value.name != name]
        del graph.value_info[:]
        graph.value_info.extend(kept)
        graph.value_info.append(onnx.helper.make_tensor_value_info(name, types.get(name) or 1, given[name]))
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:
        raise GraphError(f"{path}: ONNX's shape inference failed: {' '.join(str(error).split())[:400]}") from error


class _Reader:
    """Walks the nodes: a tensor is a value that depends on the inputs, or weights that do not."""

    def __init__(self, graph: onnx.GraphProto, given: dict[str, Shape], path: Path, opset: int) -> None:
        self.graph, self.given, self.path, self.opset = graph, given, path, opset
        self.drafts: list[Draft] = []
        self.known: dict[str, Value | tuple[Weight, ...]] = {"": ()}
        self.scalars: dict[str, Any] = {}
        self.shapes, self.kinds = _inferred(graph)
        self.readers = {name: node for node in reversed(graph.node) for name in node.input if name}

    def run(self) -> list[Value]:
        for tensor in self.graph.initializer:
            self._weight(tensor.name, tensor)
        for value in self.graph.input:
            if value.name not in self.known:
                draft = Draft("input", "input", name=value.name)
                self._outputs(draft, [value.name], value.name)
                self.drafts.append(draft)
        for number, node in enumerate(self.graph.node):
            self._node(node, node.name or f"{node.op_type}_{number}")
        if lacking := [value.name for value in self.graph.output if value.name not in self.known]:
            raise GraphError(f"{self.path}: its output {lacking[0]!r} is written by no node")
        outputs = [self.known[value.name] for value in self.graph.output]
        return [value for value in outputs if isinstance(value, Value)]

    def _node(self, node: onnx.NodeProto, name: str) -> None:
        attributes = _attributes(node)
        custom = node.domain not in ("", "ai.onnx")
        missing = [output for output in node.output if output and output not in self.shapes]
        if custom and missing:
            self._refuse(name, f"custom operator {node.domain}::{node.op_type}", missing[0])
        if node.op_type in CONTROL and not custom:
            raise GraphError(f"{self.path}: node {name!r} ({node.op_type}): control flow has no operation graph; "
                             "export the network without it")  # fmt: skip
        if node.op_type == "Constant" and not custom:
            self._weight(node.output[0], attributes)
            return
        inputs = [self._known(source, name) for source in node.input]
        data = [value for value in inputs if isinstance(value, Value)]
        weights = [weight for value in inputs if isinstance(value, tuple) for weight in value]
        if not data or (node.op_type in SHAPE_ONLY and not custom):
            for output in node.output:
                self.known[output] = self._derived(output, node, weights)
            return
        if node.op_type in IDENTITIES and not custom:
            self.known[node.output[0]] = data[0]
            return
        if missing:
            self._refuse(name, node.op_type, missing[0])
        op = f"{node.domain}::{node.op_type}" if custom else node.op_type
        draft = Draft("other", op, data, weights=weights, name=name, module=_module(node), macs=None)
        self._outputs(draft, list(node.output), name)
        self.drafts.append(draft)
        if not custom and not _fill(draft, node, attributes, inputs, self):
            self.drafts.pop()
            self.known[node.output[0]] = data[0]
        if not custom:
            fill_axes(draft, Call(node.op_type, node.input, inputs, attributes, self.scalars, self.opset))
        if draft.type not in WEIGHTED:  # axes, sizes, bounds and factors are settings, no weights
            draft.weights = [w for w in draft.weights if draft.type in MAPS and w.numel > (1 if w.learnt else 8)]

    def _known(self, tensor: str, name: str) -> Value | tuple[Weight, ...]:
        if tensor not in self.known:
            raise GraphError(f"{self.path}: node {name!r} reads {tensor!r}, which nothing before it writes")
        return self.known[tensor]

    def _outputs(self, draft: Draft, names: list[str], node: str) -> None:
        written = [name for name in names if name]
        if again := [name for name in written if name in self.known]:
            raise GraphError(f"{self.path}: node {node!r} writes {again[0]!r}, which was written before")
        draft.outputs = [self.shapes[name] for name in written]
        draft.itemsize = _itemsize(self.kinds.get(written[0], 1))
        self.known |= {name: Value(draft, place) for place, name in enumerate(written)}

    def _weight(self, name: str, held: Any) -> None:
        """Remember an initializer or the value of a Constant node; single numbers are read, they may be bounds."""
        import numpy as np
        import onnx

        tensor = held if isinstance(held, onnx.TensorProto) else held.get("value")
        if isinstance(tensor, onnx.TensorProto):
            shape, kind = tuple(tensor.dims), tensor.data_type
            if math.prod(shape) <= 8 and tensor.data_location != onnx.TensorProto.EXTERNAL:
                self.scalars[name] = onnx.numpy_helper.to_array(tensor)
        else:
            self.scalars[name] = np.asarray(next(iter(held.values()), 0))
            shape, kind = self.scalars[name].shape, 1 if self.scalars[name].dtype.kind == "f" else 7
        floating = kind in (1, 10, 11, 16)
        self.known[name] = (Weight(name, shape, _itemsize(kind), floating),)

    def _derived(self, output: str, node: onnx.NodeProto, weights: list[Weight]) -> tuple[Weight, ...]:
        """What is computed from weights alone: a copy is a weight of its own, the rest is what it is made of."""
        if node.op_type == "Identity" and node.input[0] in self.scalars:
            self.scalars[output] = self.scalars[node.input[0]]
        copied = node.op_type == "Identity" and len(weights) == 1  # exporters write equal biases as copies of one
        shape = self.shapes.get(output, ())
        if copied:
            return (Weight(output, weights[0].shape, weights[0].itemsize, weights[0].learnt),)
        if len(weights) == 1 or (weights and node.op_type == "Transpose"):
            return (Weight(weights[0].key, shape or weights[0].shape, weights[0].itemsize, weights[0].learnt),)
        return tuple(weights)

    def _refuse(self, name: str, what: str, output: str) -> None:
        reader = self.readers.get(output)
        example = "(1, 64)" if reader and reader.op_type in ("Gemm", "MatMul") else "(1, 64, 56, 56)"
        raise GraphError(
            f"{self.path}: node {name!r} ({what}): the shape of its output {output!r} is not known; give it, for "
            f"example shapes={{{output!r}: {example}}}"
        )


def _fill(draft: Draft, node: onnx.NodeProto, attributes: dict[str, Any], inputs: list[Any], read: _Reader) -> bool:
    """Say what a node is, and its numbers; False where it does nothing to its input."""
    kind, x, scalars = node.op_type, draft.inputs[0].shape, read.scalars
    if kind in ("Conv", "ConvTranspose"):
        weight = inputs[1].shape if isinstance(inputs[1], Value) else read.shapes.get(node.input[1], inputs[1][0].shape)
        taken = (
            weight[:1] if kind == "ConvTranspose" else tuple(size * attributes.get("group", 1) for size in weight[1:2])
        )
        if len(weight) != len(x) or taken != x[1:2]:
            raise GraphError(f"{read.path}: node {draft.name!r} ({kind}): its input has the shape {x}, its weights "
                             f"{weight}, which accept {taken[0] if taken else 'no'} channels")  # fmt: skip
        convolution(draft, weight, len(inputs) > 2 and inputs[2] != (), transposed=kind == "ConvTranspose")
        _window(draft, attributes, weight[2:])
        draft.groups = int(attributes.get("group", 1))
    elif kind == "Gemm":
        if isinstance(inputs[1], Value):
            matmul(draft)
        else:
            linear(draft, x[0 if attributes.get("transA") else -1], len(inputs) > 2)
    elif kind == "MatMul":
        by_weight = isinstance(inputs[0], Value) and len(draft.inputs) == 1 and len(draft.weights[0].shape) == 2
        matmul(draft)
        if by_weight:
            linear(draft, x[-1], False)
    elif kind in TYPES:
        draft.type = TYPES[kind]
        draft.macs = None if draft.type in ("rnn", "attention") else 0
        if draft.type in ("max_pool", "avg_pool"):
            _window(draft, attributes, tuple(attributes["kernel_shape"]))
        elif draft.type in ("global_avg_pool", "global_max_pool"):
            draft.kernel = x[2:]
        elif draft.type == "reduce":
            _reduction(draft, kind, node, attributes, scalars)
        elif draft.type == "clip":
            draft.type = clipping(*_bounds(node, attributes, scalars))
        elif draft.type == "gather" and not isinstance(inputs[0], Value):
            draft.type = "embedding"
        elif draft.type == "batch_norm":
            draft.weights[2:] = [Weight(w.key, w.shape, w.itemsize, False) for w in draft.weights[2:]]
        return draft.type != "alias" or draft.outputs[0] != x
    elif kind == "Einsum":
        draft.type = "matmul"
    return True


def _window(draft: Draft, attributes: dict[str, Any], kernel: Shape) -> None:
    dims = len(kernel)
    draft.kernel = kernel
    draft.stride = tuple(attributes.get("strides", (1,) * dims))
    draft.dilation = tuple(attributes.get("dilations", (1,) * dims))
    pads = attributes.get("pads", (0,) * 2 * dims)
    draft.padding = tuple(zip(pads[:dims], pads[dims:], strict=True))
    how = attributes.get("auto_pad", "NOTSET")
    if how in ("SAME_UPPER", "SAME_LOWER") and draft.type != "conv_transpose":
        sizes = zip(draft.inputs[0].shape[2:], draft.outputs[0][2:], kernel, draft.stride, draft.dilation, strict=True)
        total = [max(0, (after - 1) * s + d * (k - 1) + 1 - before) for before, after, k, s, d in sizes]
        less, more = [t // 2 for t in total], [t - t // 2 for t in total]
        draft.padding = tuple(zip(less, more, strict=True) if how == "SAME_UPPER" else zip(more, less, strict=True))


def _reduction(draft: Draft, kind: str, node: onnx.NodeProto, attributes: dict[str, Any], scalars: Any) -> None:
    """A mean or maximum over all positions of a map is a global pool."""
    x = draft.inputs[0].shape
    axes = attributes.get("axes")
    if axes is None and len(node.input) > 1 and node.input[1] in scalars:
        axes = scalars[node.input[1]].reshape(-1).tolist()
    over = {int(axis) % len(x) for axis in axes or ()}
    if kind in ("ReduceMean", "ReduceMax") and len(x) >= 3 and over == set(range(2, len(x))):
        draft.type = "global_avg_pool" if kind == "ReduceMean" else "global_max_pool"
        draft.kernel = x[2:]


def _bounds(node: onnx.NodeProto, attributes: dict[str, Any], scalars: Any) -> tuple[float | None, float | None]:
    found: list[float | None] = []
    for place, key in enumerate(("min", "max"), start=1):
        name = node.input[place] if len(node.input) > place else ""
        value = scalars.get(name) if name else attributes.get(key)
        found.append(None if value is None else float(value))
    # files of old opsets say "no bound" with the largest number there is
    return found[0], None if found[1] is not None and found[1] > 3e38 else found[1]


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    import onnx

    found = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        found[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return found


def _inferred(graph: onnx.GraphProto) -> tuple[dict[str, Shape], dict[str, int]]:
    """Tensors whose shapes are fully known, and the element types of all."""
    shapes, kinds = {}, {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kinds[value.name] = value.type.tensor_type.elem_type
        if _open(value) is None:
            shapes[value.name] = _sizes(value)
    return shapes, kinds


def _sizes(value: onnx.ValueInfoProto) -> Shape:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _open(value: onnx.ValueInfoProto) -> tuple[int | str, ...] | None:
    """A shape that is not fully known, its unknown sizes as names; None where all is known."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return ()
    if all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim)


def _words(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))})" if shape else "(not even its rank is said)"


def _set(value: onnx.ValueInfoProto, shape: Shape) -> None:
    import onnx

    value.type.CopyFrom(onnx.helper.make_tensor_type_proto(value.type.tensor_type.elem_type, shape))


def _itemsize(kind: int) -> int:
    import onnx

    return int(onnx.helper.tensor_dtype_to_np_dtype(kind or 1).itemsize)


def _module(node: onnx.NodeProto) -> str:
    """The module's path where PyTorch's exporter wrote it down."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            try:
                scopes = ast.literal_eval(entry.value)
            except (ValueError, SyntaxError):
                return ""
            return str(scopes[-2]) if len(scopes) > 1 else ""
    return ""
