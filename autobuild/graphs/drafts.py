"""Operation graphs in the making: what both readers fill, and the rules that bring them to the same form.

Exporters rewrite networks: batch norms are folded into convolutions, SiLU becomes ``x * sigmoid(x)``, a linear layer on
rows becomes a matrix product and an addition. The rules here undo or do the same on every graph, so that a network
gives the same operations whether PyTorch or an ONNX file tells it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from autobuild.graphs.operations import Operation, OperationGraph, Shape, Span

GATES = {"sigmoid": "silu", "hard_sigmoid": "hard_swish"}


@dataclass(frozen=True)
class Weight:
    """A tensor that does not depend on the network's inputs.

    Attributes:
        key: Equal for weights that are shared.
        shape: Its shape.
        itemsize: Bytes of one number; a half for numbers of four bits.
        learnt: Whether it counts as parameters; buffers do not.
        parts: Of a weight that is computed: what is stored of it, ``(key, numbers)`` each. Empty: the weight itself.
    """

    key: str
    shape: Shape
    itemsize: float = 4
    learnt: bool = True
    parts: tuple[tuple[str, int], ...] = ()

    @property
    def numel(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        return math.ceil(self.numel * self.itemsize)

    @property
    def stored(self) -> tuple[tuple[str, int], ...]:
        """What counts as parameters, each key once in a network: ``(key, numbers)``."""
        return self.parts or ((self.key, self.numel),)


@dataclass(eq=False)
class Draft:
    """An operation before the rules; see :class:`~autobuild.graphs.operations.Operation` for the fields."""

    type: str
    op: str
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Shape] = field(default_factory=list)
    itemsize: float = 4
    module: str = ""
    name: str = ""
    weights: list[Weight] = field(default_factory=list)
    folded: str = ""  # the batch norm that is folded in: with another one the same weights are others
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
    """Output ``place`` of an operation; equal where it is the same tensor."""

    draft: Draft
    place: int = 0

    @property
    def shape(self) -> Shape:
        """Its shape."""
        return self.draft.outputs[self.place]


def convolution(draft: Draft, weight: Shape, bias: bool, *, transposed: bool = False) -> None:
    """Fill in what a convolution's weight tells.

    Shapes: ``weight (out, in / groups, *kernel)``; transposed ``(in, out / groups, *kernel)``.
    """
    draft.type = "conv_transpose" if transposed else "conv"
    draft.kernel, draft.bias = weight[2:], bias
    positions = draft.inputs[0].shape if transposed else draft.outputs[0]
    draft.macs = math.prod(positions) * math.prod(weight[1:])


def linear(draft: Draft, features_in: int, bias: bool) -> None:
    """Fill in what a linear layer does with every row."""
    draft.type, draft.bias = "linear", bias
    draft.macs = math.prod(draft.outputs[0]) * features_in


def matmul(draft: Draft) -> None:
    """Fill in the product of two maps."""
    draft.type = "matmul"
    draft.macs = math.prod(draft.outputs[0]) * draft.inputs[0].shape[-1]


def weight_times(draft: Draft, contracted: int) -> None:
    """Fill in the product of a weight and a map, in this order: it works along the map's last dimension but one.

    Args:
        draft: The operation.
        contracted: Size of the dimension that is summed over.
    """
    draft.type = "matmul"
    draft.axes = (max(len(draft.inputs[0].shape) - 2, 0),)
    draft.macs = math.prod(draft.outputs[0]) * contracted


def einsum_macs(equation: str, shapes: Sequence[Shape]) -> int:
    """Multiply-accumulates of an Einstein sum, its operands multiplied from left to right.

    A product costs as many as there are combinations of the indices of both operands; where nothing is summed and both
    have the same indices it is elementwise, and costs none, as a multiplication.

    Raises:
        ValueError: The equation does not fit the shapes.
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
        # dimensions behind the dots are aligned at their ends; digits are no letters of equations
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


def clipping(low: float | None, high: float | None) -> str:
    """Type of a clip between two bounds, None where there is none or it is not known."""
    return {(0, 6): "relu6", (0, None): "relu"}.get((low, high), "clip")  # type: ignore[arg-type]


def finish(drafts: list[Draft], outputs: list[Value], name: str, *, fold: bool) -> OperationGraph:
    """Apply the rules, leave out what no output depends on, and number what stays.

    Args:
        drafts: In an order in which they can be computed.
        outputs: The network's outputs.
        name: The graph's name.
        fold: Fold batch norms into the convolution or linear layer before them.
    """
    tidy = _Tidy(drafts, outputs)
    for draft in drafts:
        _pool(draft)
        tidy.linear_bias(draft)
        tidy.gate(draft)
        if fold:
            tidy.batch_norm(draft)
    return _number(tidy.reached(), tidy.outputs, name)


