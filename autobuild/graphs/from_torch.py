"""Read PyTorch networks as operation graphs, from their exported programs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autobuild.errors import GraphError
from autobuild.graphs.drafts import Draft, Value, Weight, finish
from autobuild.graphs.operations import OperationGraph, Shape
from autobuild.graphs.torch_axes import joined
from autobuild.graphs.torch_operators import (
    COPIES,
    FILLS,
    FIRST_ONLY,
    IDENTITIES,
    ORDERS,
    PRODUCTS,
    RANDOM,
    REPEATS,
    TYPES,
    fill,
    is_pointwise,
    operator_name,
    product,
)
from autobuild.graphs.torch_program import Example, check_fixed_shapes, is_view, line_of, own_name, program_of, writes

if TYPE_CHECKING:
    import torch
    from torch import nn

Operand = Value | Weight


def from_torch(model: nn.Module, example_input: Example, *, name: str = "", fold: bool = True) -> OperationGraph:
    """Trace a PyTorch network.

    Values that do not depend on the input (slices of weights, weight norm, merged kernels) are computed once before
    inference: they are not nodes and have no MACs, and operations that read them read the bytes of the result.

    Args:
        model: The network. It is traced in evaluation mode and not changed.
        example_input: One tensor, a tuple of tensors, a dict of keyword arguments, or a shape such as
            ``(1, 3, 224, 224)``, which may also replace the tensors of a tuple or dict. Only shapes and types matter.
        name: Name of the graph (default: the name of the class).
        fold: Fold batch norms into the convolution or linear layer before them, as exporters and compilers do.

    Returns:
        The operation graph.

    Raises:
        GraphError: The network does not run on the example, or cannot be traced. The message names the line of code and
            the operator.
    """
    drafts, outputs = traced(model, example_input)
    return finish(drafts, outputs, name or type(model).__name__, fold=fold)


def traced(model: nn.Module, example_input: Example) -> tuple[list[Draft], list[Value]]:
    """The operations of a network before the rules of :mod:`autobuild.graphs.drafts` are applied, and its outputs."""
    reader = _Reader(program_of(model, example_input), type(model).__name__)
    outputs = reader.run()
    return reader.drafts, outputs


class _Reader:
    """Reads an exported program. Each of its nodes is a value, a weight, several of these, or a constant."""

    def __init__(self, program: torch.export.ExportedProgram, name: str) -> None:
        self.program, self.name = program, name
        self.drafts: list[Draft] = []
        self.known: dict[Any, Any] = {}
        self.same: dict[Any, Any] = {}  # result of an in-place operator -> the tensor that it changed
        self.computed: dict[Any, str] = {}  # how a weight is computed -> its name

    def run(self) -> list[Value]:
        signature = self.program.graph_signature
        learnt, buffers = signature.inputs_to_parameters, {**signature.inputs_to_buffers}
        buffers |= signature.inputs_to_lifted_tensor_constants
        shared: dict[int, str] = {}
        graph = self.program.graph
        for node in graph.nodes:
            if node.op != "placeholder":
                continue
            if node.name in learnt or node.name in buffers:
                target = learnt.get(node.name) or buffers[node.name]
                tensor = self.program.state_dict.get(target, node.meta["val"])
                key = shared.setdefault(id(tensor), own_name(target))
                self.known[node] = Weight(key, tuple(tensor.shape), tensor.element_size(), node.name in learnt)
            elif 0 in getattr(node.meta.get("val"), "shape", (0,)):
                self.known[node] = self._computed(node, "constant", [])  # an empty input
            else:
                self.known[node] = self._add(Draft("input", "input", name=node.name), node)
        if not self.drafts:
            raise GraphError(f"{self.name}: the example input has no numbers; give a tensor or a shape that has some")
        for node in graph.nodes:
            if node.op == "get_attr":
                self.known[node] = self._computed(node, "constant", [])
            elif node.op == "call_function":
                self._read(node)
        return self._outputs()

    def _outputs(self) -> list[Value]:
        """The results of the network, then the values that it writes into its buffers."""
        node = next(node for node in self.program.graph.nodes if node.op == "output")
        signature = self.program.graph_signature
        written = {*signature.buffers_to_mutate, *signature.user_inputs_to_mutate}
        given, kept = [], []
        for arg in node.all_input_nodes if not isinstance(node.args[0], list | tuple) else node.args[0]:
            name = getattr(arg, "name", None)
            if name not in written or name in signature.user_outputs:
                given.append(arg)
            elif name in signature.buffers_to_mutate:
                kept.append(arg)
        return [value for value in _flat([self._resolve(given), self._resolve(kept)]) if isinstance(value, Value)]

    def _read(self, node: torch.fx.Node) -> None:
        """Read one call; every error names its place in the network."""
        before = len(self.drafts)
        try:
            found = self._call(node)
        except GraphError as error:
            raise GraphError(f"{self.name}{_at(node)}: {error}") from error
        except Exception as error:  # an argument whose form the tables do not cover
            raise GraphError(
                f"{self.name}{_at(node)}: {node.target} could not be read ({type(error).__name__}: {error})"
            ) from error
        for draft in self.drafts[before:] if _is_complex(node) else ():
            draft.macs = draft.macs and 4 * draft.macs  # of real numbers
        self.known[node] = found
        if found is not None and writes(node):  # later operations read the changed argument
            self.same[node] = self.same.get(node.args[0], node.args[0])
            self.known[self.same[node]] = found
            if isinstance(found, Weight):
                self._constant_written(node)

    def _constant_written(self, node: torch.fx.Node) -> None:
        """Mark a constant as changed if a constant is written into it or into a view of it."""
        place: Any = node.args[0]
        while getattr(place, "op", "") == "call_function" and is_view(place):
            place = self.same.get(place.args[0], place.args[0])
            held = self.known.get(place)
            if isinstance(held, Weight):
                key = f"{held.key}, written by {node.name}"
                self.known[place] = replace(held, key=key, held=None, computed_from=held.stored)

    def _call(self, node: torch.fx.Node) -> Any:
        args = [self._resolve(arg) for arg in node.args]
        if getattr(node.target, "__name__", "") == "getitem":
            held, place = args
            return held[place] if isinstance(held, tuple | list) else held if place == 0 else None
        keywords = {key: self._resolve(arg) for key, arg in node.kwargs.items()}
        operands = [value for value in _flat([*args, *keywords.values()]) if isinstance(value, Value | Weight)]
        data = [value for value in operands if isinstance(value, Value)]
        base = operator_name(node.target)
        if base == "flex_attention" and not self._resolve(node.kwargs) and data:
            return self._flexible(node, args[:3], data)
        if _has_regions(node):
            raise GraphError(f"{node.target}: control flow that depends on data has no operation graph; give graph_of "
                             "a network without it")  # fmt: skip
        if base in IDENTITIES and data:
            return data[0]
        shapes = _shapes(node)
        if not shapes:
            return None
        if base in ("slice", "narrow") and data and data[0].shape == shapes[0]:
            return data[0]  # all of it: up to version 2.9, PyTorch writes x[:, :4] as x[:][:, :4]
        named = _named(node, args, keywords)
        if base in COPIES or (base == "fill" and isinstance(named.get("value"), Value)):
            return self._copied(node, args[1], shapes[0])
        if base in ("to", "_to_copy", "type_as"):  # a second tensor only says which type
            operands = operands[:1]
            data = [value for value in operands if isinstance(value, Value)]
            if data and _same_type(node):
                return data[0]
        if base in RANDOM and (not data or writes(node) or base not in TYPES):  # new numbers in every call
            return self._add(Draft("input", str(node.target), module=_module(node)), node)
        if not data or base in FILLS or not any(0 not in shape for shape in shapes):
            self._check_empty(base, data, shapes)
            return self._computed(node, base, [value for value in operands if isinstance(value, Weight)])
        if base in ("slice_scatter", "select_scatter"):
            return self._written(node, base, named)
        if base in PRODUCTS or (base == "linear" and not isinstance(named["input"], Value)):
            return self._product(node, base, named, args)
        weights = [value for value in operands if isinstance(value, Weight)]
        draft = self._draft("other", node, data, weights)
        made = self._add(draft, node)
        if fill(draft, base, named, is_pointwise(node.target)):
            if draft.type in FIRST_ONLY:
                draft.outputs = draft.outputs[:1]
            return made
        self.drafts.pop()
        return data[0]

    def _flexible(self, node: torch.fx.Node, operands: list[Any], data: list[Value]) -> Any:
        """Attention whose scores a function changes, one by one; all of them count."""
        draft = self._draft("attention", node, data, [value for value in operands if isinstance(value, Weight)])
        made = self._add(draft, node)
        fill(draft, "scaled_dot_product_attention", dict(zip(("query", "key", "value"), operands, strict=True)), False)
        draft.outputs = draft.outputs[:1]
        return made

    def _check_empty(self, base: str, data: list[Value], shapes: list[Shape]) -> None:
        if data and base.startswith(("conv", "max_pool", "avg_pool")) and 0 not in data[0].shape:
            raise GraphError(f"{base}: its window does not fit into an input of the shape {data[0].shape}: the output "
                             f"would be empty, {shapes[0]}")  # fmt: skip

    def _product(self, node: torch.fx.Node, base: str, named: dict[str, Any], args: list[Any]) -> Any:
        """Read a matrix product and the addition that is part of it."""
        left, right = (args[place] for place in PRODUCTS.get(base, (0, 1)))
        if base == "linear":  # a linear layer whose weight depends on the input
            right = self._moved(node, right, (1, 0), right.shape[::-1])
        factors = [left, right]
        draft = self._draft("matmul", node, [v for v in factors if isinstance(v, Value)],
                            [v for v in factors if isinstance(v, Weight)])  # fmt: skip
        made = self._add(draft, node)
        product(draft, base, left, right)
        addend = named.get("bias") if base == "linear" else args[0] if base.startswith(("add", "baddbmm")) else None
        if not isinstance(addend, Value | Weight):
            return made
        if draft.type == "linear" and isinstance(addend, Weight) and addend.shape == draft.outputs[0][-1:]:
            draft.weights.append(addend)
            draft.bias = True
            return made
        values = [value for value in (addend, made) if isinstance(value, Value)]
        added = self._draft("add", node, values, [addend] if isinstance(addend, Weight) else [])
        added.macs = 0
        return self._add(added, node)

    def _written(self, node: torch.fx.Node, base: str, named: dict[str, Any]) -> Any:
        """Read a write into a part of a tensor as a concat: the rest before the part, the part, the rest after it."""
        whole, part = (named[key] for key in (("input", "src") if "input" in named else ("self", "src")))
        axis = int(named.get("dim", 0)) % len(whole.shape)
        size = whole.shape[axis]
        if base == "select_scatter":
            start = int(named["index"]) % size
            stop, step = start + 1, 1
        else:
            start, stop, step = slice(named.get("start"), named.get("end"), named.get("step", 1)).indices(size)
        if step != 1:
            draft = self._draft("gather", node, [v for v in (whole, part) if isinstance(v, Value)],
                                [v for v in (whole, part) if isinstance(v, Weight)])  # fmt: skip
            draft.macs = 0
            return self._add(draft, node)
        if (start, stop) == (0, size) and isinstance(part, Value) and part.shape == whole.shape:
            return part
        parts = [self._cut(node, whole, axis, 0, start), part, self._cut(node, whole, axis, stop, size)]
        places = [place for place in range(3) if parts[place] is not None]
        sizes = [(start, stop - start, size - stop)[place] for place in places]
        kept = [parts[place] for place in places]
        draft = self._draft("concat", node, [v for v in kept if isinstance(v, Value)],
                            [v for v in kept if isinstance(v, Weight)])  # fmt: skip
        draft.macs = 0
        draft.axes, draft.spans = joined(whole.shape, axis, sizes, [isinstance(v, Value) for v in kept])
        return self._add(draft, node)

    def _cut(self, node: torch.fx.Node, whole: Operand, axis: int, start: int, stop: int) -> Operand | None:
        """A slice of a tensor along one axis; None if it is empty."""
        if start >= stop:
            return None
        shape = (*whole.shape[:axis], stop - start, *whole.shape[axis + 1 :])
        if isinstance(whole, Weight):
            how = ("slice", whole.key, axis, start, stop)
            return _repeated(self._named_weight(how, "slice", [whole], shape, whole.itemsize), whole)
        draft = self._draft("slice", node, [whole], [])
        draft.macs, draft.axes, draft.spans = 0, (axis,), (((start, stop, 1),),)
        return self._append(draft, shape, node)

    def _moved(self, node: torch.fx.Node, value: Value, order: Shape, shape: Shape) -> Value:
        draft = self._draft("transpose", node, [value], [])
        draft.macs, draft.axes = 0, order
        return self._append(draft, shape, node)

    def _copied(self, node: torch.fx.Node, source: Any, shape: Shape) -> Any:
        """Read a copy: the source, in the shape and type of the target."""
        if isinstance(source, Weight):
            return self._computed(node, "expand", [source])
        if not isinstance(source, Value) or (source.shape == shape and source.draft.itemsize == _itemsize(node)):
            return source if isinstance(source, Value) else self._computed(node, "fill", [])
        draft = self._draft("alias" if source.shape != shape else "cast", node, [source], [])
        draft.macs = 0
        return self._add(draft, node)

    def _draft(self, kind: str, node: torch.fx.Node, data: list[Value], weights: list[Weight]) -> Draft:
        return Draft(kind, str(node.target), inputs=list(data), weights=weights, module=_module(node), macs=None)

    def _append(self, draft: Draft, shape: Shape, node: torch.fx.Node) -> Value:
        draft.outputs, draft.itemsize = [shape], _itemsize(node)
        self.drafts.append(draft)
        return Value(draft)

    def _add(self, draft: Draft, node: torch.fx.Node) -> Any:
        draft.outputs = _shapes(node)
        draft.itemsize = _itemsize(node)
        self.drafts.append(draft)
        many = isinstance(node.meta["val"], tuple | list)
        return tuple(Value(draft, i) for i in range(len(draft.outputs))) if many else Value(draft)

    def _computed(self, node: torch.fx.Node, base: str, weights: list[Weight]) -> Any:
        """A result that does not depend on the input: a weight computed ahead from others, or a constant."""
        shapes = _shapes(node)
        many = isinstance(node.meta.get("val"), tuple | list)
        if not shapes:
            return None
        only = weights[0] if len(weights) == 1 and not many and weights[0].itemsize == _itemsize(node) else None
        moved = base in ORDERS or TYPES.get(base) in ("alias", "slice") or base in IDENTITIES | COPIES
        if only and base in REPEATS:
            return replace(only, shape=shapes[0], held=only.in_memory)
        if only and moved and math.prod(shapes[0]) == math.prod(only.shape):  # the elements are only rearranged
            return replace(only, shape=shapes[0])
        unique = node.name if node.op == "get_attr" else ""
        how = (str(node.target), repr(_keyed([self._resolve(a) for a in node.args])),
               repr(_keyed({k: self._resolve(v) for k, v in node.kwargs.items()})), unique)  # fmt: skip
        made = tuple(
            self._named_weight((*how, place), base, weights, shape, _itemsize(node))
            for place, shape in enumerate(shapes)
        )
        return made if many else _repeated(made[0], only) if only and moved else made[0]

    def _named_weight(self, how: tuple[Any, ...], base: str, weights: list[Weight], shape: Shape,
                      itemsize: float) -> Weight:  # fmt: skip
        """A computed weight; weights that are computed in the same way have the same key."""
        stored = {part.key: part for weight in weights for part in weight.stored}
        key = self.computed.setdefault(how, f"{base} {len(self.computed) + 1} of {next(iter(stored), 'constants')}")
        learnt = any(part.learnt for part in stored.values())
        sources = tuple(stored.values())
        if base in FILLS or (base in ("full", "zeros", "ones", "empty") and not weights):
            return Weight(key, shape, itemsize, False, (1,), sources)  # the same number at every position
        return Weight(key, shape, itemsize, learnt, None, sources)

    def _resolve(self, arg: Any) -> Any:
        import torch

        if isinstance(arg, torch.fx.Node):
            return self.known.get(self.same.get(arg, arg))
        if isinstance(arg, list | tuple):
            return [self._resolve(item) for item in arg]
        return arg


def _repeated(part: Weight, whole: Weight) -> Weight:
    """A part of a weight that is stored with fewer elements than the part has, because they repeat."""
    few = whole.held is not None and math.prod(whole.held) < part.numel
    return replace(part, held=whole.held) if few else part


def _named(node: torch.fx.Node, args: list[Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a call by the names of the operator's schema, and by position."""
    schema = getattr(node.target, "_schema", None)
    names = [argument.name for argument in schema.arguments] if schema else []
    named = dict(zip(names, args, strict=False)) | keywords
    return named | {str(place): value for place, value in enumerate(args)} | {
        str(names.index(key)): value for key, value in keywords.items() if key in names
    }  # fmt: skip


