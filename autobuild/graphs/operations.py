"""Any network as a graph of operations: what a tracer, an ONNX file or a declaration says, in one vocabulary."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from autobuild.errors import GraphError

if TYPE_CHECKING:
    import pandas as pd

Shape = tuple[int, ...]
Span = tuple[int, int, int]  # start, stop and step along one dimension

# The vocabulary: fixed, so that graphs of any family of networks fit one another. Order is part of the packed format:
# new types are appended before "other".
OPERATIONS = (
    "input", "conv", "conv_transpose", "linear", "matmul", "attention", "rnn", "embedding",
    "batch_norm", "layer_norm", "group_norm", "local_response_norm",
    "relu", "relu6", "leaky_relu", "prelu", "elu", "sigmoid", "hard_sigmoid", "silu", "hard_swish", "gelu", "mish",
    "tanh", "softplus", "softmax", "clip", "elementwise",
    "add", "sub", "mul", "div", "max_pool", "avg_pool", "global_avg_pool", "global_max_pool",
    "concat", "slice", "gather", "pad", "resize", "reduce", "transpose", "cast", "alias", "other",
)  # fmt: skip
ACTIVATIONS = OPERATIONS[OPERATIONS.index("relu") : OPERATIONS.index("softmax")]


@dataclass(frozen=True)
class Operation:
    """One node of an operation graph.

    Attributes:
        name: Unique in its graph: the module's path and the type, ``"features.0.0/conv"``, or the ONNX node's name.
        type: One of :data:`OPERATIONS`. ``alias`` is a reshape, view or squeeze: another shape for the same bytes.
        input_shapes: Shapes of the tensors that flow in, weights excluded, the batch included.
        output_shapes: Shapes of the tensors that flow out; one, but for splits and the like.
        module: Path of the module that called it, ``""`` where there is none.
        op: What it was called where it came from, e.g. ``"aten.conv2d.default"`` or ``"Conv"``.
        kernel: Positions per spatial dimension of convolutions and pools.
        stride: Step per spatial dimension.
        dilation: Dilation per spatial dimension.
        padding: ``(before, after)`` per spatial dimension; of a pad per dimension.
        groups: Groups of a convolution.
        bias: Whether a convolution or linear layer adds one; None where the question makes no sense.
        axes: Dimensions along which it works: of the output for a concat, of the input for a slice, softmax, reduction,
            norm or gather; of the first map that a product sums over, where these are not the last; for a transposition
            the input's dimension behind each of the output's. None: not known.
        spans: What a slice takes: for each output ``(start, stop, step)`` along each of its axes. Where the inputs of a
            concat lie: the same for each input. None: not known.
        mode: How a resize or pad fills: ``nearest``, ``nearest-exact``, ``linear``, ``cubic`` (``-corners`` behind it
            where the corners are aligned), ``constant``; ``pixel_shuffle`` of such a transposition.
        params: Learnt numbers that the network stores for it, those of a batch norm folded into it included; a
            parameter of which it reads a part, or something computed from it, counts whole. Those shared by several
            nodes count at the first.
        folded_params: Learnt numbers as it reads them: batch norms folded, slices cut, computed weights computed ahead.
            Shared ones count at the first. None: as many as ``params``.
        weight_bytes: Bytes of all weights and buffers that the node reads, each once: of a slice its own, of a weight
            that is computed from others those of the result.
        weight_elements: How many numbers these are.
        shared: Those of them that another node reads as well: what they are called, equal for both, and their shapes.
            None where there are none.
        output_bytes: Bytes that it writes: 0 for an alias.
        macs: Multiply-accumulates for the shapes given; 0 for what multiplies nothing by weights or another map
            (see :func:`autobuild.cost.count_macs`), and for what computes weights from weights, which is done once and
            ahead; None for operators without a rule.
    """

    name: str
    type: str
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    module: str = ""
    op: str = ""
    kernel: Shape | None = None
    stride: Shape | None = None
    dilation: Shape | None = None
    padding: tuple[tuple[int, int], ...] | None = None
    groups: int | None = None
    bias: bool | None = None
    axes: Shape | None = None
    spans: tuple[tuple[Span, ...], ...] | None = None
    mode: str | None = None
    params: int = 0
    folded_params: int | None = None
    weight_bytes: int = 0
    weight_elements: int = 0
    shared: tuple[tuple[str, Shape], ...] | None = None
    output_bytes: int = 0
    macs: int | None = 0

    @property
    def output_shape(self) -> Shape:
        """Shape of the (first) output."""
        return self.output_shapes[0]

    @property
    def in_channels(self) -> int | None:
        """Channels of the first input: dimension 1 of pictures, the last dimension of rows; None without inputs."""
        return channels(self.input_shapes[0]) if self.input_shapes else None

    @property
    def out_channels(self) -> int:
        """Channels of the (first) output."""
        return channels(self.output_shape)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data; fields that are None are left out."""
        return {key: value for key, value in asdict(self).items() if value is not None or key == "macs"}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Operation:
        """Read what :meth:`to_dict` wrote.

        Raises:
            GraphError: For a missing or unknown key or an unknown type.
        """
        known = {field.name for field in fields(Operation)}
        if unknown := sorted(set(data) - known):
            raise GraphError(f"operation {data.get('name')!r}: unknown key {unknown[0]!r} (accepted: {sorted(known)})")
        if data.get("type") not in OPERATIONS:
            raise GraphError(f"operation {data.get('name')!r}: unknown type {data.get('type')!r}")
        try:
            return Operation(**{key: _tuples(value) for key, value in data.items()})
        except TypeError as error:
            raise GraphError(f"operation {data.get('name')!r}: {error}") from error