def _pool(draft: Draft) -> None:
    """A pool over the whole map is a global one, however it was written."""
    if draft.type in ("avg_pool", "max_pool") and draft.inputs:
        spatial = draft.inputs[0].shape[2:]
        whole = draft.kernel == spatial and not any(map(sum, draft.padding or ()))
        if whole and math.prod(draft.outputs[0][2:]) == 1:
            draft.type = "global_" + draft.type
            draft.stride = draft.dilation = draft.padding = None


class _Tidy:
    """The graph under the rules; a value that was replaced is looked up through ``instead``."""

    def __init__(self, drafts: list[Draft], outputs: list[Value]) -> None:
        self.drafts, self.outputs = drafts, outputs
        self.uses = Counter(value for draft in drafts for value in draft.inputs) + Counter(outputs)
        self.instead: dict[Value, Value] = {}

    def linear_bias(self, draft: Draft) -> None:
        """An addition of one weight a feature right behind a linear layer without bias is its bias."""
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
        """``x * sigmoid(x)`` is SiLU; with the hard sigmoid it is hard swish."""
        if draft.type != "mul" or len(draft.inputs) != 2 or draft.weights:
            return
        for x, gated in (draft.inputs, draft.inputs[::-1]):
            if gated.draft.type in GATES and gated.draft.inputs == [x] and self.uses[gated] == 1:
                draft.type, draft.inputs = GATES[gated.draft.type], [x]
                self.uses[x] -= 1
                return

    def batch_norm(self, draft: Draft) -> None:
        """A batch norm behind a convolution or linear layer scales its weights and moves its bias."""
        if draft.type != "batch_norm" or not draft.inputs:
            return
        before = draft.inputs[0].draft
        if before.type not in ("conv", "conv_transpose", "linear") or self.uses[draft.inputs[0]] != 1:
            return
        if before.outputs[0][1 : 2 if before.type != "linear" else None] != draft.outputs[0][1:2]:
            return  # a batch norm over another dimension than the features of a linear layer
        if not before.bias:
            features = draft.outputs[0][1]
            before.weights.append(Weight(f"{draft.weights[0].key if draft.weights else id(draft)}, folded", (features,),
                                         draft.itemsize))  # fmt: skip
            before.bias = True
        before.folded = draft.weights[0].key if draft.weights else str(id(draft))
        self._replace(draft, draft.inputs[0])

    def reached(self) -> list[Draft]:
        """Inputs, and what the outputs depend on."""
        self.outputs = [self.instead.get(value, value) for value in self.outputs]
        for draft in self.drafts:
            self._relink(draft)
        wanted = {id(value.draft) for value in self.outputs}
        for draft in reversed(self.drafts):
            if id(draft) in wanted:
                wanted |= {id(value.draft) for value in draft.inputs}
        return [draft for draft in self.drafts if id(draft) in wanted or draft.type == "input"]

    def _relink(self, draft: Draft) -> None:
        draft.inputs = [self.instead.get(value, value) for value in draft.inputs]

    def _replace(self, draft: Draft, value: Value) -> None:
        # readers come later in the order, so what they find in `instead` is final
        gone = Value(draft)
        self.instead[gone] = value
        self.uses[value] = self.uses.pop(gone, 0)


def _number(drafts: list[Draft], outputs: list[Value], name: str) -> OperationGraph:
    number = {id(draft): i for i, draft in enumerate(drafts)}
    taken: Counter[str] = Counter()
    counted: set[str] = set()
    readers = Counter(key for draft in drafts for key in {_identity(draft, weight) for weight in draft.weights})
    nodes, edges, operands = [], set(), []
    for draft in drafts:
        operands.append(tuple((number[id(value.draft)], value.place) for value in draft.inputs))
        edges |= {(source, number[id(draft)]) for source, _ in operands[-1]}
        stored = dict(part for weight in draft.weights if weight.learnt for part in weight.stored)
        own = {key: numel for key, numel in stored.items() if key not in counted}
        counted |= set(own)
        several = [weight for weight in draft.weights if readers[_identity(draft, weight)] > 1]
        shared = tuple({_identity(draft, weight): weight.shape for weight in several}.items())
        nodes.append(_operation(draft, taken, sum(own.values()), shared or None))
    return OperationGraph(
        tuple(nodes), tuple(sorted(edges)), tuple(dict.fromkeys(number[id(v.draft)] for v in outputs)), name,
        tuple(operands),
    )  # fmt: skip


def _identity(draft: Draft, weight: Weight) -> str:
    """What weights are called; the same for two operations that read the same numbers."""
    return f"{weight.key} by {draft.folded}" if draft.folded else weight.key


def _operation(
    draft: Draft, taken: Counter[str], params: int, shared: tuple[tuple[str, Shape], ...] | None
) -> Operation:
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
        params=params,
        weight_bytes=sum(weight.nbytes for weight in draft.weights),
        weight_elements=sum(weight.numel for weight in draft.weights),
        shared=shared,
        output_bytes=written,
        macs=draft.macs,
    )
