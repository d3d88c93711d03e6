"""Find the dimensions that an ONNX operator works along (``axes``, ``spans`` and ``mode`` of an operation)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autobuild.graphs.drafts import Draft, Value, Weight
from autobuild.graphs.operations import Shape, Span
from autobuild.graphs.torch_axes import joined, split

RESIZES = {"nearest": "nearest", "linear": "linear", "cubic": "cubic"}


@dataclass(frozen=True)
class Call:
    """A node with everything that is known about its inputs.

    Attributes:
        kind: Name of the operator.
        names: Names of its inputs.
        inputs: Its inputs: values, weights, or None for an omitted input.
        shapes: Shapes of the inputs; ``()`` for an omitted input.
        attributes: Attribute name -> value.
        scalars: Name of a small constant -> its elements.
        opset: Version of the operator set.
    """

    kind: str
    names: Sequence[str]
    inputs: Sequence[Value | Weight | None]
    shapes: Sequence[Shape]
    attributes: Mapping[str, Any]
    scalars: Mapping[str, Any]
    opset: int = 17

    def shape(self, place: int) -> Shape | None:
        """Shape of an input; None if it is omitted."""
        return self.shapes[place] if place < len(self.inputs) and self.inputs[place] is not None else None

    def given(self, key: str, place: int) -> list[int] | None:
        """Integers given as an attribute or, in newer files, as a constant input; None if neither is known."""
        if key in self.attributes:
            value = self.attributes[key]
            return [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)]
        name = self.names[place] if len(self.names) > place else ""
        return [int(v) for v in self.scalars[name].reshape(-1)] if name in self.scalars else None


def fill_axes(draft: Draft, call: Call) -> None:
    """Set ``axes``, ``spans`` and ``mode`` of a draft; unknown fields stay None."""
    reader = READERS.get(call.kind)
    if reader is not None and draft.inputs:
        reader(draft, call)


def _concat(draft: Draft, call: Call) -> None:
    axis = int(call.attributes["axis"]) % len(draft.outputs[0])
    data = [isinstance(part, Value) for part in call.inputs]
    sizes = [shape[axis] if len(shape) > axis else None for shape in call.shapes]
    draft.axes, draft.spans = joined(draft.outputs[0], axis, sizes, data)


def _slice(draft: Draft, call: Call) -> None:
    x = draft.inputs[0].shape
    starts, stops = call.given("starts", 1), call.given("ends", 2)
    if starts is None or stops is None:
        return
    axes = call.given("axes", 3) or list(range(len(starts)))
    steps = call.given("steps", 4) or [1] * len(starts)
    if min(steps) < 1:
        return  # reversed, so not a plain slice
    draft.axes = tuple(axis % len(x) for axis in axes)
    spans = (slice(*bounds).indices(x[axis]) for *bounds, axis in zip(starts, stops, steps, draft.axes, strict=True))
    draft.spans = (tuple(spans),)


def _split(draft: Draft, call: Call) -> None:
    axis = int(call.attributes.get("axis", 0)) % len(draft.inputs[0].shape)
    if len({len(out) for out in draft.outputs}) == 1:
        draft.axes, draft.spans = (axis,), tuple((span,) for span in split([out[axis] for out in draft.outputs]))


def _order(draft: Draft, call: Call) -> None:
    rank = len(draft.inputs[0].shape)
    draft.axes = tuple(call.attributes.get("perm", range(rank)[::-1]))


def _shuffled(draft: Draft, call: Call) -> None:
    """Set the mode: channels become positions, and every output row depends on one input row only."""
    draft.mode = "pixel_shuffle"


def _softmax(draft: Draft, call: Call) -> None:
    rank = len(draft.inputs[0].shape)
    axis = int(call.attributes.get("axis", 1 if call.opset < 13 else -1)) % rank
    draft.axes = tuple(range(axis, rank)) if call.opset < 13 else (axis,)  # older versions flatten them


def _along(draft: Draft, call: Call) -> None:
    draft.axes = (int(call.attributes.get("axis", -1)) % len(draft.inputs[0].shape),)


def _ranked(draft: Draft, call: Call) -> None:
    """Along an attribute; of a running sum along an input, of which an unknown one leaves the axis open."""
    axis = call.attributes.get("axis", -1 if call.kind == "TopK" else 0)
    if call.kind in ("CumSum", "CumProd"):
        found = call.given("", 1)
        if found is None or len(found) != 1:
            return
        axis = found[0]
    draft.axes = (int(axis) % len(draft.inputs[0].shape),)


def _normed(draft: Draft, call: Call) -> None:
    rank = len(draft.inputs[0].shape)
    draft.axes = tuple(range(int(call.attributes.get("axis", -1)) % rank, rank))


def _reduced(draft: Draft, call: Call) -> None:
    rank = len(draft.inputs[0].shape)
    over = call.given("axes", 1)
    if over is None and len(call.names) > 1 and call.names[1]:
        return
    draft.axes = tuple(sorted(axis % rank for axis in over or range(rank)))


def _picked(draft: Draft, call: Call) -> None:
    if draft.type != "gather":
        return  # it reads rows of a table of weights
    axis = int(call.attributes.get("axis", 0)) % len(draft.inputs[0].shape)
    draft.axes = (axis,)
    found = call.given("", 1)
    size = draft.inputs[0].shape[axis]
    if found is not None and len(found) == 1:
        start = found[0] % size
        span: Span = (start, start + 1, 1)
        draft.spans = ((span,),)


def _resized(draft: Draft, call: Call) -> None:
    how = str(call.attributes.get("coordinate_transformation_mode", "half_pixel"))
    mode = RESIZES.get(str(call.attributes.get("mode", "nearest")))
    floor = how == "asymmetric" and call.attributes.get("nearest_mode") == "floor"
    if call.attributes.get("antialias"):
        return
    if call.kind == "Upsample" or (mode == "nearest" and floor):
        draft.mode = mode
    elif mode == "nearest":
        draft.mode = "linear"  # an interpolation between two neighbours
    elif mode is not None and how in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        draft.mode = mode + ("-corners" if how == "align_corners" else "")


def _padded(draft: Draft, call: Call) -> None:
    pads = call.given("pads", 1)
    rank = len(draft.inputs[0].shape)
    if pads is None or len(pads) != 2 * rank:
        return
    draft.padding = tuple(zip(pads[:rank], pads[rank:], strict=True))
    draft.mode = "constant" if call.attributes.get("mode", "constant") == "constant" else None


READERS: dict[str, Callable[[Draft, Call], None]] = {
    "Concat": _concat, "Slice": _slice, "Split": _split, "Transpose": _order, "DepthToSpace": _shuffled,
    "Softmax": _softmax, "LogSoftmax": _softmax, "Hardmax": _softmax, "LpNormalization": _along,
    "LayerNormalization": _normed, "RMSNormalization": _normed,
    "Gather": _picked, "Resize": _resized, "Upsample": _resized, "Pad": _padded,
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceSum", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
                     "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"), _reduced),
    **dict.fromkeys(("ArgMax", "ArgMin", "TopK", "CumSum", "CumProd"), _ranked),
}  # fmt: skip
