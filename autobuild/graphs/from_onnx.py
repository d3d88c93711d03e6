"""Read ONNX files as operation graphs: shapes from the shape inference of ONNX, operators from tables.

Only the shapes of weights are read, not their values, so that external data files may be missing.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError, GraphError, nearest
from autobuild.graphs.drafts import Draft, Value, Weight, finish
from autobuild.graphs.onnx_axes import Call, fill_axes
from autobuild.graphs.onnx_contrib import FLOATS, fill_contrib, is_contrib, same_as, written_shapes
from autobuild.graphs.onnx_operators import QUANTISED, fill, keep_weights
from autobuild.graphs.onnx_tensors import Tensors, bits_of, damage_of, is_floating
from autobuild.graphs.operations import OperationGraph, Shape

if TYPE_CHECKING:
    import onnx

IDENTITIES = ("Identity", "Dropout", "BitCast", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
SHAPE_ONLY = ("Shape", "Size", "ConstantOfShape", "EyeLike")
DRAWN = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike")
CONTROL = ("Loop", "Scan", "SequenceMap")
MASKING = ("Add", "Where", "Attention", "MultiHeadAttention", "Expand", "Slice", "Unsqueeze")
# Operators that only rearrange the elements of a weight: the stored weight is the one that is read.
REARRANGED = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout", "Cast",
              "BitCast", "QuantizeLinear", "DequantizeLinear")  # fmt: skip
MAX_NODES = 20_000  # each takes a quarter of a millisecond
FLOAT, STRING = 1, 8  # element types of ONNX
Shapes = Mapping[str, tuple[int, ...]]


def from_onnx(path: str | Path, *, shapes: Shapes | None = None, name: str = "", fold: bool = True) -> OperationGraph:
    """Read an ONNX file.

    Args:
        path: The file. Functions that it defines are inlined.
        shapes: Name -> shape of inputs or other tensors whose shape the file leaves open or that cannot be inferred,
            e.g. ``{"x": (1, 3, 224, 224)}``.
        name: Name of the graph (default: the name of the file).
        fold: Fold batch norms into the convolution or linear layer before them.

    Floating-point weights count as parameters. A file does not say which of them were trained, so constant feature maps
    of more than one element count, too.

    Returns:
        The operation graph.

    Raises:
        ConfigError: The package onnx is missing, or ``shapes`` names a tensor that the file does not have.
        GraphError: The file is not ONNX, or it has unknown shapes, custom operators without given shapes (the message
            names the node and says how to give them), or control flow.
    """
    path = Path(path)
    model = _load(path)
    reader = _Reader(model, _checked(shapes, path), path)
    try:
        outputs = reader.run()
    except (ConfigError, GraphError):
        raise
    except Exception as error:  # protobuf accepts many files that are not models
        raise GraphError(f"{path}: a damaged file ({type(error).__name__}: {error})") from error
    return finish(reader.drafts, outputs, name or path.stem, fold=fold)


def _checked(shapes: Shapes | None, path: Path) -> dict[str, Shape]:
    """Check the form of ``shapes``. Raises ConfigError."""
    if not isinstance(shapes, Mapping | None):
        raise ConfigError(f"{path}: shapes={shapes!r}: accepted is such as {{'x': (1, 3, 224, 224)}}")
    for name, shape in (shapes or {}).items():
        listed = isinstance(shape, tuple | list)
        if not listed or not all(isinstance(size, Integral) and size > 0 for size in shape):
            raise ConfigError(f"{path}: shapes={{{name!r}: {shape!r}}}: a tuple of positive whole sizes is accepted")
    return {name: tuple(int(size) for size in shape) for name, shape in (shapes or {}).items()}


def _load(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise GraphError(f"{path}: there is no such file")
    try:
        import onnx
        from onnx import inliner
    except ImportError as error:
        raise ConfigError(
            f"{path}: reading ONNX files needs the package onnx: pip install 'autobuild-nas[onnx]'"
        ) from error
    try:
        model = onnx.load(str(path), load_external_data=False)
        if not model.graph.output or not model.opset_import:
            raise GraphError(f"{path}: not an ONNX model, or a damaged one: it has no outputs")
        if (count := _size(model)) > MAX_NODES:
            raise GraphError(
                f"{path}: {count:,} nodes, those of its functions included; at most {MAX_NODES:,} are read"
            )
        return inliner.inline_local_functions(model) if model.functions else model
    except GraphError:
        raise
    except Exception as error:  # protobuf raises several types for a damaged file
        raise GraphError(f"{path}: not an ONNX model, or a damaged one ({type(error).__name__}: {error})") from error


def _size(model: onnx.ModelProto) -> int:
    """Number of nodes if every call of a function is written out; one that calls itself counts as too many."""
    bodies = {(function.domain, function.name): function for function in model.functions}
    known: dict[tuple[str, str], int] = {}

    def count(nodes: Iterable[onnx.NodeProto]) -> int:
        return sum(called(node.domain, node.op_type) for node in nodes)

    def called(domain: str, name: str) -> int:
        if (domain, name) not in bodies:
            return 1
        if (domain, name) not in known:
            known[domain, name] = MAX_NODES + 1
            known[domain, name] = count(_all_nodes(bodies[domain, name]))
        return known[domain, name]

    return count(_all_nodes(model.graph))


class _Reader:
    """Reads the nodes in order. Tensors that depend on the inputs are values, all others are weights."""

    def __init__(self, model: onnx.ModelProto, given: dict[str, Shape], path: Path) -> None:
        self.graph, self.given, self.path = model.graph, given, path
        self.tensors = Tensors(model.opset_import, model.ir_version, path.parent)
        self.drafts: list[Draft] = []
        self.known: dict[str, Value | Weight | None] = {"": None}
        self.measured: set[str] = set()  # tensors computed from shapes of values, which are not weights of the file
        self.nodes = list(_all_nodes(model.graph))
        self.reads = Counter(name for node in self.nodes for name in node.input if name)
        self.reads.update(value.name for graph in _all_graphs(model.graph) for value in graph.output)
        self.added = {name for node in self.nodes if node.op_type in MASKING for name in node.input}
        self.declared: dict[str, onnx.TypeProto] = {}  # types that the file declares for inner tensors

    def run(self) -> list[Value]:
        """Read all nodes and return the outputs of the network."""
        self._check_given()
        self._stored(self.graph)
        inputs = [value for value in self.graph.input if value.name not in self.known]
        for value in inputs:
            self._input(value)
        if not any(value.name in self.given for value in inputs):  # otherwise declared shapes may not hold
            self.declared |= {value.name: value.type for value in (*self.graph.value_info, *self.graph.output)}
        self._walk(self.graph)
        if lacking := [value.name for value in self.graph.output if value.name not in self.known]:
            raise GraphError(f"{self.path}: its output {lacking[0]!r} is written by no node")
        outputs = [self.known[value.name] for value in self.graph.output]
        return [value for value in outputs if isinstance(value, Value)]

    def _check_given(self) -> None:
        accepted = [value.name for value in self.graph.input]
        accepted += [name for node in self.nodes for name in node.output]
        for name in self.given:
            if name not in accepted:
                raise ConfigError(
                    f"{self.path}: shapes= names {name!r}, which is not a tensor of the file: {nearest(name, accepted)}"
                )

    def _stored(self, graph: onnx.GraphProto) -> None:
        """Store the weights of a graph."""
        for tensor in graph.initializer:
            self._weight(tensor.name, tensor)
        for sparse in graph.sparse_initializer:
            self._sparse(sparse.values.name, sparse)

    def _input(self, value: onnx.ValueInfoProto) -> None:
        """Store an input of the network; an open batch size is set to one."""
        name, given = value.name, self.given.get(value.name)
        if (kind := value.type.WhichOneof("value")) not in ("tensor_type", None):
            raise GraphError(f"{self.path}: input {name!r} is of the kind {str(kind).removesuffix('_type')}; accepted: "
                             "tensors. Export the network with tensors as its inputs")  # fmt: skip
        said = _said(value)
        shape: Sequence[int | str] | None = given or said
        if given and said is not None and len(said) != len(given):
            raise ConfigError(f"{self.path}: shapes={{{name!r}: {given}}}: the file declares {_words(said)}: "
                              f"{len(said)} sizes are accepted")  # fmt: skip
        if shape is not None and not given and shape and (isinstance(shape[0], str) or shape[0] < 0):
            batched = (1, *shape[1:])
            if all(isinstance(size, int) and size > 0 for size in batched):
                warnings.warn(f"{self.path}: input {name!r} has the open batch {shape[0]!r} in {_words(shape)}; 1 is "
                              f"taken (shapes={{{name!r}: ...}} gives another)", stacklevel=5)  # fmt: skip
                shape = self.given[name] = batched  # type: ignore[assignment]
        if shape is None or not all(isinstance(size, int) and size > 0 for size in shape):
            sizes = tuple(size if isinstance(size, int) and size > 0 else 1 for size in shape or ())
            example = sizes if shape is not None else "..."
            raise GraphError(f"{self.path}: input {name!r} has the unknown shape {_words(shape)}; give it, for example "
                             f"shapes={{{name!r}: {example}}}")  # fmt: skip
        self.tensors.set(name, [int(size) for size in shape], value.type.tensor_type.elem_type)
        draft = Draft("input", "input", name=name)
        self._outputs(draft, [name], name)
        self.drafts.append(draft)

    def _walk(self, graph: onnx.GraphProto) -> None:
        for number, node in enumerate(graph.node):
            name = node.name or f"{node.op_type}_{number}"
            try:
                self._node(node, name)
            except GraphError as error:
                said = str(error)
                raise GraphError(said if said.startswith(str(self.path)) else f"{self.path}: {said}") from None
            except Exception as error:  # wrong attributes or inputs may raise any exception
                raise GraphError(f"{self.path}: node {name!r} ({node.op_type}) is damaged or of a form that is not "
                                 f"known: {type(error).__name__}: {error}") from error  # fmt: skip

    def _node(self, node: onnx.NodeProto, name: str) -> None:
        from onnx import helper

        custom = not self.tensors.is_declared(node.op_type, node.domain)
        if not custom and node.op_type == "If":
            self._branch(node, name)
            return
        if not custom and node.op_type in CONTROL:
            raise GraphError(f"node {name!r} ({node.op_type}): control flow has no operation graph; export the network "
                             "without it")  # fmt: skip
        if not custom and node.op_type == "Constant":
            self._constant(node)
            return
        if not custom and node.op_type == "CastLike":  # only the type of the second input matters
            kind = self.tensors.kind(node.input[1])
            node = helper.make_node("Cast", list(node.input[:1]), list(node.output), to=kind)
        inputs = [self._known(source, name) for source in node.input]
        call, contrib = self._call(node, inputs, custom)
        why = self._infer(node, call, custom)
        if not custom and node.op_type in DRAWN and self.tensors.shape(node.output[0]) is not None:
            draft = Draft("input", node.op_type, name=name)  # new numbers in every call
            self._outputs(draft, list(node.output), name)
            self.drafts.append(draft)
            return
        if not any(isinstance(value, Value) for value in inputs) or (node.op_type in SHAPE_ONLY and not custom):
            self._constants(node, call)
            return
        same = call.kind == "Cast" and self.tensors.kind(node.input[0]) == self.tensors.kind(node.output[0])
        if (same or call.kind in IDENTITIES) and isinstance(call.inputs[0], Value):
            self._identity(node, call.inputs[0])
            return
        written = [output for output in node.output if output and self._is_needed(output)]
        for output in written:
            if self.tensors.shape(output) is None:
                self._refuse(node, name, output, custom, why)
        op = f"{node.domain}::{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        draft = Draft("other", op, [value for value in call.inputs if isinstance(value, Value)], name=name,
                      module=_module(node), macs=None)  # fmt: skip
        draft.weights = [weight for weight in call.inputs if isinstance(weight, Weight)]
        self._outputs(draft, written, name)
        self.drafts.append(draft)
        if contrib and fill_contrib(node.op_type, draft, call):
            return
        if (not custom or contrib) and not fill(draft, call):
            self.drafts.pop()
            self.known[node.output[0]] = draft.inputs[0]
        elif not custom or contrib:
            fill_axes(draft, call)
        keep_weights(draft)

    def _call(self, node: onnx.NodeProto, inputs: list[Value | Weight | None], custom: bool) -> tuple[Call, bool]:
        """The node as a call of an ONNX operator, and whether it is an operator of ONNX Runtime."""
        kind, places = node.op_type, tuple(range(len(inputs)))
        contrib = custom and is_contrib(kind, node.domain)
        plain = same_as(kind, len(inputs)) if contrib else None if custom else QUANTISED.get(kind)
        if plain is not None:
            kind, places = plain[0], tuple(place for place in plain[1] if place < len(inputs))
        quantised = plain is not None and kind not in IDENTITIES
        own = [inputs[place] for place in places]
        names = [node.input[place] for place in places]
        call = Call(
            kind, names,
            [replace(value, learnt=True) if quantised and isinstance(value, Weight) else value for value in own],
            [self.tensors.shape(name) or () for name in names], _attributes(node), self.tensors.values,
            self.tensors.version("") or 17,
        )  # fmt: skip
        return call, contrib

    def _infer(self, node: onnx.NodeProto, call: Call, custom: bool) -> str:
        """Find the shapes of a node's outputs. Given shapes come first, then ONNX inference, rules, and the file."""
        why = ""
        if not custom:
            why = self.tensors.infer(node)
            if node.op_type == "GroupNormalization" and self.tensors.shape(node.output[0]) is None:
                self.tensors.types[node.output[0]] = self.tensors.types[node.input[0]]  # not inferred in version 18
        elif shapes := written_shapes(node.op_type, call):
            kind = FLOAT if node.op_type in FLOATS else self.tensors.kind(call.names[0])
            for output, shape in zip(node.output, shapes, strict=False):
                if shape is not None:
                    self.tensors.set(output, shape, kind)
        elif call.kind != node.op_type:
            why = self.tensors.infer(_plain(node, call))
        for output in node.output:
            if output in self.given:
                kind = self.tensors.kind(output) or _kind(self.declared.get(output))
                self.tensors.set(output, self.given[output], kind)
            elif self.tensors.shape(output) is None and output in self.declared:
                inferred = self.tensors.types.pop(output, None)
                self.tensors.types[output] = self.declared[output]
                if self.tensors.shape(output) is None and inferred is not None:
                    self.tensors.types[output] = inferred
        return why

    def _is_needed(self, output: str) -> bool:
        return self.reads[output] > 0 or self.tensors.shape(output) is not None

    def _known(self, tensor: str, name: str) -> Value | Weight | None:
        if tensor not in self.known:
            raise GraphError(f"node {name!r} reads {tensor!r}, which nothing before it writes")
        return self.known[tensor]

    def _outputs(self, draft: Draft, written: list[str], node: str) -> None:
        if again := [name for name in written if name in self.known]:
            raise GraphError(f"{self.path}: node {node!r} writes {again[0]!r}, which was written before")
        draft.outputs = [self.tensors.shape(name) or () for name in written]
        draft.itemsize = self.tensors.itemsize(written[0]) if written else 4
        self.known |= {name: Value(draft, place) for place, name in enumerate(written)}

    def _identity(self, node: onnx.NodeProto, value: Value) -> None:
        """Pass a value on unchanged; if only a quantiser reads it, it gets the quantiser's element type."""
        narrow = node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear") and value.draft.type != "input"
        if narrow and self.reads[node.input[0]] == 1 and len(value.draft.outputs) == 1:
            value.draft.itemsize = self.tensors.itemsize(node.output[0])
        self.known[node.output[0]] = value
        for output in node.output[1:]:  # scales and zero points, masks
            self.known[output] = Weight(output, self.tensors.shape(output) or (), 4, learnt=False)

    def _branch(self, node: onnx.NodeProto, name: str) -> None:
        """Read the taken branch of an ``If`` whose condition is a constant."""
        condition = self.tensors.values.get(node.input[0])
        if condition is None:
            raise GraphError(f"node {name!r} (If): control flow that depends on data has no operation graph; export "
                             "the network without it")  # fmt: skip
        wanted = "then_branch" if condition.reshape(-1)[0] else "else_branch"
        graph = next(attribute.g for attribute in node.attribute if attribute.name == wanted)
        self._stored(graph)
        self._walk(graph)
        for output, value in zip(node.output, graph.output, strict=True):
            self.known[output] = self._known(value.name, name)
            if value.name in self.tensors.types:
                self.tensors.types[output] = self.tensors.types[value.name]
            if value.name in self.tensors.values:
                self.tensors.values[output] = self.tensors.values[value.name]

    def _weight(self, name: str, tensor: onnx.TensorProto) -> None:
        """Store a weight of the file."""
        if wrong := damage_of(tensor):
            raise GraphError(f"{self.path}: the weight {name!r} {wrong}")
        if isinstance(self.known.get(name), Weight):
            raise GraphError(f"{self.path}: there are two weights called {name!r}")
        self.tensors.store(name, tensor)
        learnt = is_floating(tensor.data_type) and not (name in self.added and self.tensors.is_mask(tensor))
        self.known[name] = Weight(name, tuple(tensor.dims), self.tensors.itemsize(name), learnt)

    def _sparse(self, name: str, sparse: onnx.SparseTensorProto) -> None:
        """Store a sparse weight of the file."""
        for part in (sparse.values, sparse.indices):
            if wrong := damage_of(part) or (any(size < 0 for size in sparse.dims) and "has a negative size"):
                raise GraphError(f"{self.path}: the sparse weight {name!r} {wrong}")
        kind, held = sparse.values.data_type, math.prod(sparse.values.dims)
        self.tensors.set(name, tuple(sparse.dims), kind)
        self.known[name] = Weight(name, tuple(sparse.dims), bits_of(kind) / 8, is_floating(kind), (held,))

    def _constant(self, node: onnx.NodeProto) -> None:
        """Store the value of a Constant node, in any of its forms."""
        import numpy as np

        (key, held), *_ = _attributes(node).items()
        name = node.output[0]
        if key == "sparse_value":
            self._sparse(name, held)
        elif key == "value":
            self._weight(name, held)
        else:
            floats = key.startswith("value_float")
            value = np.asarray(held, dtype=np.float32 if floats else np.int64 if "int" in key else object)
            if value.dtype == object:
                self.tensors.set(name, value.shape, STRING)
            else:
                self.tensors.set_value(name, value)
            self.known[name] = Weight(name, value.shape, self.tensors.itemsize(name), floats)

    def _constants(self, node: onnx.NodeProto, call: Call) -> None:
        """Store the outputs of a node that reads only weights or shapes."""
        weights = [value for value in call.inputs if isinstance(value, Weight)]
        measured = node.op_type in SHAPE_ONLY and any(isinstance(value, Value) for value in call.inputs)
        measured = measured or any(name in self.measured for name in node.input)
        if call.kind == "DequantizeLinear":
            weights = [replace(weights[0], learnt=True)]
        elif call.kind in ("QuantizeLinear", "DynamicQuantizeLinear"):
            weights = weights[:1]
        for output in node.output:
            if measured:
                self.measured.add(output)
            shape = self.tensors.shape(output)
            if shape is None:
                shape = weights[0].shape if weights else ()
            self.known[output] = self._derived(output, call.kind, shape, weights, measured)

    def _derived(self, output: str, kind: str, shape: Shape, weights: list[Weight], measured: bool) -> Weight:
        size = self.tensors.itemsize(output)
        learnt = [weight for weight in weights if weight.learnt and weight.numel > 1]
        floating = is_floating(self.tensors.kind(output))
        if kind == "Cast" and floating and weights and weights[0].itemsize <= 1 and weights[0].numel > 1:
            learnt = [replace(weights[0], learnt=True)]  # integers of eight bits are quantised weights
        first = learnt[0] if learnt else weights[0] if weights else None
        # exporters write equal biases as copies of one weight
        copied = kind == "Identity" and first is not None and len(first.shape) < 2
        if first is not None and len(learnt) < 2 and kind in REARRANGED and not copied:
            narrow = min(size, first.itemsize) if kind not in ("Transpose", "Reshape") else first.itemsize
            return replace(first, shape=shape, itemsize=narrow)
        if first is not None and len(learnt) < 2 and kind == "Expand":
            return replace(first, shape=shape, held=first.in_memory)
        if copied or kind == "ConstantOfShape":
            return Weight(output, shape, size, floating and not measured)
        parts = tuple(dict.fromkeys(part for weight in learnt for part in weight.stored))
        return Weight(output, shape, size, bool(parts), computed_from=parts)

    def _refuse(self, node: onnx.NodeProto, name: str, output: str, custom: bool, why: str) -> None:
        what = f"custom operator {node.domain}::{node.op_type}" if custom else node.op_type
        held = self.tensors.types.get(output)
        of = held.WhichOneof("value") if held is not None else None
        if of not in ("tensor_type", None):
            raise GraphError(f"node {name!r} ({what}): its output {output!r} is not a tensor but of the kind "
                             f"{str(of).removesuffix('_type')}; export the network without it")  # fmt: skip
        reader = next((reader for reader in self.nodes if output in reader.input), None)
        example = "(1, 64)" if reader is not None and reader.op_type in ("Gemm", "MatMul") else "(1, 64, 56, 56)"
        said = f" ({why})" if why else ""
        raise GraphError(f"node {name!r} ({what}): the shape of its output {output!r} is not known{said}; give it, for "
                         f"example shapes={{{output!r}: {example}}}")  # fmt: skip


