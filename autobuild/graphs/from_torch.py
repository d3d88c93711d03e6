"""A PyTorch network as an operation graph: ``torch.export`` traces it, a table says what its operators are.

The exported program is read before decomposition: core ATen has ``silu`` as sigmoid and product and ``linear`` as a
transposition and a product, which says less than the network does. Nothing is computed, only shapes are.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from autobuild.errors import GraphError
from autobuild.graphs.drafts import Draft, Value, Weight, clipping, convolution, finish, linear, matmul
from autobuild.graphs.operations import OperationGraph, Shape
from autobuild.graphs.torch_axes import fill_axes

if TYPE_CHECKING:
    import torch
    from torch import nn

# ATen names without overload; a trailing underscore (in place) is cut off.
TYPES = {
    **{name: name for name in (
        "relu", "relu6", "leaky_relu", "prelu", "elu", "sigmoid", "silu", "gelu", "mish", "tanh", "softplus", "softmax",
        "batch_norm", "layer_norm", "group_norm", "embedding", "add", "sub", "mul", "div", "pad", "gather",
    )},
    "_prelu_kernel": "prelu", "selu": "elu", "celu": "elu", "hardsigmoid": "hard_sigmoid", "hardswish": "hard_swish",
    "_softmax": "softmax", "log_softmax": "softmax", "_log_softmax": "softmax",
    "hardtanh": "clip", "clamp": "clip", "clamp_min": "clip", "clamp_max": "clip",
    "_native_batch_norm_legit_no_training": "batch_norm", "native_layer_norm": "layer_norm", "rms_norm": "layer_norm",
    "native_group_norm": "group_norm", "instance_norm": "group_norm",
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), "rnn"),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices"), "max_pool"),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), "avg_pool"),
    **dict.fromkeys((f"adaptive_avg_pool{d}d" for d in (1, 2, 3)), "avg_pool"),
    **dict.fromkeys((f"adaptive_max_pool{d}d" for d in (1, 2, 3)), "max_pool"),
    **dict.fromkeys(("cat", "concat", "stack", "hstack", "vstack"), "concat"),
    **dict.fromkeys(("slice", "select", "narrow", "split", "split_with_sizes", "chunk", "unbind", "tensor_split"),
                    "slice"),
    **dict.fromkeys(("index", "index_select", "take", "masked_select"), "gather"),
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d"), "pad"),
    **dict.fromkeys(("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_bilinear2d",
                     "upsample_bicubic2d", "upsample_linear1d", "upsample_trilinear3d", "_upsample_nearest_exact2d",
                     "grid_sampler", "grid_sampler_2d"), "resize"),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "argmax", "argmin", "prod", "var", "std", "norm",
                     "linalg_vector_norm", "cumsum", "topk", "any", "all", "logsumexp"), "reduce"),
    **dict.fromkeys(("transpose", "permute", "t", "numpy_T", "movedim", "swapaxes", "roll", "flip", "pixel_shuffle",
                     "pixel_unshuffle", "channel_shuffle", "repeat", "unfold", "im2col"), "transpose"),
    **dict.fromkeys(("to", "_to_copy", "type_as"), "cast"),
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "expand", "expand_as",
                     "view_as", "_unsafe_view", "ravel"), "alias"),
    **dict.fromkeys(("abs", "exp", "log", "sqrt", "rsqrt", "pow", "neg", "reciprocal", "sin", "cos", "erf", "square",
                     "where", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or",
                     "logical_not", "bitwise_and", "bitwise_or", "bitwise_not", "floor", "ceil", "round", "rsub",
                     "floor_divide", "remainder", "masked_fill", "sign", "log1p", "expm1", "log_sigmoid", "lerp",
                     "addcmul", "addcdiv", "atan2", "tril", "triu", "softsign", "hardshrink"), "elementwise"),
}  # fmt: skip
IDENTITIES = {"dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout", "detach",
              "clone", "contiguous", "alias", "lift_fresh", "lift_fresh_copy", "identity"}  # fmt: skip
SHAPE_ONLY = {"zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "new_zeros", "new_ones",
              "new_full", "new_empty"}  # fmt: skip
CONVOLUTIONS = {"conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
PRODUCTS = {"matmul", "mm", "bmm", "addmm", "baddbmm", "mv", "einsum"}
Example = Any  # a tensor, a tuple of tensors, a dict of keyword arguments, or the shape of one picture


def from_torch(model: nn.Module, example_input: Example, *, name: str = "", fold: bool = True) -> OperationGraph:
    """Trace a network.

    Args:
        model: It is traced in evaluation mode and left as it was.
        example_input: One tensor, a tuple of tensors, a dict of keyword arguments, or a shape such as
            ``(1, 3, 224, 224)``. Only shapes and types matter.
        name: Of the graph; the class's name by default.
        fold: Fold batch norms into the convolutions before them, as exporters and compilers do. With ``fold=False``
            they stay, and the graph's ``params`` equal :func:`autobuild.cost.count_params`.

    Raises:
        GraphError: If the network does not run on the example, or torch.export cannot trace it.
    """
    drafts, outputs = traced(model, example_input)
    return finish(drafts, outputs, name or type(model).__name__, fold=fold)


def traced(model: nn.Module, example_input: Example) -> tuple[list[Draft], list[Value]]:
    """The operations of a network before any rule is applied, and its outputs; as :func:`from_torch`."""
    reader = _Reader(_export(model, example_input))
    outputs = reader.run()
    return reader.drafts, outputs


def _export(model: nn.Module, example: Example) -> torch.export.ExportedProgram:
    import torch

    if isinstance(example, list | tuple) and example and all(isinstance(size, int) for size in example):
        example = torch.zeros(tuple(example))
    keywords = dict(example) if isinstance(example, Mapping) else {}
    positional = () if keywords else example if isinstance(example, tuple) else (example,)
    with _evaluation_mode(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.export.export(model, positional, keywords)
        except Exception as error:  # tracing runs the user's own code: anything may be raised, and all of it is theirs
            said = " ".join(str(error).split())[:400]
            raise GraphError(
                f"{type(model).__name__} could not be traced on this example input: {type(error).__name__}: {said}. "
                "torch.export needs an example that the network accepts, and no control flow that depends on data"
            ) from error


@contextlib.contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and attention told as its parts; both are put back."""
    import torch

    modes = {module: module.training for module in model.modules()}
    fast: bool = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, mode in modes.items():
            module.training = mode


