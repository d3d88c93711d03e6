"""Find the dimensions that an ATen operator works along (``axes``, ``spans`` and ``mode`` of an operation)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from autobuild.graphs.drafts import Draft, Value, Weight
from autobuild.graphs.operations import Shape, Span

RESIZES = {"nearest": "nearest", "nearest_exact": "nearest-exact", "linear": "linear", "bilinear": "linear",
           "trilinear": "linear", "bicubic": "cubic"}  # fmt: skip


def fill_axes(draft: Draft, base: str, named: dict[str, Any]) -> None:
    """Set ``axes``, ``spans`` and ``mode`` of a draft; unknown fields stay None.

    Args:
        draft: The operation, with type, inputs and outputs.
        base: Name of the operator without overload, e.g. ``"cat"``.
        named: Its arguments by name.
    """
    reader = READERS.get(base) or READERS.get(draft.type)
    if reader is not None and draft.inputs:
        reader(draft, base, named)


def _concat(draft: Draft, base: str, named: dict[str, Any]) -> None:
    parts = named.get("tensors")
    if base not in ("cat", "concat", "stack") or not isinstance(parts, list):
        return
    axis = int(named.get("dim", 0)) % len(draft.outputs[0])
    sizes = [1 if base == "stack" else _size(part, axis) for part in parts]
    draft.axes, draft.spans = joined(draft.outputs[0], axis, sizes, [isinstance(part, Value) for part in parts])


def joined(
    output: Shape, axis: int, sizes: Sequence[int | None], data: Sequence[bool]
) -> tuple[Shape, tuple[tuple[Span, ...], ...] | None]:
    """Axes and spans of a concat, from the sizes of its parts (one may be None); only parts that are data get spans."""
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes) - 1:
        return (axis,), None
    sizes = [output[axis] - sum(known) if size is None else size for size in sizes]
    if sum(sizes) != output[axis]:  # type: ignore[arg-type]
        return (axis,), None
    spans, start = [], 0
    for size, is_data in zip(sizes, data, strict=True):
        spans += [((start, start + int(size or 0), 1),)] * is_data
        start += int(size or 0)
    return (axis,), tuple(spans)


def _size(part: Any, axis: int) -> int | None:
    """Size of one part along an axis; None if it is not known, as for weights computed from several others."""
    if isinstance(part, Value):
        return part.shape[axis]
    single = isinstance(part, tuple) and len(part) == 1 and isinstance(part[0], Weight)
    return part[0].shape[axis] if single and len(part[0].shape) > axis else None


def _slice(draft: Draft, base: str, named: dict[str, Any]) -> None:
    x = draft.inputs[0].shape
    axis = int(named.get("dim", 0)) % len(x)
    size = x[axis]
    if base == "slice":
        step = int(named.get("step", 1))
        start, stop, step = slice(named.get("start"), named.get("end"), step).indices(size)
        spans: list[Span] = [(start, stop, step)]
    elif base == "select":
        index = int(named["index"]) % size
        spans = [(index, index + 1, 1)]
    elif base == "narrow":
        start = int(named["start"]) % size
        spans = [(start, start + int(named["length"]), 1)]
    else:
        sizes = [1 if base == "unbind" else out[axis] for out in draft.outputs]
        spans = split(sizes)
    draft.axes, draft.spans = (axis,), tuple((span,) for span in spans)


def split(sizes: Sequence[int]) -> list[Span]:
    """Spans of consecutive parts of these sizes."""
    return [(sum(sizes[:i]), sum(sizes[: i + 1]), 1) for i in range(len(sizes))]


def _order(draft: Draft, base: str, named: dict[str, Any]) -> None:
    rank = len(draft.inputs[0].shape)
    order = list(range(rank))
    if base == "permute":
        order = [int(dim) % rank for dim in named["dims"]]
    elif base in ("transpose", "swapaxes", "swapdims"):
        keys = ("axis0", "axis1") if base == "swapaxes" else ("dim0", "dim1")
        one, two = (int(named[key]) % rank for key in keys)
        order[one], order[two] = order[two], order[one]
    elif base in ("t", "numpy_T"):
        order = order[::-1]
    elif base in ("movedim", "moveaxis"):
        moved = list(zip(*(_listed(named[key]) for key in ("destination", "source")), strict=True))
        rest = [dim for dim in order if dim not in {source % rank for _, source in moved}]
        for to, source in sorted((to % rank, source % rank) for to, source in moved):
            rest.insert(to, source)
        order = rest
    else:
        draft.mode = "pixel_shuffle" if base == "pixel_shuffle" else None
        return
    draft.axes = tuple(order)


def _reduced(draft: Draft, base: str, named: dict[str, Any]) -> None:
    rank = len(draft.inputs[0].shape)
    last = (-1,) if rank and base in ("topk", "sort", "argsort", "kthvalue", "mode") else ()  # default dimension
    over = _listed(named.get("dim")) or last or (() if "softmax" in base else tuple(range(rank)))
    draft.axes = tuple(sorted(int(dim) % rank for dim in over)) or None


def _normed(draft: Draft, base: str, named: dict[str, Any]) -> None:
    rank, shape = len(draft.inputs[0].shape), named.get("normalized_shape", ())
    draft.axes = tuple(range(rank - len(_listed(shape)), rank)) if shape else None


def _gathered(draft: Draft, base: str, named: dict[str, Any]) -> None:
    indices = named.get("indices") if base in ("index", "_unsafe_index") else None
    picked = [i for i, index in enumerate(indices or ()) if index is not None]
    if base == "index_select":
        draft.axes = (int(named["dim"]) % len(draft.inputs[0].shape),)
    elif indices and len(picked) == 1 and len(indices[picked[0]].shape) == 1:
        draft.axes = (picked[0],)


def _resized(draft: Draft, base: str, named: dict[str, Any]) -> None:
    kind = RESIZES.get(base.removeprefix("_").removeprefix("upsample_").rstrip("0123456789d").removesuffix("_"))
    corners = "-corners" if named.get("align_corners") else ""
    draft.mode = kind and kind + corners


def _padded(draft: Draft, base: str, named: dict[str, Any]) -> None:
    pads = _listed(named.get("pad", ()))
    rank = len(draft.inputs[0].shape)
    pairs = [(int(before), int(after)) for before, after in zip(pads[::2], pads[1::2], strict=True)][::-1]
    draft.padding = ((0, 0),) * (rank - len(pairs)) + tuple(pairs)
    constant = base == "constant_pad_nd" or (base == "pad" and named.get("mode", "constant") == "constant")
    draft.mode = "constant" if constant else None


def _listed(value: Any) -> tuple[int, ...]:
    return () if value is None else (int(value),) if isinstance(value, int) else tuple(int(v) for v in value)


READERS: dict[str, Callable[[Draft, str, dict[str, Any]], None]] = {
    "concat": _concat, "slice": _slice, "transpose": _order, "softmax": _reduced, "reduce": _reduced,
    "layer_norm": _normed, "gather": _gathered, "resize": _resized, "pad": _padded,
}  # fmt: skip
