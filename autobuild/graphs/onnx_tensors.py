"""Types, shapes and small values of the tensors of an ONNX file, found node by node.

The shape inference of ONNX runs on one node at a time, with the values of its constant inputs. Because every shape is
known, numbers computed from shapes (``Shape``, ``Gather``, ``Concat``) are constants, so that the shapes of tensors
which are reshaped or resized by them are known, too.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.graphs.operations import Shape

if TYPE_CHECKING:
    import numpy as np
    import onnx

SMALL = 4096  # largest number of elements of a constant whose value is kept
LARGEST_MASK = 2**24  # largest number of elements of a mask
LOW = -100.0  # masks add this or less to scores
INFERRED_FROM = 6  # first operator set version for which ONNX infers shapes
BITS = {"FLOAT": 32, "DOUBLE": 64, "BOOL": 8, "STRING": 64, "UNDEFINED": 32}
RANDOM = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial")


def bits_of(kind: int) -> int:
    """Bits per element of an ONNX element type."""
    name = _name_of(kind)
    found = re.search(r"\d+", name)  # FLOAT8E4M3FN, INT4
    return int(found[0]) if found else BITS[name]


def is_floating(kind: int) -> bool:
    """Whether an ONNX element type is floating point."""
    return _name_of(kind).startswith(("FLOAT", "BFLOAT", "DOUBLE", "COMPLEX"))


def _name_of(kind: int) -> str:
    import onnx

    return str(onnx.TensorProto.DataType.Name(kind))


def damage_of(tensor: onnx.TensorProto) -> str:
    """What is wrong with a stored tensor, as text; empty if nothing is. A tensor without data is not an error."""
    import onnx

    if tensor.data_type not in onnx.TensorProto.DataType.values():
        return f"has the unknown element type {tensor.data_type}"
    if any(size < 0 for size in tensor.dims):
        return f"has the shape {tuple(tensor.dims)}; accepted are sizes that are not negative"
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return ""
    numbers, bits = math.prod(tensor.dims), bits_of(tensor.data_type)
    if tensor.raw_data:
        if len(tensor.raw_data) != (expected := math.ceil(numbers * bits / 8)):
            return f"holds {len(tensor.raw_data)} bytes; its shape {tuple(tensor.dims)} needs {expected}"
        return ""
    held = _held(tensor)
    parts = 2 if _name_of(tensor.data_type).startswith("COMPLEX") else 1
    if held and bits >= 8 and held != numbers * parts:
        return f"holds {held // parts} numbers; its shape {tuple(tensor.dims)} needs {numbers}"
    return ""


def _held(tensor: onnx.TensorProto) -> int:
    """Number of elements in the typed data fields of a tensor."""
    fields = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data,
              tensor.string_data)  # fmt: skip
    return sum(map(len, fields))


class Tensors:
    """Types of tensors, and values of small constants, by name.

    Args:
        opsets: Versions of the operator sets that the file declares.
        ir_version: IR version of the file.
        folder: Folder of the file and of its external data.
    """

    def __init__(self, opsets: Iterable[onnx.OperatorSetIdProto], ir_version: int, folder: Path) -> None:
        import onnx

        self.opsets, self.folder = list(opsets), folder
        self.ir_version = max(ir_version, 4)  # from version 4 on, constants need not be inputs
        if self.version("") is None:
            self.opsets.append(onnx.helper.make_opsetid("", 17))
        self.types: dict[str, onnx.TypeProto] = {}
        self.values: dict[str, np.ndarray[Any, Any]] = {}

    def version(self, domain: str) -> int | None:
        """Version of the operator set of a domain; None if the file does not use it."""
        names = ("", "ai.onnx") if domain in ("", "ai.onnx") else (domain,)
        return next((entry.version for entry in self.opsets if entry.domain in names), None)

    def is_declared(self, kind: str, domain: str) -> bool:
        """Whether ONNX defines an operator."""
        import onnx

        version = self.version(domain)
        try:
            onnx.defs.get_schema(kind, version or 1, "" if domain == "ai.onnx" else domain)
        except onnx.defs.SchemaError:
            return False
        return True

    def shape(self, name: str) -> Shape | None:
        """Shape of a tensor; None if it is not fully known."""
        held = self.types.get(name)
        if held is None or held.WhichOneof("value") not in ("tensor_type", "sparse_tensor_type"):
            return None
        tensor = held.tensor_type if held.HasField("tensor_type") else held.sparse_tensor_type
        if not tensor.HasField("shape") or not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            return None
        sizes = tuple(dim.dim_value for dim in tensor.shape.dim)
        return sizes if all(size >= 0 for size in sizes) else None

    def kind(self, name: str) -> int:
        """Element type of a tensor; 0 if it is not known."""
        held = self.types.get(name)
        return held.tensor_type.elem_type if held is not None else 0

    def itemsize(self, name: str) -> float:
        """Bytes per element of a tensor."""
        return bits_of(self.kind(name)) / 8

    def set(self, name: str, shape: Sequence[int], kind: int) -> None:
        """Store shape and type of a tensor."""
        import onnx

        self.types[name] = onnx.helper.make_tensor_type_proto(kind or 1, shape)

    def set_value(self, name: str, value: np.ndarray[Any, Any]) -> None:
        """Store the value of a constant."""
        import onnx

        self.set(name, value.shape, onnx.helper.np_dtype_to_tensor_dtype(value.dtype))
        self.values[name] = value

    def store(self, name: str, tensor: onnx.TensorProto) -> None:
        """Store a tensor of the file, and its value if it is small."""
        import onnx

        self.set(name, tuple(tensor.dims), tensor.data_type)
        size = math.prod(tensor.dims)
        if size <= SMALL:
            self.fetch(tensor)
            if not size or tensor.raw_data or _held(tensor):
                self.values[name] = onnx.numpy_helper.to_array(tensor)

    def is_mask(self, tensor: onnx.TensorProto) -> bool:
        """Whether a tensor is an attention mask: zeros and very low numbers, which parameters do not contain."""
        import onnx

        if not 1 < math.prod(tensor.dims) <= LARGEST_MASK or len(tensor.dims) < 2 or not is_floating(tensor.data_type):
            return False
        self.fetch(tensor)
        if not tensor.raw_data and not _held(tensor):
            return False
        numbers = onnx.numpy_helper.to_array(tensor)
        low = numbers <= LOW
        return bool(low.any()) and bool((low | (numbers == 0)).all())

    def fetch(self, tensor: onnx.TensorProto) -> None:
        """Read the external data of a tensor; if it is missing, only the shape of the tensor is known."""
        import onnx

        if tensor.data_location == onnx.TensorProto.EXTERNAL and not tensor.raw_data:
            with contextlib.suppress(Exception):  # missing, too short, or outside the folder
                onnx.external_data_helper.load_external_data_for_tensor(tensor, str(self.folder))
                tensor.data_location = onnx.TensorProto.DEFAULT
            if damage_of(tensor):
                tensor.ClearField("raw_data")

    def infer(self, node: onnx.NodeProto) -> str:
        """Infer types and values of the outputs of a node; returns the message of ONNX if its inference fails."""
        import onnx

        if node.op_type in ("Shape", "Size") and (shape := self.shape(node.input[0])) is not None:
            self._measure(node, shape)
            return ""
        alone = self._alone(node)
        try:
            inferred = onnx.shape_inference.infer_shapes(alone, strict_mode=True, data_prop=True)
        except Exception as error:  # of several types; the message describes this node
            said = str(error).split("] ")[-1].split("): ")[-1]
            return " ".join(said.split())[:300]
        for value in inferred.graph.output:
            if value.type.WhichOneof("value"):
                self.types[value.name] = value.type
        if node.op_type not in RANDOM and node.input and all(name in self.values for name in node.input if name):
            sizes = [math.prod(shape) for name in node.output if (shape := self.shape(name)) is not None]
            if max(sizes, default=0) <= SMALL:
                self._compute(alone, node)
        return ""

    def _measure(self, node: onnx.NodeProto, shape: Shape) -> None:
        import numpy as np
        import onnx

        bounds = {entry.name: entry.i for entry in node.attribute}
        found = shape[bounds.get("start", 0) : bounds.get("end", len(shape))]
        value = np.asarray(found if node.op_type == "Shape" else math.prod(shape), dtype=np.int64)
        self.set(node.output[0], value.shape, onnx.TensorProto.INT64)
        self.values[node.output[0]] = value

    def _alone(self, node: onnx.NodeProto) -> onnx.ModelProto:
        """A model that consists of this node and its constants."""
        import onnx

        read = [name for name in dict.fromkeys(node.input) if name]
        graph = onnx.GraphProto(name="g", node=[node])
        if node.op_type == "Reshape" and len(read) == 1:  # in old versions the shape is an attribute
            shape = next(attribute.ints for attribute in node.attribute if attribute.name == "shape")
            graph.initializer.append(onnx.helper.make_tensor("shape", onnx.TensorProto.INT64, [len(shape)], shape))
            graph.node[0].CopyFrom(onnx.NodeProto(op_type="Reshape", input=[*read, "shape"], output=node.output))
        for name in read:
            if name in self.values:
                graph.initializer.append(onnx.numpy_helper.from_array(self.values[name], name))
            elif name in self.types:
                graph.input.append(onnx.ValueInfoProto(name=name, type=self.types[name]))
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name)
        alone = onnx.ModelProto(ir_version=self.ir_version, opset_import=self.opsets, graph=graph)
        for entry in alone.opset_import:
            if entry.domain in ("", "ai.onnx"):
                entry.version = max(entry.version, INFERRED_FROM)
        return alone

    def _compute(self, alone: onnx.ModelProto, node: onnx.NodeProto) -> None:
        import numpy as np
        import onnx.reference

        try:
            results = onnx.reference.ReferenceEvaluator(alone).run(None, {})
        except Exception:  # no reference implementation, or old attributes: the value stays unknown
            return
        for name, value in zip([name for name in node.output if name], results, strict=False):
            if isinstance(value, np.ndarray | np.generic) and value.size <= SMALL:
                kind = self.kind(name)
                self.values[name] = np.asarray(value)
                self.set(name, self.values[name].shape, kind or 1)