class _Reader:
    """Walks an exported program. What a graph's node is: a value, several, a set of weights, or a plain constant."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        self.program = program
        self.drafts: list[Draft] = []
        self.constants = 0

    def run(self) -> list[Value]:
        signature = self.program.graph_signature
        learnt, buffers = signature.inputs_to_parameters, {**signature.inputs_to_buffers}
        buffers |= signature.inputs_to_lifted_tensor_constants
        known: dict[Any, Any] = {}
        shared: dict[int, str] = {}
        for node in self.program.graph.nodes:
            if node.op != "placeholder":
                continue
            if node.name in learnt or node.name in buffers:
                target = learnt.get(node.name) or buffers[node.name]
                tensor = self.program.state_dict.get(target, node.meta["val"])
                key = shared.setdefault(id(tensor), target)
                known[node] = (Weight(key, tuple(tensor.shape), tensor.element_size(), node.name in learnt),)
            elif hasattr(node.meta.get("val"), "shape"):
                known[node] = self._add(Draft("input", "input", name=node.name), node)
        return [value for value in _flat(self._walk(self.program.graph_module, known)) if isinstance(value, Value)]

    def _walk(self, graph_module: torch.fx.GraphModule, known: dict[Any, Any]) -> Any:
        """Read one graph whose inputs are known; returns what its output node holds."""
        import torch

        result: Any = ()
        for node in graph_module.graph.nodes:
            if node.op == "get_attr":
                held = getattr(graph_module, str(node.target), None)
                known[node] = held if isinstance(held, torch.fx.GraphModule) else self._constant(node)
            elif node.op == "output":
                result = _resolve(node.args[0], known)
            elif node.op == "call_function":
                known[node] = self._call(node, known)
                if known[node] is not None and _in_place(node):
                    known[node.args[0]] = known[node]  # later readers of the argument read what was written
        return result

    def _call(self, node: torch.fx.Node, known: dict[Any, Any]) -> Any:
        args = [_resolve(arg, known) for arg in node.args]
        if getattr(node.target, "__name__", "") == "getitem":
            held, place = args
            return held[place] if isinstance(held, tuple | list) and not _weights(held) else held
        base = operator_name(node)
        if _is_higher_order(node):
            return self._region(node, args)
        values = list(_flat([*args, *(_resolve(arg, known) for arg in node.kwargs.values())]))
        data = [value for value in values if isinstance(value, Value)]
        if not data or base in SHAPE_ONLY:
            return tuple(value for value in values if isinstance(value, Weight)) or self._constant(node)
        if "val" not in node.meta or not _shapes(node):
            return None
        if base in IDENTITIES or (base in ("to", "_to_copy") and _same_type(node)):
            return data[0]
        weights = [value for value in values if isinstance(value, Weight)]
        draft = Draft("other", str(node.target), inputs=data, weights=weights, module=_module(node), macs=None)
        made = self._add(draft, node)
        if _fill(draft, base, args, node):
            return made
        self.drafts.pop()
        return data[0]

    def _region(self, node: torch.fx.Node, args: list[Any]) -> Any:
        """Regions that only switch gradients or precision are read through; real control flow is refused."""
        import torch

        inner = next((arg for arg in args if isinstance(arg, torch.fx.GraphModule)), None)
        wraps = str(node.target).startswith(("wrap_with_set_grad_enabled", "wrap_with_autocast"))
        if inner is None or not wraps:
            if not _shapes(node):
                return None
            raise GraphError(f"node {node.name!r} ({node.target}) in module {_module(node)!r}: control flow that "
                             "depends on data has no operation graph; give graph_of a network without it")  # fmt: skip
        given = args[args.index(inner) + 1 :]
        inputs = [n for n in inner.graph.nodes if n.op == "placeholder"]
        return tuple(_outputs(self._walk(inner, dict(zip(inputs, given, strict=True)))))

    def _add(self, draft: Draft, node: torch.fx.Node) -> Any:
        draft.outputs = _shapes(node)
        draft.itemsize = _itemsize(node)
        self.drafts.append(draft)
        many = isinstance(node.meta["val"], tuple | list)
        return tuple(Value(draft, i) for i in range(len(draft.outputs))) if many else Value(draft)

    def _constant(self, node: torch.fx.Node) -> tuple[Weight, ...]:
        self.constants += 1
        shapes = _shapes(node)
        shape = shapes[0] if shapes else ()
        return (Weight(f"constant {self.constants}", shape, _itemsize(node), learnt=False),) if shapes else ()


def _fill(draft: Draft, base: str, args: list[Any], node: torch.fx.Node) -> bool:
    """Say what an operator is, and its numbers; False where it does nothing to its input."""
    named = _named(node, args)
    x = draft.inputs[0].shape
    if base in CONVOLUTIONS:
        _convolution(draft, base, named)
    elif base == "linear":
        linear(draft, x[-1], named.get("bias") is not None)
    elif base in PRODUCTS:
        _product(draft, base, named)
    elif base == "scaled_dot_product_attention":
        draft.type = "attention"
        keys, read = draft.inputs[1].shape, draft.inputs[2].shape
        draft.macs = math.prod(draft.outputs[0][:-1]) * keys[-2] * (x[-1] + read[-1])
    elif base.startswith("adaptive_"):
        return _adaptive(draft, base, x)
    elif base in TYPES:
        draft.type = TYPES[base]
        draft.macs = None if draft.type == "rnn" else 0
        if draft.type in ("max_pool", "avg_pool"):
            _window(draft, named, len(x) - 2 if len(x) > 2 else 1)
        elif draft.type == "reduce":
            _reduction(draft, base, named, x)
        elif draft.type == "clip" and base != "clamp_max":
            draft.type = clipping(_number(named, 1), _number(named, 2))
        else:
            fill_axes(draft, base, named)
        return draft.type != "alias" or draft.outputs[0] != x
    return True


def _convolution(draft: Draft, base: str, named: dict[str, Any]) -> None:
    weight = named["weight"]
    shape = weight[0].shape if _weights(weight) else weight.shape
    dims = len(shape) - 2
    transposed = bool(named.get("transposed")) or "transpose" in base
    convolution(draft, shape, named.get("bias") is not None, transposed=transposed)
    draft.stride = _per_dim(named.get("stride", 1), dims)
    draft.dilation = _per_dim(named.get("dilation", 1), dims)
    draft.groups = int(named.get("groups", 1))
    padding = named.get("padding", 0)
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(draft.dilation, draft.kernel or (), strict=True)]
        draft.padding = tuple((t // 2, t - t // 2) for t in total)
    else:
        draft.padding = tuple((p, p) for p in _per_dim(0 if padding == "valid" else padding, dims))


def _product(draft: Draft, base: str, named: dict[str, Any]) -> None:
    if base == "einsum":
        draft.type, draft.macs = "matmul", None  # its products depend on the equation
        return
    matmul(draft)
    by_weight = len(draft.inputs) == 1 and bool(draft.weights)
    if base == "addmm" and by_weight:
        linear(draft, draft.inputs[0].shape[-1], True)
    elif by_weight and len(draft.weights[0].shape) == 2:
        linear(draft, draft.inputs[0].shape[-1], False)
    elif base == "baddbmm" and len(draft.inputs) == 3:
        draft.macs = math.prod(draft.outputs[0]) * draft.inputs[1].shape[-1]


def _window(draft: Draft, named: dict[str, Any], dims: int) -> None:
    draft.kernel = _per_dim(named["kernel_size"], dims)
    draft.stride = _per_dim(named.get("stride") or draft.kernel, dims)
    draft.dilation = _per_dim(named.get("dilation", 1), dims)
    draft.padding = tuple((p, p) for p in _per_dim(named.get("padding", 0), dims))


def _adaptive(draft: Draft, base: str, x: Shape) -> bool:
    """An adaptive pool is one of fixed windows where the sizes divide; over windows of one position it is nothing."""
    draft.type, draft.macs = TYPES[base], 0
    wanted = draft.outputs[0][2:]
    if wanted == x[2:]:
        return False
    if all(size % out == 0 for size, out in zip(x[2:], wanted, strict=True)):
        draft.kernel = draft.stride = tuple(size // out for size, out in zip(x[2:], wanted, strict=True))
        draft.dilation = (1,) * len(wanted)
        draft.padding = ((0, 0),) * len(wanted)
    return True


def _reduction(draft: Draft, base: str, named: dict[str, Any], x: Shape) -> None:
    """A mean or maximum over all positions of a map is a global pool."""
    fill_axes(draft, base, named)
    over = named.get("dim")
    dims = {d % len(x) for d in ([over] if isinstance(over, int) else over or ())}
    if base in ("mean", "amax") and len(x) >= 3 and dims == set(range(2, len(x))):
        draft.type = "global_avg_pool" if base == "mean" else "global_max_pool"
        draft.kernel = x[2:]


def operator_name(node: torch.fx.Node) -> str:
    """``aten.add_.Tensor`` -> ``add``."""
    parts = str(node.target).split(".")
    name = parts[1] if len(parts) > 1 else parts[0]
    return name if name.startswith("__") else name.rstrip("_")


def _named(node: torch.fx.Node, args: list[Any]) -> dict[str, Any]:
    """Arguments by the names of the operator's schema, and by their place."""
    schema = getattr(node.target, "_schema", None)
    names = [argument.name for argument in schema.arguments] if schema else []
    named = dict(zip(names, args, strict=False)) | dict(node.kwargs)
    return named | {str(place): value for place, value in enumerate(args)} | {
        str(names.index(key)): value for key, value in node.kwargs.items() if key in names
    }  # fmt: skip


