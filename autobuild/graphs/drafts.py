"""Drafts of operation graphs, which the readers of PyTorch and ONNX fill, and rules that bring them to the same form.

Exporters rewrite networks: batch norms are folded into convolutions, SiLU becomes ``x * sigmoid(x)``, a linear layer
becomes a matrix product and an addition. The rules here undo or repeat such changes on every graph, so that a network
gives the same operations whether it is read from PyTorch or from an ONNX file.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from autobuild.errors import GraphError
from autobuild.graphs.operations import Operation, OperationGraph, Shape, Span

GATES = {"sigmoid": "silu", "hard_sigmoid": "hard_swish"}
# GELU written out, x / 2 * (1 + erf(x / sqrt(2))) or with tanh of a polynomial: numbers of erf, of tanh, of additions,
# and of products, quotients and powers.
GELUS = {(1, 0, 1, 3), (0, 1, 2, 5), (0, 1, 2, 6)}


@dataclass(frozen=True)
class Weight:
    """A tensor that does not depend on the inputs of the network, as an operation reads it.

    It is stored, or computed from stored tensors (a slice, a normalised kernel, a folded batch norm). The computation
    runs once before inference, so its MACs are not counted.

    Attributes:
        key: Identifies the content; weights with equal keys hold the same numbers.
        shape: Shape of the tensor.
        itemsize: Bytes per element; 0.5 for elements of four bits.
        learnt: Whether its elements count as parameters; those of buffers do not.
        held: Shape in memory, if it is smaller because the tensor is repeated along some dimensions.
        computed_from: The stored weights that it is computed from; empty for a stored weight.
    """

    key: str
    shape: Shape
    itemsize: float = 4
    learnt: bool = True
    held: Shape | None = None
    computed_from: tuple[Weight, ...] = ()

    @property
    def numel(self) -> int:
        """Number of elements that are read."""
        return math.prod(self.in_memory)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements that are read."""
        return math.ceil(self.numel * self.itemsize)

    @property
    def in_memory(self) -> Shape:
        """Shape in memory, without repetitions."""
        few = self.held is not None and math.prod(self.held) < math.prod(self.shape)
        return self.held if few and self.held is not None else self.shape

    @property
    def stored(self) -> tuple[Weight, ...]:
        """The weights that the network stores: this one, or those that it is computed from."""
        return self.computed_from or (self,)

    def within(self, place: str) -> Weight:
        """The same weight, of a module at the path ``place``."""
        parts = tuple(weight.within(place) for weight in self.computed_from)
        return replace(self, key=f"{place}.{self.key}", computed_from=parts)


@dataclass(eq=False)
class Draft:
    """An operation before the rules are applied; see :class:`~autobuild.graphs.operations.Operation` for the fields."""

    type: str
    op: str
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Shape] = field(default_factory=list)
    itemsize: float = 4
    module: str = ""
    name: str = ""
    weights: list[Weight] = field(default_factory=list)
    kernel: Shape | None = None
    stride: Shape | None = None
    dilation: Shape | None = None
    padding: tuple[tuple[int, int], ...] | None = None
    groups: int | None = None
    bias: bool | None = None
    axes: Shape | None = None
    spans: tuple[tuple[Span, ...], ...] | None = None
    mode: str | None = None
    macs: int | None = 0


@dataclass(frozen=True)
class Value:
    """Output number ``place`` of an operation; equal values are the same tensor."""

    draft: Draft
    place: int = 0

    @property
    def shape(self) -> Shape:
        """Shape of the tensor."""
        return self.draft.outputs[self.place]


def convolution(draft: Draft, weight: Shape, bias: bool, *, transposed: bool = False, taken: Shape = ()) -> None:
    """Set the fields of a convolution from the shape of its weight.

    Args:
        draft: The operation.
        weight: Shape ``(out, in / groups, *kernel)``; if transposed, ``(in, out / groups, *kernel)``.
        bias: Whether it adds a bias.
        transposed: Whether it is a transposed convolution.
        taken: Shape of its input, if that is not the draft's first one.

    Raises:
        GraphError: The output is empty, because the kernel is larger than the padded input.
    """
    draft.type = "conv_transpose" if transposed else "conv"
    draft.kernel, draft.bias = weight[2:], bias
    taken = taken or draft.inputs[0].shape
    if 0 in draft.outputs[0] and 0 not in taken:
        size = "x".join(map(str, weight[2:]))
        raise GraphError(f"{draft.module or draft.name or draft.type}: a kernel of {size} does not fit into an input "
                         f"of the shape {taken}: the output would be empty")  # fmt: skip
    draft.macs = math.prod(taken if transposed else draft.outputs[0]) * math.prod(weight[1:])


