"""Row accesses of every type of operation: along which dimension rows run, and which rows of its operands it reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from autobuild.cost.fusion.row_access import (
    BARRIER,
    FULL,
    POINTWISE,
    REDUCE,
    Access,
    adaptive_window,
    in_lowest_terms,
    resized,
    transposed_window,
    window,
)
from autobuild.cost.fusion.strided_views import View
from autobuild.graphs.operations import ACTIVATIONS, Operation, Shape

OperandAccess = tuple[int | None, Access]  # the operand's row dimension (None: no rows), and the access
Rule = tuple[int | None, list[OperandAccess]]  # the output's row dimension, and the access to each operand

ALL: OperandAccess = (None, Access(FULL))
STOP: OperandAccess = (None, Access(BARRIER))
FOLDED = (*ACTIVATIONS, "clip")  # folded into their producer if it has no other reader
PRODUCERS = ("conv", "conv_transpose", "linear")  # a batch norm is folded into these
LAYOUT = ("transpose", "gather", "slice", "concat", "pad", "embedding")  # these only move data


def access_rule(node: Operation, views: Sequence[View]) -> Rule:
    """The row dimension of a node's output, and its accesses to the operands.

    - Convolutions, pools and interpolations read a window of rows.
    - Pointwise operations, linear layers, the queries of an attention, and softmax and norms over channels read the row
      of the same number.
    - Global pools and reductions over rows consume rows as they arrive.
    - The keys and values of an attention, group norms, and softmax and norms over rows need all rows.

    Args:
        node: The operation.
        views: Its operands.

    Returns:
        The output's row dimension, None if it has one row; for each operand its row dimension and the access.
    """
    try:
        axis, readings = ACCESS_RULES.get(node.type, _unknown)(node, views)
        axes = [
            (axis, node.output_shape),
            *((row_axis, view.shape) for (row_axis, _), view in zip(readings, views, strict=True)),
        ]
    except (IndexError, ValueError):  # axes, kernels or operands that do not match the shapes
        axes = [(-1, node.output_shape)]
    if all(row_axis is None or 0 <= row_axis < len(shape) for row_axis, shape in axes):
        return axis, readings
    return usual_axis(node.output_shape), [ALL for _ in views]  # nothing is known about its rows, so all are needed


def usual_axis(shape: Shape) -> int | None:
    """Default row dimension of a shape: height of feature maps, tokens of sequences; None for fewer dimensions."""
    return (None, None, 0, 1)[len(shape)] if len(shape) < 4 else 2


def _unknown(node: Operation, views: Sequence[View]) -> Rule:
    """Data that is moved in an unknown way may come from any row. Other unknown operators are barriers."""
    row_axis = views[0].rows()[0] if views else None
    axis = row_axis if node.input_shapes[:1] == (node.output_shape,) else usual_axis(node.output_shape)
    return axis, [ALL if node.type in LAYOUT else STOP for _ in views]


def _same(node: Operation, views: Sequence[View]) -> Rule:
    """Row r reads row r of every operand with the same row dimension. Shapes are aligned at the last dimension."""
    rank = len(node.output_shape)
    rows = [None if (row_axis := view.rows()[0]) is None else row_axis + rank - len(view.shape) for view in views]
    axis = next((row_axis for row_axis in rows if row_axis is not None), None)
    return axis, [(None if axis is None else axis - rank + len(view.shape), POINTWISE) for view in views]


def _along(node: Operation, views: Sequence[View]) -> Rule:
    """Pointwise over rows, unless the operation runs along the rows or its axes are unknown."""
    axis, readings = _same(node, views)
    if node.axes is None or axis in node.axes:
        return axis, [ALL, *readings[1:]]
    return axis, readings


def _whole(node: Operation, views: Sequence[View]) -> Rule:
    axis, readings = _same(node, views)
    return axis, [ALL for _ in readings]


def _windowed(node: Operation, views: Sequence[View]) -> Rule:
    """Convolutions and pools. Rows run along the first spatial dimension."""
    first = len(node.output_shape) - (len(node.kernel) if node.kernel else len(node.output_shape) - 2)
    if node.kernel is None:  # an adaptive pool whose input size is not a multiple of its output size
        access = adaptive_window(node.input_shapes[0][first], node.output_shape[first])
    elif not (node.stride and node.dilation and node.padding):
        return first, [STOP for _ in views]
    else:
        make = transposed_window if node.type == "conv_transpose" else window
        access = make(node.kernel[0], node.stride[0], node.dilation[0], node.padding[0][0])
    return first, [(first, access), *(ALL for _ in views[1:])]


def _global(node: Operation, views: Sequence[View]) -> Rule:
    return None, [(None, Access(REDUCE)) for _ in views]


def _reduced(node: Operation, views: Sequence[View]) -> Rule:
    if node.axes is None or len(views) != 1:
        return _unknown(node, views)
    row_axis, rank = views[0].rows()[0], len(views[0].shape)
    kept = len(node.output_shape) == rank
    if row_axis is not None and row_axis in node.axes and kept and node.output_shape[row_axis] > 1:
        return row_axis, [ALL]  # a cumulative sum or a sort keeps the number of rows
    if row_axis is None or row_axis in node.axes:
        return None, [(None, Access(REDUCE))]
    return row_axis if kept else row_axis - sum(axis < row_axis for axis in node.axes), [(row_axis, POINTWISE)]


def _linear(node: Operation, views: Sequence[View]) -> Rule:
    row_axis, rank = views[0].rows()[0], len(views[0].shape)
    if row_axis is None or row_axis == rank - 1:
        return (None if row_axis is None else usual_axis(node.output_shape)), [ALL for _ in views]
    return row_axis, [(row_axis, POINTWISE), *(ALL for _ in views[1:])]


def _matmul(node: Operation, views: Sequence[View]) -> Rule:
    if views and views[0].rows()[0] in (
        node.axes or ()
    ):  # it sums over rows, as the product of a weight and a map does
        return usual_axis(node.output_shape), [ALL for _ in views]
    if len(views) != 2:
        return _matmul_by_weight(node, views) if len(views) == 1 else _unknown(node, views)
    rank, (left, right) = len(node.output_shape), views
    row_axis = left.rows()[0]
    if row_axis is None or row_axis == len(left.shape) - 1 or len(left.shape) != rank:
        return usual_axis(node.output_shape), [ALL, ALL]
    batched = row_axis < rank - 2 and len(right.shape) == rank  # rows run along a batch dimension of both
    return row_axis, [(row_axis, POINTWISE), (row_axis, POINTWISE) if batched else ALL]


def _matmul_by_weight(node: Operation, views: Sequence[View]) -> Rule:
    """A product with a weight matrix. Rows are kept, unless the sum runs over them."""
    row_axis, rank = views[0].rows()[0], len(views[0].shape)
    summed = node.axes[0] if node.axes else rank - 1
    if row_axis is None or row_axis == summed or not node.output_shape:
        return usual_axis(node.output_shape), [ALL]
    more = len(node.output_shape) - rank  # batch dimensions that the weight adds; none if it is a vector
    axis = len(node.output_shape) - 1 if row_axis == rank - 1 else row_axis + max(more, 0)
    return axis, [(row_axis, POINTWISE)]


def _attention(node: Operation, views: Sequence[View]) -> Rule:
    rank, row_axis = len(node.output_shape), views[0].rows()[0]
    summed = node.axes or (rank - 1,)  # features of the queries; tokens of the keys if the queries are weights
    if row_axis is None or row_axis == rank - 1 or row_axis in summed:
        return usual_axis(node.output_shape), [ALL for _ in views]
    others: OperandAccess = (row_axis, POINTWISE) if row_axis < rank - 2 else ALL
    return row_axis, [(row_axis, POINTWISE), *(others if len(view.shape) == rank else ALL for view in views[1:])]


def _resized(node: Operation, views: Sequence[View]) -> Rule:
    axis = usual_axis(node.output_shape) if len(node.output_shape) > 3 else len(node.output_shape) - 1
    if node.mode is None or axis is None:  # the sampling positions are not known
        return axis, [ALL for _ in views]
    access = resized(node.input_shapes[0][axis], node.output_shape[axis], node.mode)
    return axis, [(axis, access), *(ALL for _ in views[1:])]


def _gathered(node: Operation, views: Sequence[View]) -> Rule:
    row_axis = views[0].rows()[0]
    if node.axes is None or row_axis in node.axes or len(node.output_shape) != len(views[0].shape):
        return _unknown(node, views)
    return row_axis, [(row_axis, POINTWISE), *(ALL for _ in views[1:])]


def _embedded(node: Operation, views: Sequence[View]) -> Rule:
    row_axis = views[0].rows()[0]
    return row_axis, [(row_axis, POINTWISE), *(ALL for _ in views[1:])]


def _moved(node: Operation, views: Sequence[View]) -> Rule:
    """A transposition that is not a view: a pixel shuffle, or an unknown one."""
    rank = len(node.output_shape)
    if node.mode != "pixel_shuffle" or rank < 3:
        return _unknown(node, views)
    axis = rank - 2
    return axis, [(axis, in_lowest_terms(node.input_shapes[0][axis], node.output_shape[axis], 0, 0))]


def _recurrent(node: Operation, views: Sequence[View]) -> Rule:
    """Recurrent layers may be stacked or bidirectional, so each output row needs all input rows."""
    return usual_axis(node.output_shape), [ALL for _ in views]


def accumulators(node: Operation) -> int:
    """Number of accumulators (four bytes each) that an operation holds on chip besides its output."""
    if node.type == "group_norm" and node.input_shapes:
        return 2 * math.prod(node.input_shapes[0][:2])  # mean and variance of every channel: an upper bound for groups
    if node.type == "attention" and len(node.input_shapes) > 1 and len(node.input_shapes[1]) > 1:
        return math.prod(node.output_shape[:-2]) * node.input_shapes[1][-2]  # scores of one query in every head
    return 0


ACCESS_RULES: dict[str, Callable[[Operation, Sequence[View]], Rule]] = {
    **dict.fromkeys((*FOLDED, "add", "sub", "mul", "div", "elementwise", "batch_norm", "local_response_norm", "cast"),
                    _same),
    **dict.fromkeys(("conv", "conv_transpose", "max_pool", "avg_pool"), _windowed),
    **dict.fromkeys(("global_avg_pool", "global_max_pool"), _global),
    "softmax": _along, "layer_norm": _along, "group_norm": _whole, "pad": _whole, "reduce": _reduced,
    "linear": _linear, "matmul": _matmul, "attention": _attention, "resize": _resized, "gather": _gathered,
    "embedding": _embedded, "rnn": _recurrent, "transpose": _moved,
}  # fmt: skip
