"""Folding: from an operation graph to a fusion graph. Batch norms, activations and layout operations disappear."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from autobuild.cost.fusion.graph import FusedOperation, FusionGraph, Tensor
from autobuild.cost.fusion.operation_access import FOLDED, LAYOUT, PRODUCERS, access_rule, accumulators, usual_axis
from autobuild.cost.fusion.row_access import BARRIER, REDUCE, Access
from autobuild.cost.fusion.strided_views import Base, TensorRead, View, joined, padded
from autobuild.errors import GraphError
from autobuild.graphs.operations import Operation, OperationGraph

ACCUMULATOR_BYTES = 4
LOOKED_UP = ("embedding", "gather")
IN_PLACE = (*FOLDED, "add", "sub", "mul", "div", "elementwise", "batch_norm")
Value = tuple[int, int]  # a node and one of its outputs


def fold(graph: OperationGraph, weight_bytes: int = 1, activation_bytes: int = 1) -> FusionGraph:
    """Fold a network into the operations that an accelerator runs.

    - A batch norm is folded into the weights of the convolution or linear layer before it, if that has no other reader.
      Elsewhere it is a pointwise operation with one factor and one addend per channel.
    - An activation is folded into the operation before it, if that has no other reader.
    - Reshapes, transpositions, slices, concatenations, casts and constant padding move no data: their readers read the
      original tensors. A tensor of which some readers read only some channels counts as several tensors.
    - Weights that several operations read, as those of a module that is called twice, are listed in
      :attr:`FusionGraph.shared`.
    - An unknown operator is a barrier: it never fuses, and a warning names it.

    Args:
        graph: An operation graph with static shapes.
        weight_bytes: Bytes of one weight. A bias is added to four-byte sums and has at least four bytes.
        activation_bytes: Bytes of one activation.

    Returns:
        The fusion graph.

    Raises:
        GraphError: A size is not positive, a shape is unknown, or ``weight_bytes`` or ``activation_bytes`` is below 1.
    """
    if not isinstance(graph, OperationGraph):
        raise GraphError(f"fold: given a {type(graph).__name__}, accepted: an OperationGraph (autobuild.graph_of reads "
                         "networks, ONNX files and architectures)")  # fmt: skip
    for name, given in (("weight_bytes", weight_bytes), ("activation_bytes", activation_bytes)):
        if isinstance(given, bool) or not isinstance(given, int) or given < 1:
            raise GraphError(f"{name}: given {given!r}, accepted: a positive whole number of bytes per element")
    folding = _Folding(graph, weight_bytes, activation_bytes)
    for number, node in enumerate(graph.nodes):
        folding.add(number, node)
    return folding.finish()


@dataclass
class _DraftOperation:
    """A fused operation under construction."""

    node: Operation
    operands: list[TensorRead]
    outputs: list[int]
    members: list[str]
    weight_bytes: int
    rows: int
    barrier: bool
    folded: int = 0
    activated: bool = False
    shared: dict[str, int] = field(default_factory=dict)  # name -> bytes of weights that other operations read, too


@dataclass
class _DraftTensor:
    """A tensor under construction."""

    name: str
    producer: int
    rows: int
    width: int  # elements of one row
    itemsize: int
    held: int  # bytes of an element on chip
    outputs: list[tuple[int, int]] = field(default_factory=list)  # spans of a row that are outputs of the network


class _Folding:
    def __init__(self, graph: OperationGraph, weight_bytes: int, activation_bytes: int) -> None:
        self.graph, self.weight_bytes, self.activation_bytes = graph, weight_bytes, activation_bytes
        self.bias_bytes = max(weight_bytes, ACCUMULATOR_BYTES)
        self.operands = graph.operand_table()
        self.uses = Counter(value for operands in self.operands for value in operands)
        self.uses += Counter((node, place) for node in graph.outputs
                             for place in range(len(graph.nodes[node].output_shapes)))  # fmt: skip
        self.views: dict[Value, View] = {}
        self.made: dict[Value, int] = {}  # value -> number of the operation that writes it
        self.drafts: list[_DraftOperation] = []
        self.memory: list[_DraftTensor] = []

    def add(self, number: int, node: Operation) -> None:
        if not node.output_shapes:
            raise GraphError(f"graph {self.graph.name!r}: node {node.name!r} ({node.type}) has no output; accepted: "
                             "one or more")  # fmt: skip
        for shape in (*node.input_shapes, *node.output_shapes):
            if any(not isinstance(size, int) or size < 1 for size in shape):
                raise GraphError(f"graph {self.graph.name!r}: node {node.name!r} has a tensor of shape {shape}; "
                                 "accepted: positive whole sizes (a fusion graph needs static shapes)")  # fmt: skip
        if node.kernel and node.input_shapes and len(node.input_shapes[0]) != len(node.kernel) + 2:
            raise GraphError(f"graph {self.graph.name!r}: node {node.name!r} ({node.type}) has the input shape "
                             f"{node.input_shapes[0]}; accepted: batch, channels and {len(node.kernel)} more (for one "
                             "picture a batch of one)")  # fmt: skip
        if node.type == "input":
            axis = self._input_axis(number, node)
            for place, shape in enumerate(node.output_shapes):
                where, name = (axis, node.name) if place == 0 else (usual_axis(shape), f"{node.name}:{place}")
                self.views[number, place] = self._tensor(name, -1, shape, where, self.activation_bytes)
            return
        values = self.operands[number]
        views = [self.views[value] for value in values]
        if len(node.output_shapes) == 1 and (self._norm_folds(node, values) or self._activation_folds(node, values)):
            self.views[number, 0] = self.views[values[0]]
            self.made[number, 0] = self.made[values[0]]
            return
        if (aliases := self._checked_alias(node, views)) is not None:
            self.views |= {(number, place): view for place, view in enumerate(aliases)}
            return
        self._operation(number, node, views)

    def finish(self) -> FusionGraph:
        for node in self.graph.outputs:
            for place in range(len(self.graph.nodes[node].output_shapes)):
                for tensor, _, low, high in self.views[node, place].reads(None, Access(REDUCE)):
                    self.memory[tensor].outputs.append((low, high))
        return _split(self)

    def _input_axis(self, number: int, node: Operation) -> int | None:
        """Row dimension of an input. With three dimensions its readers decide: 1D feature maps, or tokens."""
        readers = [reader for reader, operands in zip(self.graph.nodes, self.operands, strict=True)
                   if (number, 0) in operands]  # fmt: skip
        if len(node.output_shape) == 3 and any(reader.kernel is not None for reader in readers):
            return 2
        return usual_axis(node.output_shape)

    def _tensor(self, name: str, producer: int, shape: tuple[int, ...], axis: int | None, itemsize: int,
                held: int | None = None) -> View:  # fmt: skip
        base = Base(shape, axis, len(self.memory))
        self.memory.append(_DraftTensor(name, producer, base.rows, base.width, itemsize, held or itemsize))
        return View.whole(base)

    def _sole(self, values: Sequence[Value]) -> _DraftOperation | None:
        """The operation that writes the only operand, if the operand has no other reader."""
        fits = len(values) == 1 and values[0][1] == 0 and self.uses[values[0]] == 1 and values[0] in self.made
        return self.drafts[self.made[values[0]]] if fits else None

    def _norm_folds(self, node: Operation, values: Sequence[Value]) -> bool:
        if node.type != "batch_norm" or (draft := self._sole(values)) is None:
            return False
        before = draft.node
        if before.type not in PRODUCERS or draft.activated or len(draft.members) > 1:
            return False
        if before.output_shape[1 : 2 if before.type != "linear" else None] != node.output_shape[1:2]:
            return False  # it normalises another dimension than the features of the linear layer
        added = 0 if before.bias else node.output_shape[1] * self.bias_bytes
        draft.weight_bytes += added
        norm = node.shared[0][0] if node.shared else ""
        if draft.shared and norm:  # the same weights folded with different norms are different weights
            draft.shared = {f"{name} by {norm}": size for name, size in draft.shared.items()}
            draft.shared[f"{norm}, folded"] = added
        else:
            draft.shared = {}
        draft.members.append(node.name)
        return True

    def _activation_folds(self, node: Operation, values: Sequence[Value]) -> bool:
        if node.type not in FOLDED or (draft := self._sole(values)) is None or draft.barrier:
            return False
        draft.weight_bytes += node.weight_elements * self.weight_bytes
        draft.shared |= self._shared(node)
        draft.members.append(node.name)
        draft.activated = True
        moved = 2 * math.prod(node.output_shape) * self.activation_bytes
        draft.folded += moved + node.weight_elements * self.weight_bytes
        return True

    def _checked_alias(self, node: Operation, views: list[View]) -> list[View] | None:
        """Like :meth:`_alias`, but None if the attributes of the node do not match its shapes."""
        try:
            aliases = self._alias(node, views)
        except (IndexError, ValueError):  # axes or spans out of range
            return None
        fits = aliases is not None and [view.shape for view in aliases] == list(node.output_shapes)
        return aliases if fits else None

    def _alias(self, node: Operation, views: list[View]) -> list[View] | None:
        """Views of the outputs of a node that moves no data; None for other nodes."""
        if len(views) == 0:
            return None
        view, out = views[0], node.output_shape
        sliced = node.type in ("slice", "gather") and node.axes is not None and node.spans is not None
        if node.type == "alias" and len(views) == 1:
            return [view.reshaped(out) if math.prod(out) == math.prod(view.shape) else view.expanded(out)]
        if node.type == "cast" and len(views) == 1:
            return [view]
        if node.type == "transpose" and node.axes is not None and len(node.axes) == len(view.shape):
            return [view.permuted(node.axes)]
        if sliced and len(node.spans or ()) == len(node.output_shapes):
            parts = zip(node.spans or (), node.output_shapes, strict=True)
            return [view.sliced(node.axes or (), spans).reshaped(shape) for spans, shape in parts]
        if node.type == "concat" and node.axes is not None and node.spans is not None:
            return [self._concatenated(node, views)]
        border = node.padding or ()
        adds = len(border) == len(out) and all(min(sides) >= 0 for sides in border)
        if node.type == "pad" and node.mode == "constant" and adds:
            return [padded(view, out, border)]
        return None

    def _concatenated(self, node: Operation, views: list[View]) -> View:
        """A concatenation. Gaps between the operands are constants, which are tensors of their own."""
        shape, axis = node.output_shape, (node.axes or (0,))[0]
        spans = [spans[0] for spans in node.spans or ()]
        single = (*shape[:axis], 1, *shape[axis + 1 :])  # an operand of a stack
        parts = [(view if len(view.shape) == len(shape) else view.reshaped(single), span)
                 for view, span in zip(views, spans, strict=True)]  # fmt: skip
        place = 0
        for start, stop, _ in [*sorted(spans), (shape[axis], shape[axis], 1)]:
            if start > place:
                size = (*shape[:axis], start - place, *shape[axis + 1 :])
                made = self._tensor(f"{node.name} (constant)", -1, size, usual_axis(size), self.weight_bytes)
                parts.append((made, (place, start, 1)))
            place = stop
        return joined(shape, axis, [view for view, _ in parts], [span for _, span in parts])

    def _operation(self, number: int, node: Operation, views: list[View]) -> None:
        axis, readings = access_rule(node, views)
        out = node.output_shape
        one_row = axis is None or out[axis] == 1
        touched = [touch for view, (row_axis, access) in zip(views, readings, strict=True)
                   for touch in view.reads(row_axis, access, one_row)]  # fmt: skip
        barrier = any(access.kind == BARRIER for _, access in readings)
        if barrier:
            warnings.warn(f"{self.graph.name!r}: operation {node.name!r} ({node.op or node.type}) is not known to the "
                          "fusion rules; it is a barrier that never fuses", stacklevel=4)  # fmt: skip
        sums = any(access.kind == REDUCE for _, access in readings)
        held = max(ACCUMULATOR_BYTES, self.activation_bytes) if sums else self.activation_bytes
        outputs = []
        for place, shape in enumerate(node.output_shapes):
            where = axis if place == 0 or len(shape) == len(out) else usual_axis(shape)
            name = node.name if place == 0 else f"{node.name}:{place}"
            outputs.append(len(self.memory))
            self.views[number, place] = self._tensor(name, len(self.drafts), shape, where, self.activation_bytes, held)
            self.made[number, place] = len(self.drafts)
        rows = 1 if axis is None else out[axis]
        draft = _DraftOperation(node, touched, outputs, [node.name], self._weights(node), rows, barrier)
        draft.shared = self._shared(node)
        self.drafts.append(draft)

    def _weights(self, node: Operation) -> int:
        """Weight bytes of a node."""
        if node.type == "batch_norm" and len(node.output_shape) > 1:
            return node.output_shape[1] * (self.weight_bytes + self.bias_bytes)
        # older graph files give only weight_bytes, with four bytes per weight
        numbers = node.weight_elements or node.weight_bytes // 4
        if node.type in LOOKED_UP:  # of a table the rows that are asked for
            numbers = min(numbers, sum(map(math.prod, node.output_shapes)))
        biases = _features(node) if node.bias and node.type in PRODUCERS else 0
        return (numbers - biases) * self.weight_bytes + biases * self.bias_bytes

    def _shared(self, node: Operation) -> dict[str, int]:
        """Name -> bytes of the weights of a node that other nodes read, too."""
        if not node.shared or node.type in LOOKED_UP:
            return {}
        if node.type == "batch_norm":  # factor and addend, of four tensors per norm
            return {node.shared[0][0]: self._weights(node)} if len(node.shared) > 1 else {}
        biased = node.bias and node.type in PRODUCERS
        return {name: math.prod(shape) * (self.bias_bytes if biased and len(shape) == 1 else self.weight_bytes)
                for name, shape in node.shared}  # fmt: skip


def _features(node: Operation) -> int:
    """Number of output channels; each has weights of its own."""
    shape = node.output_shape
    return shape[1] if node.type != "linear" and len(shape) > 1 else shape[-1] if shape else 1


def _split(folding: _Folding) -> FusionGraph:
    """Divide tensors into the channel ranges that readers use, drop unread ranges, and number the rest."""
    cuts: list[set[int]] = [{0, memory.width} for memory in folding.memory]
    for draft in folding.drafts:
        for tensor, _, low, high in draft.operands:
            cuts[tensor] |= {low, high + 1}
    for memory, borders in zip(folding.memory, cuts, strict=True):
        for low, high in memory.outputs:
            borders |= {low, high + 1}
    tensors: list[Tensor] = []
    pieces: list[list[tuple[int, int, int]]] = []  # for each tensor (low, high, number)
    for number, memory in enumerate(folding.memory):
        edges = sorted(cuts[number])
        pieces.append([])
        for low, stop in pairwise(edges):
            part, name = stop - low, memory.name if len(edges) == 2 else f"{memory.name}[{low}:{stop}]"
            output = any(first < stop and last >= low for first, last in memory.outputs)
            pieces[-1].append((low, stop - 1, len(tensors)))
            tensors.append(Tensor(name, memory.producer, 0, memory.rows, part * memory.held,
                                  part * memory.itemsize * memory.rows, output))  # fmt: skip
    reading = [tuple(dict.fromkeys((piece, access) for tensor, access, low, high in draft.operands
                     for first, last, piece in pieces[tensor] if first <= high and last >= low))
               for draft in folding.drafts]  # fmt: skip
    consumers = Counter[int]()
    for i, operands in enumerate(reading):
        for tensor in {tensor for tensor, _ in operands}:
            consumers[tensor] += 1 << i
    kept = [t for t, tensor in enumerate(tensors) if consumers[t] or tensor.output]
    place = {t: i for i, t in enumerate(kept)}
    writes = [tuple(place[piece] for tensor in draft.outputs for _, _, piece in pieces[tensor] if piece in place)
              for draft in folding.drafts]  # fmt: skip
    ops = [_fused(folding, draft, tuple((place[t], access) for t, access in operands), outputs)
           for draft, operands, outputs in zip(folding.drafts, reading, writes, strict=True)]  # fmt: skip
    final = tuple(replace(tensors[t], consumers=consumers[t]) for t in kept)
    return FusionGraph(tuple(ops), final, folding.graph.name, folding.weight_bytes, folding.activation_bytes,
                       _shared_weights(folding.drafts), tuple(folding.graph.uncounted.items()))  # fmt: skip


def _shared_weights(drafts: Sequence[_DraftOperation]) -> tuple[tuple[int, int], ...]:
    """Shared weights: mask of the operations that read them, and bytes; one entry for each mask."""
    readers: Counter[str] = Counter()
    sizes: dict[str, int] = {}
    for i, draft in enumerate(drafts):
        for name, size in draft.shared.items():
            readers[name] += 1 << i
            sizes[name] = size
    bytes_of: Counter[int] = Counter()
    for name, mask in readers.items():
        if mask & (mask - 1):
            bytes_of[mask] += sizes[name]
    return tuple((mask, size) for mask, size in bytes_of.items() if size)


def _fused(folding: _Folding, draft: _DraftOperation, operands: tuple[tuple[int, Access], ...],
           outputs: tuple[int, ...]) -> FusedOperation:  # fmt: skip
    node = draft.node
    return FusedOperation(
        name=node.name,
        type=node.type,
        members=tuple(draft.members),
        operands=operands,
        outputs=outputs,
        rows=draft.rows,
        weight_bytes=draft.weight_bytes,
        weight_tiles=_features(node) if node.type in PRODUCERS else 1,
        macs=node.macs or 0,
        accumulator_bytes=accumulators(node) * ACCUMULATOR_BYTES,
        pointwise=node.type in IN_PLACE,
        barrier=draft.barrier,
        moves=node.type in LAYOUT,
        folded_bytes=draft.folded,
    )