def _keyed(value: Any) -> Any:
    """Arguments in which weights are replaced by their keys."""
    if isinstance(value, Weight):
        return ("weight", value.key, value.shape)
    if isinstance(value, Value):
        return "data"  # of which only the shape is asked for
    if isinstance(value, dict):
        return {key: _keyed(item) for key, item in value.items()}
    return [_keyed(item) for item in value] if isinstance(value, list | tuple) else value


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _flat(item)
    elif isinstance(value, dict):
        yield from _flat(list(value.values()))
    else:
        yield value


def _shapes(node: torch.fx.Node) -> list[Shape]:
    """Shapes of the output tensors."""
    import torch

    tensors = [value for value in _flat(node.meta.get("val")) if isinstance(value, torch.Tensor)]
    check_fixed_shapes(node)
    return [tuple(tensor.shape) for tensor in tensors]


def _itemsize(node: torch.fx.Node) -> int:
    return next((value.element_size() for value in _flat(node.meta.get("val")) if hasattr(value, "element_size")), 4)


def _is_complex(node: torch.fx.Node) -> bool:
    return any(value.is_complex() for value in _flat(node.meta.get("val")) if hasattr(value, "is_complex"))


def _same_type(node: torch.fx.Node) -> bool:
    given = next((arg for arg in node.args if hasattr(arg, "meta")), None)
    before, after = getattr(given, "meta", {}).get("val"), node.meta.get("val")
    return getattr(before, "dtype", None) == getattr(after, "dtype", None)


def _module(node: torch.fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    path = list(stack.values())[-1][0] if stack else ""
    return own_name(str(path))


def _at(node: torch.fx.Node) -> str:
    """Line of code and module of a node, for error messages."""
    line, module = line_of(node), _module(node)
    return (f", {line}" if line else "") + (f", module {module!r}" if module else "")


def _has_regions(node: torch.fx.Node) -> bool:
    """Whether an operator contains other graphs, such as a branch or a loop."""
    import torch

    if not isinstance(node.target, torch._ops.HigherOrderOperator):
        return False
    owner = node.graph.owning_module
    held = [arg for arg in node.all_input_nodes if arg.op == "get_attr"]
    return any(isinstance(getattr(owner, str(arg.target), None), torch.fx.GraphModule) for arg in held)
