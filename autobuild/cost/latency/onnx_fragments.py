"""The operators of an ONNX model, and fragments cut out of it, which are the entries of a latency table.

A fragment is a set of operators as a model of its own. Tensors from outside are its inputs, tensors without a reader
inside are its outputs, and weights are included. Fragments with equal operators, attributes, shapes and edges have the
same key, whatever networks they come from and whatever the values of their weights are.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError, CostError
from autobuild.graphs.onnx_operators import TYPES
from autobuild.graphs.operations import ACTIVATIONS

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]
SETTINGS = (
    16  # integer constants with up to this many elements, and scalars, are settings: their values are part of the key
)
ELEMENTWISE = frozenset(
    name for name, kind in TYPES.items()
    if kind in (*ACTIVATIONS, "clip", "elementwise", "add", "sub", "mul", "div", "batch_norm")
)  # fmt: skip
_ATTRIBUTES_OF = {"Conv": ("kernel_shape", "strides", "group"), "MaxPool": ("kernel_shape", "strides"),
                  "AveragePool": ("kernel_shape", "strides")}  # fmt: skip


@dataclass(frozen=True)
class Fragment:
    """Some operators of a network as a model of their own.

    Attributes:
        key: Hash of operators, attributes, shapes and edges.
        text: The same in readable form, e.g. ``"Conv 24x48x48 3x3/1 g24 -> 24x48x48 + Relu"``.
        inputs: Shapes of the inputs by name.
        make: Builds the ONNX model; not called if a table has the key.
    """

    key: str
    text: str
    inputs: Mapping[str, Shape]
    make: Callable[[], bytes] = field(repr=False, compare=False)

    @property
    def model(self) -> bytes:
        """The serialised ONNX model."""
        return self.make()


class Operators:
    """The operators of an ONNX model with static shapes, numbered in topological order.

    Nodes that depend on no input, such as computations on weights, are not operators.

    Args:
        model: The model, or its path.
        name: Name of the network in error messages.

    Raises:
        ConfigError: The package onnx is missing.
        CostError: A shape is not known, or the model has control flow. The message names the operator.
    """

    def __init__(self, model: onnx.ModelProto | str | Path, name: str = "") -> None:
        self.name = name or (str(model) if isinstance(model, str | Path) else "the network")
        self.model = _with_shapes(model, self.name)
        graph = self.model.graph
        self.shapes, self.kinds = _known_shapes(graph)
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._made: dict[str, onnx.NodeProto] = {}  # constant -> the node that computes it
        self.nodes: list[onnx.NodeProto] = []
        data = {value.name for value in graph.input if value.name not in self._constants}
        for node in graph.node:
            reads = [name for name in node.input if name]
            if any(name in data for name in reads):
                self.nodes.append(node)
                data.update(node.output)
            else:
                self._made.update(dict.fromkeys(node.output, node))
        self.outputs = {value.name for value in graph.output}
        self._writer = {out: i for i, node in enumerate(self.nodes) for out in node.output}
        self._check()

    def __len__(self) -> int:
        return len(self.nodes)

    def type(self, number: int) -> str:
        """Type of an operator, e.g. ``"Conv"``."""
        return str(self.nodes[number].op_type)

    @cached_property
    def sources(self) -> list[tuple[int, ...]]:
        """For each operator its producers, without duplicates."""
        return [
            tuple(dict.fromkeys(self._writer[name] for name in node.input if name in self._writer))
            for node in self.nodes
        ]

    @cached_property
    def readers(self) -> list[tuple[int, ...]]:
        """For each operator its readers."""
        return readers_of(self.sources)

    def is_output(self, number: int) -> bool:
        """Whether an output of an operator is an output of the network."""
        return any(name in self.outputs for name in self.nodes[number].output)

    def written_bytes(self, number: int) -> int:
        """Bytes of the outputs of an operator, four per element."""
        return sum(4 * math.prod(self.shapes[name]) for name in self.nodes[number].output if name)

    @cached_property
    def weights_mb(self) -> float:
        """MiB of all constants, four bytes per element."""
        return float(sum(4 * math.prod(tensor.dims) for tensor in self._constants.values()) / 2**20)

    def read_bytes(self, number: int) -> int:
        """Bytes of the inputs and weights of an operator."""
        total = 0
        for name in self.nodes[number].input:
            if name in self._constants:
                total += 4 * math.prod(self._constants[name].dims)
            elif name in self.shapes and name not in self._made:
                total += 4 * math.prod(self.shapes[name])
        return total

    @cached_property
    def whole(self) -> Fragment:
        """The whole network as a fragment."""
        return self.fragment(range(len(self)))

    @property
    def key(self) -> str:
        """Hash of the whole network, without the values of weights."""
        return self.whole.key

    def fragment(self, numbers: Iterable[int], expose: Iterable[int] = ()) -> Fragment:
        """A fragment of some operators.

        Args:
            numbers: Numbers of at least one operator.
            expose: Operators whose results are outputs of the fragment although operators inside read them.
        """
        chosen = sorted(set(numbers))
        nodes = [self.nodes[number] for number in chosen]
        inside = {out for node in nodes for out in node.output if out}
        reads = [name for node in nodes for name in node.input if name]
        inputs = list(dict.fromkeys(name for name in reads if self._is_data(name) and name not in inside))
        read = set(reads)
        shown = self.outputs | {out for number in expose for out in self.nodes[number].output}
        outputs = [out for node in nodes for out in node.output if out and (out not in read or out in shown)]

        def make() -> bytes:
            making, held = self._constants_of(reads)
            model: bytes = self._model(making + nodes, inputs, outputs, held).SerializeToString()
            return model

        shapes = {name: self.shapes[name] for name in inputs}
        return Fragment(self._key(nodes, inputs, outputs), self._text(chosen), shapes, make)

    def _is_data(self, name: str) -> bool:
        return name in self._writer or (name not in self._constants and name not in self._made)

    def _constants_of(self, names: Iterable[str]) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """Nodes that compute constants, in order, and the constant tensors that they and the operators read."""
        making: list[onnx.NodeProto] = []
        held: dict[str, onnx.TensorProto] = {}
        seen: set[str] = set()

        def visit(name: str) -> None:
            if not name or name in seen:
                return
            seen.add(name)
            if name in self._constants:
                held[name] = self._constants[name]
            elif (node := self._made.get(name)) is not None:
                for read in node.input:
                    visit(read)
                if node not in making:
                    making.append(node)

        for name in names:
            visit(name)
        return making, list(held.values())

    def _model(self, nodes: Sequence[Any], inputs: Sequence[str], outputs: Sequence[str], held: Sequence[Any]) -> Any:
        from onnx import helper

        def value(name: str) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, self.kinds.get(name, 1), self.shapes[name])

        graph = helper.make_graph(nodes, "fragment", list(map(value, inputs)), list(map(value, outputs)), held)
        return helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version)

    def _key(self, nodes: Sequence[onnx.NodeProto], inputs: Sequence[str], outputs: Sequence[str]) -> str:
        """Hash of a fragment. Names of tensors are replaced by positions, so only the computation counts."""
        place = {name: ["input", list(self.shapes[name]), self.kinds.get(name, 1), i] for i, name in enumerate(inputs)}
        content: list[Any] = []
        for i, node in enumerate(nodes):
            reads = [place.get(name) or self._constant_key(name) for name in node.input]
            content.append([node.domain, node.op_type, _attributes(node), reads])
            place |= {out: ["operator", i, j] for j, out in enumerate(node.output)}
        content.append([place[name] for name in outputs])
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]

    def _constant_key(self, name: str) -> Any:
        """Shape and type of a constant, and its values if it is a setting."""
        if not name:
            return None
        if name in self._constants:
            return _tensor_key(self._constants[name])
        node = self._made[name]
        if node.op_type == "Identity":  # exporters write equal constants as copies of one
            return self._constant_key(node.input[0])
        return [node.op_type, _attributes(node), [self._constant_key(read) for read in node.input]]

    def _text(self, chosen: Sequence[int]) -> str:
        parts = []
        for number in chosen:
            node, outside = self.nodes[number], [s for s in self.sources[number] if s not in chosen]
            text = str(node.op_type)
            known = _attributes(node)
            for name in _ATTRIBUTES_OF.get(node.op_type, ()):
                text += f" {name}={known.get(name)}" if name in known else ""
            if outside or not self.sources[number]:
                flows = next((name for name in node.input if self._is_data(name)), node.input[0])
                text += f" {'x'.join(map(str, self.shapes.get(flows, ())))}"
            parts.append(f"{text} -> {'x'.join(map(str, self.shapes[node.output[0]]))}")
        return " + ".join(parts)

    def _check(self) -> None:
        for number, node in enumerate(self.nodes):
            if any(attribute.HasField("g") for attribute in node.attribute):
                raise CostError(f"{self.name}: operator {node.name or number!r} ({node.op_type}): control flow has "
                                "no latency of its own")  # fmt: skip
            for out in node.output:
                if out and out not in self.shapes:
                    raise CostError(
                        f"{self.name}: the shape of {out!r}, written by {node.name or number!r} ({node.op_type}), is "
                        "not known: latency needs fixed shapes (export the network for one input shape)"
                    )

    def types(self) -> Counter[str]:
        """Number of operators of each type."""
        return Counter(map(self.type, range(len(self))))


def readers_of(sources: Sequence[Iterable[int]]) -> list[tuple[int, ...]]:
    """Invert edges: from the producers of every node to the readers of every node, in order."""
    readers: list[list[int]] = [[] for _ in sources]
    for reader, producers in enumerate(sources):
        for producer in producers:
            readers[producer].append(reader)
    return [tuple(numbers) for numbers in readers]


def _with_shapes(model: onnx.ModelProto | str | Path, name: str) -> onnx.ModelProto:
    try:
        import onnx
        from onnx import inliner, shape_inference
    except ImportError as error:
        raise ConfigError("latency by operators needs the package onnx: pip install 'autobuild-nas[onnx]'") from error
    try:
        if isinstance(model, str | Path):
            model = onnx.load(str(model))
        if model.functions:
            model = inliner.inline_local_functions(model)
        return shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # protobuf and onnx raise several types for a damaged or incomplete file
        raise CostError(f"{name}: not a readable ONNX model ({type(error).__name__}: {error})") from error


def _known_shapes(graph: onnx.GraphProto) -> tuple[dict[str, Shape], dict[str, int]]:
    """Static shapes and element types by tensor name."""
    shapes, kinds = {}, {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        kinds[value.name] = tensor.elem_type
        if tensor.HasField("shape") and all(size.HasField("dim_value") for size in tensor.shape.dim):
            shapes[value.name] = tuple(size.dim_value for size in tensor.shape.dim)
    return shapes, kinds


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    import onnx

    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, onnx.TensorProto):
            value = _tensor_key(value)
        elif isinstance(value, bytes):
            value = value.decode(errors="replace")
        elif not isinstance(value, int | float | str):
            value = list(value)
        attributes[attribute.name] = value
    return attributes


def _tensor_key(tensor: onnx.TensorProto) -> list[Any]:
    import onnx

    key: list[Any] = [list(tensor.dims), tensor.data_type]
    numbers = math.prod(tensor.dims)
    whole = tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
    if numbers == 1 or (whole and numbers <= SETTINGS):
        key.append(onnx.numpy_helper.to_array(tensor).tolist())
    return key