def linear(draft: Draft, features_in: int, bias: bool) -> None:
    """Set the fields of a linear layer, which is applied to every row of its input."""
    draft.type, draft.bias = "linear", bias
    draft.macs = math.prod(draft.outputs[0]) * features_in


def matmul(draft: Draft) -> None:
    """Set the fields of a matrix product of two inputs."""
    draft.type = "matmul"
    draft.macs = math.prod(draft.outputs[0]) * draft.inputs[0].shape[-1]


def weight_times(draft: Draft, contracted: int) -> None:
    """Set the fields of a matrix product weight x input, which sums over the input's last dimension but one.

    Args:
        draft: The operation.
        contracted: Size of the dimension that is summed over.
    """
    draft.type = "matmul"
    draft.axes = (max(len(draft.inputs[0].shape) - 2, 0),)
    draft.macs = math.prod(draft.outputs[0]) * contracted


def einsum_macs(equation: str, shapes: Sequence[Shape]) -> int:
    """Multiply-accumulates of an Einstein sum whose operands are multiplied from left to right.

    Each product costs the number of combinations of the indices of both operands. An elementwise product (equal
    indices, nothing is summed) costs 0, like every elementwise multiplication.

    Raises:
        ValueError: The equation does not match the shapes.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"equation {equation!r} has {len(terms)} operands, given are {len(shapes)}")
    sizes: dict[str, int] = {}
    named = []
    for term, shape in zip(terms, shapes, strict=True):
        before, dots, after = term.partition("...")
        more = len(shape) - len(before) - len(after)
        if more < 0 or (more and not dots):
            raise ValueError(f"equation {equation!r}: operand {term!r} has the shape {shape}")
        # dimensions of "..." are aligned at their ends and named by digits, which equations do not use
        letters = [*before, *(str(place) for place in range(more, 0, -1)), *after]
        for letter, size in zip(letters, shape, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), size)
        named.append(letters)
    all_letters = [letter for letters in named for letter in letters]
    spread = {letter for letter in all_letters if letter.isdigit()}
    once = {letter for letter in all_letters if all_letters.count(letter) == 1}
    output = spread | (set(right.replace("...", "")) if arrow else once)
    macs, held = 0, set(named[0])
    for place, letters in enumerate(named[1:], start=1):
        later = output.union(*named[place + 1 :])
        joint = held | set(letters)
        if held != set(letters) or not joint <= later:
            macs += math.prod(sizes[letter] for letter in joint)
        held = joint & later
    return macs


def fold_norm(draft: Draft, norm: list[Weight], name: str) -> None:
    """Fold a batch norm into a convolution or linear layer, which gets a bias if it has none."""
    stored = tuple(part for weight in norm for part in weight.stored)
    draft.weights = [
        replace(weight, key=f"{weight.key} by {name}", computed_from=(*weight.stored, *stored))
        for weight in draft.weights
    ]
    if not draft.bias:
        features = draft.outputs[0][1]
        draft.weights.append(Weight(f"{name}, folded", (features,), draft.itemsize, computed_from=stored))
        draft.bias = True


def clipping(low: float | None, high: float | None) -> str:
    """Operation type of a clip between two bounds; None stands for a bound that does not exist or is not known."""
    return {(0, 6): "relu6", (0, None): "relu"}.get((low, high), "clip")  # type: ignore[arg-type]


def finish(drafts: list[Draft], outputs: list[Value], name: str, *, fold: bool) -> OperationGraph:
    """Apply the rules, remove operations that no output depends on, and number the others.

    Args:
        drafts: The operations, in an order in which they can be computed.
        outputs: The outputs of the network.
        name: Name of the graph.
        fold: Fold batch norms into the convolution or linear layer before them.

    Returns:
        The operation graph.
    """
    return _number(*tidied(drafts, outputs, fold=fold), name)


def tidied(drafts: list[Draft], outputs: list[Value], *, fold: bool) -> tuple[list[Draft], list[Value]]:
    """The operations and outputs after the rules, without operations that no output depends on; see :func:`finish`."""
    tidy = _Tidy(drafts, outputs)
    for draft in drafts:
        _pool(draft)
        tidy.linear_bias(draft)
        tidy.gate(draft)
        tidy.gelu(draft)
        if fold:
            tidy.batch_norm(draft)
    return tidy.reached(), tidy.outputs


def _pool(draft: Draft) -> None:
    """Change a pool whose window is the whole feature map into a global pool."""
    if draft.type in ("avg_pool", "max_pool") and draft.inputs:
        spatial = draft.inputs[0].shape[2:]
        whole = draft.kernel == spatial and not any(map(sum, draft.padding or ()))
        if whole and math.prod(draft.outputs[0][2:]) == 1:
            draft.type = "global_" + draft.type
            draft.stride = draft.dilation = draft.padding = None


class _Tidy:
    """A graph to which rules are applied; ``instead`` maps replaced values to their replacements."""

    def __init__(self, drafts: list[Draft], outputs: list[Value]) -> None:
        self.drafts, self.outputs = drafts, outputs
        self.uses = Counter(value for draft in drafts for value in draft.inputs) + Counter(outputs)
        self.instead: dict[Value, Value] = {}

    def linear_bias(self, draft: Draft) -> None:
        """Make the addition of a weight vector after a linear layer without bias the bias of that layer."""
        self._relink(draft)
        if draft.type != "add" or len(draft.inputs) != 1 or len(draft.weights) != 1:
            return
        before = draft.inputs[0].draft
        fits = before.type == "linear" and not before.bias and self.uses[draft.inputs[0]] == 1
        if fits and draft.weights[0].numel == draft.outputs[0][-1] == draft.weights[0].shape[-1]:
            before.weights.append(draft.weights[0])
            before.bias = True
            self._replace(draft, draft.inputs[0])

    def gate(self, draft: Draft) -> None:
        """Change ``x * sigmoid(x)`` into SiLU, and the same with hard sigmoid into hard swish."""
        if draft.type != "mul" or len(draft.inputs) != 2 or draft.weights:
            return
        for x, gated in (draft.inputs, draft.inputs[::-1]):
            if gated.draft.type in GATES and gated.draft.inputs == [x] and self.uses[gated] == 1:
                draft.type, draft.inputs = GATES[gated.draft.type], [x]
                self.uses[x] -= 1
                return

    def gelu(self, draft: Draft) -> None:
        """Change the last product of a GELU that is written out into the whole."""
        if draft.type != "mul":
            return
        found, left, kinds = list[Value](), [Value(draft)], Counter[str]()
        while left:
            value = left.pop()
            before = value.draft
            kind = "erf" if before.op.lower().endswith(("erf", "erf.default")) else before.type
            kind = "mul" if kind == "div" or "pow" in before.op.lower() else kind
            inside = kind in ("erf", "tanh", "add", "mul") and not before.weights
            if not inside or (before is not draft and self.uses[value] > 1):
                found.append(value)
                continue
            kinds[kind] += 1
            left += before.inputs
            if sum(kinds.values()) > 9:
                return
        if len(set(found)) == 1 and tuple(kinds[kind] for kind in ("erf", "tanh", "add", "mul")) in GELUS:
            self.uses[found[0]] -= len(found) - 1
            draft.type, draft.inputs = "gelu", found[:1]

    def batch_norm(self, draft: Draft) -> None:
        """Fold a batch norm into the convolution or linear layer before it."""
        if draft.type != "batch_norm" or not draft.inputs:
            return
        before = draft.inputs[0].draft
        if before.type not in ("conv", "conv_transpose", "linear") or self.uses[draft.inputs[0]] != 1:
            return
        if before.outputs[0][1 : 2 if before.type != "linear" else None] != draft.outputs[0][1:2]:
            return  # it normalises another dimension than the features of the linear layer
        if len(before.inputs) > 1 or not before.weights:
            return  # the weights of the layer are computed from the input
        fold_norm(before, draft.weights, draft.weights[0].key if draft.weights else f"norm {id(draft)}")
        self._replace(draft, draft.inputs[0])

    def reached(self) -> list[Draft]:
        """The inputs, and all operations that an output depends on."""
        self.outputs = [self.instead.get(value, value) for value in self.outputs]
        for draft in self.drafts:
            self._relink(draft)
        wanted = {id(value.draft) for value in self.outputs}
        for draft in reversed(self.drafts):
            if id(draft) in wanted:
                wanted |= {id(value.draft) for value in draft.inputs}
        kept = [draft for draft in self.drafts if id(draft) in wanted or draft.op == "input"]
        last: dict[int, int] = {}  # for each operation the last of its outputs that anything reads
        for value in [*self.outputs, *(value for draft in kept for value in draft.inputs)]:
            last[id(value.draft)] = max(value.place, last.get(id(value.draft), 0))
        for draft in kept:  # those behind it, as states and indices that nobody asks for, are not written
            draft.outputs = draft.outputs[: last.get(id(draft), 0) + 1]
            draft.spans = draft.spans[: len(draft.outputs)] if draft.spans and draft.type == "slice" else draft.spans
        return kept

    def _relink(self, draft: Draft) -> None:
        draft.inputs = [self.instead.get(value, value) for value in draft.inputs]

    def _replace(self, draft: Draft, value: Value) -> None:
        # operations that read the value come later, so that they find the final replacement in `instead`
        gone = Value(draft)
        self.instead[gone] = value
        self.uses[value] = self.uses.pop(gone, 0)


def _number(drafts: list[Draft], outputs: list[Value], name: str) -> OperationGraph:
    number = {id(draft): i for i, draft in enumerate(drafts)}
    taken: Counter[str] = Counter()
    stored: set[str] = set()
    read: set[str] = set()
    readers = Counter(key for draft in drafts for key in {weight.key for weight in draft.weights})
    nodes, edges, operands = [], set(), []
    for draft in drafts:
        operands.append(tuple((number[id(value.draft)], value.place) for value in draft.inputs))
        edges |= {(source, number[id(draft)]) for source, _ in operands[-1]}
        weights = {weight.key: weight for weight in draft.weights}  # each weight is counted once
        params = _count((part for weight in weights.values() for part in weight.stored), stored)
        folded = _count(weights.values(), read)
        shared = tuple((key, weight.in_memory) for key, weight in weights.items() if readers[key] > 1)
        made = _operation(draft, taken)
        nodes.append(replace(
            made, params=params, folded_params=folded if folded != params else None, shared=shared or None,
            weight_bytes=sum(weight.nbytes for weight in weights.values()),
            weight_elements=sum(weight.numel for weight in weights.values()),
        ))  # fmt: skip
    return OperationGraph(
        tuple(nodes), tuple(sorted(edges)), tuple(dict.fromkeys(number[id(v.draft)] for v in outputs)), name,
        tuple(operands),
    )  # fmt: skip


def _count(weights: Iterable[Weight], counted: set[str]) -> int:
    """Number of parameters that are not in ``counted`` yet; adds their keys to it."""
    own = {weight.key: weight.numel for weight in weights if weight.learnt and weight.key not in counted}
    counted |= set(own)
    return sum(own.values())


def _operation(draft: Draft, taken: Counter[str]) -> Operation:
    name = draft.name or (f"{draft.module}/{draft.type}" if draft.module else draft.type)
    taken[name] += 1
    written = 0 if draft.type == "alias" else math.ceil(sum(map(math.prod, draft.outputs)) * draft.itemsize)
    return Operation(
        name=name if taken[name] == 1 else f"{name}#{taken[name]}",
        type=draft.type,
        input_shapes=tuple(value.shape for value in draft.inputs),
        output_shapes=tuple(draft.outputs),
        module=draft.module,
        op=draft.op,
        kernel=draft.kernel,
        stride=draft.stride,
        dilation=draft.dilation,
        padding=draft.padding,
        groups=draft.groups,
        bias=draft.bias,
        axes=draft.axes,
        spans=draft.spans,
        mode=draft.mode,
        output_bytes=written,
        macs=draft.macs,
    )
