"""How every type of operation reads its operands, row by row."""

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

Reading = tuple[int | None, Access]  # the operand's dimension that the reader's rows run along, and how it is read
Rule = tuple[int | None, list[Reading]]  # the output's dimension that its rows run along, and each operand

ALL: Reading = (None, Access(FULL))
STOP: Reading = (None, Access(BARRIER))
FOLDED = (*ACTIVATIONS, "clip")  # into a producer that nothing else reads
PRODUCERS = ("conv", "conv_transpose", "linear")  # that a batch norm folds into
LAYOUT = ("transpose", "gather", "slice", "concat", "pad", "embedding")  # which move numbers and compute none


def access_rule(node: Operation, views: Sequence[View]) -> Rule:
    """Rows of a node's output, and how they read each operand.

    Convolutions, pools and interpolations read windows of rows; pointwise operations, linear layers, the queries of an
    attention, softmax and norms over channels read the row of the same number; global pools and reductions over rows
    consume rows as they arrive; keys, values, group norms, softmax and norms over rows need all rows.
    """
    try:
        axis, readings = RULES.get(node.type, _unknown)(node, views)
        axes = [(axis, node.output_shape), *((own, view.shape) for (own, _), view in zip(readings, views, strict=True))]
    except (IndexError, ValueError):  # axes, kernels or a number of operands that the shapes do not have
        axes = [(-1, node.output_shape)]
    if all(own is None or 0 <= own < len(shape) for own, shape in axes):
        return axis, readings
    return usual_axis(node.output_shape), [ALL for _ in views]  # nothing is known of its rows: all are needed


def usual_axis(shape: Shape) -> int | None:
    """Dimension of the rows where nothing says another: the height of maps, the tokens of sequences."""
    return (None, None, 0, 1)[len(shape)] if len(shape) < 4 else 2


def _unknown(node: Operation, views: Sequence[View]) -> Rule:
    """Numbers that are moved in a way not known may come from any row; of other operators nothing is known."""
    own = views[0].rows()[0] if views else None
    axis = own if node.input_shapes[:1] == (node.output_shape,) else usual_axis(node.output_shape)
    return axis, [ALL if node.type in LAYOUT else STOP for _ in views]


def _same(node: Operation, views: Sequence[View]) -> Rule:
    """Row r reads row r of every operand whose rows run along the same dimension; shapes are aligned at their ends."""
    rank = len(node.output_shape)
    rows = [None if (own := view.rows()[0]) is None else own + rank - len(view.shape) for view in views]
    axis = next((own for own in rows if own is not None), None)
    return axis, [(None if axis is None else axis - rank + len(view.shape), POINTWISE) for view in views]


def _along(node: Operation, views: Sequence[View]) -> Rule:
    """Pointwise in rows, unless it works along the rows, or it is not known along what."""
    axis, readings = _same(node, views)
    if node.axes is None or axis in node.axes:
        return axis, [ALL, *readings[1:]]
    return axis, readings


def _whole(node: Operation, views: Sequence[View]) -> Rule:
    axis, readings = _same(node, views)
    return axis, [ALL for _ in readings]


def _windowed(node: Operation, views: Sequence[View]) -> Rule:
    """Convolutions and pools: rows run along the first spatial dimension."""
    first = len(node.output_shape) - (len(node.kernel) if node.kernel else len(node.output_shape) - 2)
    if node.kernel is None:  # an adaptive pool whose sizes do not divide
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
    own, rank = views[0].rows()[0], len(views[0].shape)
    kept = len(node.output_shape) == rank
    if own is not None and own in node.axes and kept and node.output_shape[own] > 1:
        return own, [ALL]  # a running sum, a sort: as many rows as before
    if own is None or own in node.axes:
        return None, [(None, Access(REDUCE))]
    return own if kept else own - sum(axis < own for axis in node.axes), [(own, POINTWISE)]


def _linear(node: Operation, views: Sequence[View]) -> Rule:
    own, rank = views[0].rows()[0], len(views[0].shape)
    if own is None or own == rank - 1:
        return (None if own is None else usual_axis(node.output_shape)), [ALL for _ in views]
    return own, [(own, POINTWISE), *(ALL for _ in views[1:])]


