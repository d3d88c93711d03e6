"""The graph of operations of any network, in one vocabulary for PyTorch modules, ONNX files and search spaces."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from autobuild._words import counted
from autobuild.errors import GraphError

if TYPE_CHECKING:
    import pandas as pd

Shape = tuple[int, ...]
Span = tuple[int, int, int]  # start, stop and step along one dimension

# A fixed vocabulary, so that graphs of all kinds of networks can be packed together. The order is part of the packed
# format: append new types before "other".
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
        output_shapes: Shapes of the tensors that flow out; more than one for a split, for example.
        module: Path of the module that called it; ``""`` if there is none.
        op: Name of the operator in its source, e.g. ``"aten.conv2d.default"`` or ``"Conv"``.
        kernel: Kernel size per spatial dimension of convolutions and pools.
        stride: Step per spatial dimension.
        dilation: Dilation per spatial dimension.
        padding: ``(before, after)`` per spatial dimension; for a pad, per dimension.
        groups: Groups of a convolution.
        bias: Whether a convolution or linear layer adds a bias; None for other operations.
        axes: Dimensions along which the operation works. Concat: dimensions of the output. Slice, softmax, reduction,
            norm, gather: dimensions of the input. Matrix product: dimensions of the first input that are summed over,
            unless that is the last one. Transpose: for each output dimension, the input dimension it comes from. None:
            not known.
        spans: Slice: for each output the ``(start, stop, step)`` taken along each of its axes. Concat: for each input
            the position that it takes in the output. None: not known.
        mode: How a resize or pad computes values: ``nearest``, ``nearest-exact``, ``linear``, ``cubic`` (with the
            suffix ``-corners`` if corners are aligned) or ``constant``; ``pixel_shuffle`` for a transpose that is one.
        params: Trained parameters that the network stores for the operation, including those of a batch norm folded
            into it. A parameter counts in full even if the operation reads only a part of it or a value computed from
            it. A parameter shared by several nodes counts at the first one.
        folded_params: Parameters that the operation reads in a deployed network: batch norms folded, only the slices
            read, computed weights computed ahead. Shared ones count at the first node. None: equal to ``params``.
        weight_bytes: Bytes of all weights and buffers that the node reads, each once. A sliced weight counts with its
            slice, a weight computed from others with the result.
        weight_elements: Number of elements in those weights and buffers.
        shared: Name and shape of each weight that another node reads as well (the name is the same at both); None if
            there are none.
        output_bytes: Bytes that the operation writes; 0 for an alias.
        macs: Multiply-accumulates for the shapes given. 0 for operations that do not multiply by weights or by another
            feature map (see :func:`autobuild.cost.count_macs`), and for those that compute weights from weights,
            because that is done once, ahead. None for operators without a rule.
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
        """Channels of the first input (see :func:`channels`); None without inputs."""
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
    """A directed acyclic graph of operations: a whole network, with shapes, MACs and bytes of every operation.

    Made by :func:`autobuild.graph_of`, or from its nodes:

    >>> x = Operation("x", "input", (), ((1, 3, 8, 8),))
    >>> conv = Operation("conv", "conv", ((1, 3, 8, 8),), ((1, 16, 8, 8),), kernel=(3, 3), params=432, macs=27648)
    >>> graph = ab.OperationGraph((x, conv), edges=((0, 1),), outputs=(1,), name="tiny")
    >>> graph
    OperationGraph('tiny': 2 operations, 0.0 M MACs, 0.00 M parameters)
    >>> graph.macs, graph.params, graph.sources()
    (27648, 432, [[], [0]])

    Attributes:
        nodes: The operations, in an order in which they can be computed.
        edges: Pairs ``(source, target)`` of node numbers; source < target, sorted, each once.
        outputs: Numbers of the nodes whose output is an output of the network.
        name: Name of the network.
        operands: For each node one pair ``(source node, number of its output)`` per entry of ``input_shapes``, in
            order; empty if not known (see :meth:`operand_table`).

    Raises:
        GraphError: An edge, output or operand does not fit the nodes.
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
            raise GraphError(f"graph {self.name!r}: output {bad_outputs[0]} is not one of its {n} nodes")
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
        """Multiply-accumulates, summed over all nodes whose MACs are known; :attr:`uncounted` lists the others."""
        return sum(node.macs or 0 for node in self.nodes)

    @property
    def params(self) -> int:
        """Number of trained parameters that the network stores and the graph uses, shared ones counted once."""
        return sum(node.params for node in self.nodes)

    @property
    def folded_params(self) -> int:
        """Number of parameters that a deployed network holds, shared ones counted once.

        Batch norms are folded, and weights that are computed from other weights are computed ahead. Equal to
        :attr:`params` if the network has neither.
        """
        return sum(node.params if node.folded_params is None else node.folded_params for node in self.nodes)

    @property
    def uncounted(self) -> dict[str, int]:
        """Operators whose MACs are not known and which :attr:`macs` leaves out -> how often each occurs."""
        return dict(Counter(node.op or node.type for node in self.nodes if node.macs is None))

    def types(self) -> Counter[str]:
        """Operation type -> how often it occurs."""
        return Counter(node.type for node in self.nodes)

    def sources(self) -> list[list[int]]:
        """For each node, the numbers of the nodes that feed it, ascending. Length ``(len(nodes),)``."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for source, target in self.edges:
            found[target].append(source)
        return found

    def operand_table(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """:attr:`operands`; if the graph has none, they are inferred from its edges and shapes.

        Returns:
            For each node one pair ``(source node, number of its output)`` per entry of ``input_shapes``.

        Raises:
            GraphError: A node has an input shape that no node feeding it produces.
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
        """Copy the graph without the nodes of some types; their neighbours are connected to each other.

        Args:
            types: Operation types to remove, such as ``["relu", "alias"]``. Their parameters and MACs go with them.

        Returns:
            The smaller graph, without :attr:`operands`.

        Raises:
            GraphError: A type is not one of :data:`OPERATIONS`.
        """
        dropped = set(types)
        if unknown := sorted(dropped - set(OPERATIONS)):
            raise GraphError(f"unknown type {unknown[0]!r} (accepted: {', '.join(OPERATIONS)})")
        sources = self.sources()
        stands_for: list[tuple[int, ...]] = []  # for each node, the kept nodes whose outputs it passes on
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
        """A table for reading, one row per node.

        Columns: ``name, type, input, output, kernel, stride, groups`` (text), ``macs, params, weight_bytes,
        output_bytes`` (numbers; ``macs`` is missing if not known).
        """
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
        """The graph as JSON-ready data; :meth:`from_dict` reads it back."""
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

        Args:
            data: The keys ``nodes``, ``edges`` and ``outputs``, and optionally ``name`` and ``operands``.

        Raises:
            GraphError: A key is missing, or an operation or edge is not valid.
        """
        if not isinstance(data, Mapping):
            raise GraphError(f"operation graph: given a {type(data).__name__}, accepted: what to_dict writes")
        missing = [key for key in ("nodes", "edges", "outputs") if not isinstance(data.get(key), list)]
        if missing:
            raise GraphError(
                f"operation graph: key {missing[0]!r} is missing or no list (accepted: what to_dict writes)"
            )
        try:
            nodes = tuple(Operation.from_dict(node) for node in data["nodes"])
            edges = tuple((int(source), int(target)) for source, target in data["edges"])
            operands = _tuples(data.get("operands", []))
            return OperationGraph(nodes, edges, tuple(map(int, data["outputs"])), str(data.get("name", "")), operands)
        except GraphError:
            raise
        except Exception as error:  # what is no graph may raise anything
            raise GraphError(f"operation graph: damaged ({type(error).__name__}: {error})") from error

    def to_json(self) -> str:
        """:meth:`to_dict` as JSON text."""
        return json.dumps(self.to_dict())

    @staticmethod
    def from_json(text: str) -> OperationGraph:
        """Read what :meth:`to_json` wrote.

        Args:
            text: JSON text.

        Raises:
            GraphError: It is not JSON, or not an operation graph.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise GraphError(f"operation graph: not JSON ({error})") from error
        return OperationGraph.from_dict(data)

    def __repr__(self) -> str:
        left_out = ", ".join(f"{count} {name}" for name, count in self.uncounted.items())
        without = f" without {left_out}" if left_out else ""
        return (
            f"OperationGraph({self.name!r}: {counted(len(self.nodes), 'operation')}, "
            f"{self.macs / 1e6:,.1f} M MACs{without}, {self.params / 1e6:,.2f} M parameters)"
        )

    def _repr_html_(self) -> str:
        import html

        common = ", ".join(f"{count} {name}" for name, count in self.types().most_common())
        table: str = self.describe().to_html(index=False, max_rows=20)
        return f"<p><b>{html.escape(repr(self))}</b><br>{common}</p>{table}"


def channels(shape: Shape) -> int:
    """Channels of a tensor: dimension 1 if it has four or more dimensions, otherwise the last dimension."""
    return 1 if not shape else shape[1] if len(shape) >= 4 else shape[-1]


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value