def _number(named: dict[str, Any], place: int) -> Any:
    """A bound of clamp or hardtanh, which have them at the same place; None where it is open or a tensor."""
    value = named.get(str(place))
    return value if isinstance(value, int | float) else None


def _per_dim(value: Any, dims: int) -> Shape:
    sizes = tuple(int(v) for v in value) if isinstance(value, list | tuple) else (int(value),)
    return sizes * dims if len(sizes) == 1 else sizes


def _resolve(arg: Any, known: dict[Any, Any]) -> Any:
    import torch

    if isinstance(arg, torch.fx.Node):
        return known.get(arg)
    if isinstance(arg, list | tuple):
        return [_resolve(item, known) for item in arg]
    return arg


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _flat(item)
    else:
        yield value


def _outputs(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _weights(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(item, Weight) for item in value)


def _shapes(node: torch.fx.Node) -> list[Shape]:
    import torch

    tensors = [value for value in _flat(node.meta.get("val")) if isinstance(value, torch.Tensor)]
    return [tuple(int(size) for size in tensor.shape) for tensor in tensors]


def _itemsize(node: torch.fx.Node) -> int:
    return next((value.element_size() for value in _flat(node.meta.get("val")) if hasattr(value, "element_size")), 4)


def _same_type(node: torch.fx.Node) -> bool:
    given = next((arg for arg in node.args if hasattr(arg, "meta")), None)
    before, after = getattr(given, "meta", {}).get("val"), node.meta.get("val")
    return getattr(before, "dtype", None) == getattr(after, "dtype", None)


def _module(node: torch.fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    path = list(stack.values())[-1][0] if stack else ""
    return str(path)


def _in_place(node: torch.fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    info = schema.arguments[0].alias_info if schema and schema.arguments else None
    return bool(info and info.is_write and node.args)


def _is_higher_order(node: torch.fx.Node) -> bool:
    import torch

    return isinstance(node.target, torch._ops.HigherOrderOperator)