def _matmul(node: Operation, views: Sequence[View]) -> Rule:
    if views and views[0].rows()[0] in (node.axes or ()):  # it sums over rows, as a weight times a map does
        return usual_axis(node.output_shape), [ALL for _ in views]
    if len(views) != 2:
        return _matmul_by_weight(node, views) if len(views) == 1 else _unknown(node, views)
    rank, (left, right) = len(node.output_shape), views
    own = left.rows()[0]
    if own is None or own == len(left.shape) - 1 or len(left.shape) != rank:
        return usual_axis(node.output_shape), [ALL, ALL]
    batched = own < rank - 2 and len(right.shape) == rank  # one product for each of the batch: rows of both
    return own, [(own, POINTWISE), (own, POINTWISE) if batched else ALL]


def _matmul_by_weight(node: Operation, views: Sequence[View]) -> Rule:
    """A product of which one factor is a weight: rows stay, unless they are what is summed over."""
    own, rank = views[0].rows()[0], len(views[0].shape)
    summed = node.axes[0] if node.axes else rank - 1
    if own is None or own == summed or not node.output_shape:
        return usual_axis(node.output_shape), [ALL]
    more = len(node.output_shape) - rank  # dimensions of the batch that the weight brings; none where it is a vector
    axis = len(node.output_shape) - 1 if own == rank - 1 else own + max(more, 0)
    return axis, [(own, POINTWISE)]


def _attention(node: Operation, views: Sequence[View]) -> Rule:
    rank, own = len(node.output_shape), views[0].rows()[0]
    summed = node.axes or (rank - 1,)  # features of queries; where those are weights, tokens of the keys
    if own is None or own == rank - 1 or own in summed:
        return usual_axis(node.output_shape), [ALL for _ in views]
    others: Reading = (own, POINTWISE) if own < rank - 2 else ALL
    return own, [(own, POINTWISE), *(others if len(view.shape) == rank else ALL for view in views[1:])]


def _resized(node: Operation, views: Sequence[View]) -> Rule:
    axis = usual_axis(node.output_shape) if len(node.output_shape) > 3 else len(node.output_shape) - 1
    if node.mode is None or axis is None:  # somewhere in the picture
        return axis, [ALL for _ in views]
    access = resized(node.input_shapes[0][axis], node.output_shape[axis], node.mode)
    return axis, [(axis, access), *(ALL for _ in views[1:])]


def _gathered(node: Operation, views: Sequence[View]) -> Rule:
    own = views[0].rows()[0]
    if node.axes is None or own in node.axes or len(node.output_shape) != len(views[0].shape):
        return _unknown(node, views)
    return own, [(own, POINTWISE), *(ALL for _ in views[1:])]


def _embedded(node: Operation, views: Sequence[View]) -> Rule:
    own = views[0].rows()[0]
    return own, [(own, POINTWISE), *(ALL for _ in views[1:])]


def _moved(node: Operation, views: Sequence[View]) -> Rule:
    """A transposition that is no view: pixels shuffled into rows, or something that is not known."""
    rank = len(node.output_shape)
    if node.mode != "pixel_shuffle" or rank < 3:
        return _unknown(node, views)
    axis = rank - 2
    return axis, [(axis, in_lowest_terms(node.input_shapes[0][axis], node.output_shape[axis], 0, 0))]


def _recurrent(node: Operation, views: Sequence[View]) -> Rule:
    """Steps run in order, in layers above one another and perhaps backwards: each layer needs all that came before."""
    return usual_axis(node.output_shape), [ALL for _ in views]


def accumulators(node: Operation) -> int:
    """Numbers of four bytes that an operation sums up over rows, or needs for one row, beside its output."""
    if node.type == "group_norm" and node.input_shapes:
        return 2 * math.prod(node.input_shapes[0][:2])  # a mean and a variance of every channel, or of fewer groups
    if node.type == "attention" and len(node.input_shapes) > 1 and len(node.input_shapes[1]) > 1:
        return math.prod(node.output_shape[:-2]) * node.input_shapes[1][-2]  # scores of one query in every head
    return 0


RULES: dict[str, Callable[[Operation, Sequence[View]], Rule]] = {
    **dict.fromkeys((*FOLDED, "add", "sub", "mul", "div", "elementwise", "batch_norm", "local_response_norm", "cast"),
                    _same),
    **dict.fromkeys(("conv", "conv_transpose", "max_pool", "avg_pool"), _windowed),
    **dict.fromkeys(("global_avg_pool", "global_max_pool"), _global),
    "softmax": _along, "layer_norm": _along, "group_norm": _whole, "pad": _whole, "reduce": _reduced,
    "linear": _linear, "matmul": _matmul, "attention": _attention, "resize": _resized, "gather": _gathered,
    "embedding": _embedded, "rnn": _recurrent, "transpose": _moved,
}  # fmt: skip