def _all_graphs(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    """A graph, or the body of a function, and all graphs inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _all_graphs(inner)


def _all_nodes(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    return (node for inner in _all_graphs(graph) for node in inner.node)


def _plain(node: onnx.NodeProto, call: Call) -> onnx.NodeProto:
    """Convert a node of ONNX Runtime into the equivalent ONNX operator, without the attributes that ONNX lacks."""
    import onnx

    known = onnx.defs.get_schema(call.kind).attributes
    kept = [attribute for attribute in node.attribute if attribute.name in known]
    return onnx.NodeProto(op_type=call.kind, input=call.names, output=node.output[:1], attribute=kept)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    import onnx

    found = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        found[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return found


def _said(value: onnx.ValueInfoProto) -> tuple[int | str, ...] | None:
    """The shape that a file declares, open sizes as names; None if it declares no rank."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim)


def _words(shape: Sequence[int | str] | None) -> str:
    return f"({', '.join(map(str, shape))})" if shape is not None else "(not even its rank is said)"


def _kind(said: onnx.TypeProto | None) -> int:
    return said.tensor_type.elem_type if said is not None else 0


def _module(node: onnx.NodeProto) -> str:
    """Path of the module, if the exporter of PyTorch recorded it."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            try:
                scopes = ast.literal_eval(entry.value)
                return str(scopes[-2])
            except Exception:  # it is no list of two, or nested too deep
                return ""
    return ""