@dataclass(frozen=True)
class OperationGraph:
    """A directed acyclic graph of operations.

    Attributes:
        nodes: In an order in which they can be computed.
        edges: Pairs ``(source, target)`` of node numbers, source < target, sorted, each once.
        outputs: Numbers of the nodes whose output is the network's.
        name: What the network is called.
        operands: For each node the ``(source, output of the source)`` behind each of its ``input_shapes``, in order;
            empty where the graph does not say (see :meth:`operand_table`).
    """

    nodes: tuple[Operation, ...]
    edges: tuple[tuple[int, int], ...]
    outputs: tuple[int, ...]
    name: str = ""
    operands: tuple[tuple[tuple[int, int], ...], ...] = ()

    def __post_init__(self) -> None:
        n = len(self.nodes)
        if bad := [edge for edge in self.edges if not 0 <= edge[0] < edge[1] < n]:
            raise GraphError(f"graph {self.name!r}: edge {bad[0]} does not run forward between its {n} nodes")
        if bad_outputs := [node for node in self.outputs if not 0 <= node < n]:
            raise GraphError(f"graph {self.name!r}: output {bad_outputs[0]} is none of its {n} nodes")
        if self.operands:
            self._check_operands()

    def _check_operands(self) -> None:
        if len(self.operands) != len(self.nodes):
            raise GraphError(f"graph {self.name!r}: operands of {len(self.operands)} nodes, it has {len(self.nodes)}")
        edges = set(self.edges)
        for i, (node, operands) in enumerate(zip(self.nodes, self.operands, strict=True)):
            for source, place in operands:
                if (source, i) not in edges or not 0 <= place < len(self.nodes[source].output_shapes):
                    raise GraphError(f"graph {self.name!r}: node {node.name!r} reads output {place} of node {source}, "
                                     "to which no edge leads or which has no such output")  # fmt: skip

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all nodes that have a rule; :attr:`uncounted` says what is left out."""
        return sum(node.macs or 0 for node in self.nodes)

    @property
    def params(self) -> int:
        """Learnt numbers that the network stores and the graph reaches, shared ones once; folded or not."""
        return sum(node.params for node in self.nodes)

    @property
    def folded_params(self) -> int:
        """Learnt numbers that are left when batch norms are folded and weights computed ahead, shared ones once.

        What a deployed network holds; equal to ``params`` where nothing is folded or computed.
        """
        return sum(node.params if node.folded_params is None else node.folded_params for node in self.nodes)

    @property
    def uncounted(self) -> dict[str, int]:
        """Operators whose MACs are not known, so that ``macs`` leaves them out, and how often each occurs."""
        return dict(Counter(node.op or node.type for node in self.nodes if node.macs is None))

    def types(self) -> Counter[str]:
        """How often each type occurs."""
        return Counter(node.type for node in self.nodes)

    def sources(self) -> list[list[int]]:
        """For each node the nodes that feed it."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for source, target in self.edges:
            found[target].append(source)
        return found

    def operand_table(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """``operands``, or where the graph does not say them what its edges and shapes allow to conclude.

        Raises:
            GraphError: If a node's input shapes are not those of the nodes that feed it.
        """
        if self.operands:
            return self.operands
        return tuple(self._concluded(i, sources) for i, sources in enumerate(self.sources()))

    def _concluded(self, i: int, sources: list[int]) -> tuple[tuple[int, int], ...]:
        node, left = self.nodes[i], list(sources)
        found = []
        for shape in node.input_shapes:
            fits = [source for source in left or sources if shape in self.nodes[source].output_shapes]
            if not fits:
                raise GraphError(f"graph {self.name!r}: node {node.name!r} has an input of shape {shape}, and no node "
                                 "that feeds it has such an output")  # fmt: skip
            found.append((fits[0], self.nodes[fits[0]].output_shapes.index(shape)))
            left = [source for source in left if source != fits[0]]
        return tuple(found)

    def without(self, types: Iterable[str]) -> OperationGraph:
        """The graph with nodes of these types taken out and their neighbours joined; weights go with them."""
        dropped = set(types)
        if unknown := sorted(dropped - set(OPERATIONS)):
            raise GraphError(f"unknown type {unknown[0]!r} (accepted: {', '.join(OPERATIONS)})")
        sources = self.sources()
        stands_for: list[tuple[int, ...]] = []  # for each node the kept nodes whose outputs it hands on
        number: dict[int, int] = {}
        edges = set()
        for i, node in enumerate(self.nodes):
            feeding = tuple(dict.fromkeys(kept for source in sources[i] for kept in stands_for[source]))
            if node.type in dropped:
                stands_for.append(feeding)
                continue
            number[i] = len(number)
            stands_for.append((i,))
            edges |= {(number[source], number[i]) for source in feeding}
        outputs = dict.fromkeys(number[kept] for node in self.outputs for kept in stands_for[node])
        return replace(self, nodes=tuple(self.nodes[i] for i in number), edges=tuple(sorted(edges)),
                       outputs=tuple(outputs), operands=())  # fmt: skip

    def describe(self) -> pd.DataFrame:
        """One row a node, for reading: shapes as text, sizes as numbers."""
        import pandas as pd

        rows = [
            {
                "name": node.name,
                "type": node.type,
                "input": ", ".join("x".join(map(str, shape)) for shape in node.input_shapes),
                "output": ", ".join("x".join(map(str, shape)) for shape in node.output_shapes),
                "kernel": "" if node.kernel is None else "x".join(map(str, node.kernel)),
                "stride": "" if node.stride is None else "x".join(map(str, node.stride)),
                "groups": "" if node.groups is None else str(node.groups),
                "macs": node.macs,
                "params": node.params,
                "weight_bytes": node.weight_bytes,
                "output_bytes": node.output_bytes,
            }
            for node in self.nodes
        ]
        return pd.DataFrame(rows).astype({"macs": "Int64"}) if rows else pd.DataFrame()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data."""
        return {
            "name": self.name,
            "nodes": [node.to_dict() for node in self.nodes],
            "edges": [list(edge) for edge in self.edges],
            "outputs": list(self.outputs),
            "operands": [[list(operand) for operand in operands] for operands in self.operands],
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> OperationGraph:
        """Read what :meth:`to_dict` wrote.

        Raises:
            GraphError: For data of another form.
        """
        missing = [key for key in ("nodes", "edges", "outputs") if not isinstance(data.get(key), list)]
        if missing:
            raise GraphError(
                f"operation graph: key {missing[0]!r} is missing or no list (accepted: what to_dict writes)"
            )
        nodes = tuple(Operation.from_dict(node) for node in data["nodes"])
        edges = tuple((int(source), int(target)) for source, target in data["edges"])
        operands = _tuples(data.get("operands", []))
        return OperationGraph(nodes, edges, tuple(map(int, data["outputs"])), str(data.get("name", "")), operands)

    def to_json(self) -> str:
        """:meth:`to_dict` as JSON text."""
        return json.dumps(self.to_dict())

    @staticmethod
    def from_json(text: str) -> OperationGraph:
        """Read what :meth:`to_json` wrote.

        Raises:
            GraphError: For text that is no such graph.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise GraphError(f"operation graph: no JSON ({error})") from error
        if not isinstance(data, dict):
            raise GraphError(f"operation graph: given a JSON {type(data).__name__}, accepted: an object")
        return OperationGraph.from_dict(data)

    def __repr__(self) -> str:
        left_out = ", ".join(f"{count} {name}" for name, count in self.uncounted.items())
        without = f" without {left_out}" if left_out else ""
        return (
            f"OperationGraph({self.name!r}: {len(self.nodes):,} operations, {self.macs / 1e6:,.1f} M MACs{without}, "
            f"{self.params / 1e6:,.2f} M parameters)"
        )

    def _repr_html_(self) -> str:
        import html

        common = ", ".join(f"{count} {name}" for name, count in self.types().most_common())
        table: str = self.describe().to_html(index=False, max_rows=20)
        return f"<p><b>{html.escape(repr(self))}</b><br>{common}</p>{table}"


def channels(shape: Shape) -> int:
    """Channels of a tensor: dimension 1 where there are spatial dimensions behind it, otherwise the last one."""
    return 1 if not shape else shape[1] if len(shape) >= 4 else shape[-1]


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value
