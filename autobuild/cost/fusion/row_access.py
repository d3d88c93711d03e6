"""Row accesses: the rows of a tensor that an operation reads for one row of its output."""

from __future__ import annotations

import math
from typing import NamedTuple

WINDOW, VECTOR, REDUCE, FULL, BARRIER = "window", "vector", "reduce", "full", "barrier"


class Access(NamedTuple):
    """How an operation reads one operand, by rows.

    - ``window``: output row r reads every ``step``-th row from ``floor((r num + low) / den)`` to
      ``floor((r num + high) / den)``; rows outside the tensor are padding. A convolution with kernel k, stride s,
      dilation d and p rows of padding above has ``num = s, den = 1, low = -p, high = (k - 1) d - p, step = d``. A
      pointwise operation has ``num = den = 1, low = high = 0``. Upsampling by two has ``num = 1, den = 2``.
    - ``vector``: the tensor has one row, which every output row reads.
    - ``reduce``: rows low to high are consumed as they arrive; the output follows the last one.
    - ``full``: every output row needs all rows from low to high, so they stay on chip.
    - ``barrier``: no schedule by rows is known.
    """

    kind: str
    num: int = 1
    den: int = 1
    low: int = 0
    high: int = 0
    step: int = 1


POINTWISE = Access(WINDOW)


def window(kernel: int, stride: int, dilation: int, top: int) -> Access:
    """Access of a convolution or pool with ``top`` rows of padding above."""
    return Access(WINDOW, stride, 1, -top, (kernel - 1) * dilation - top, dilation if kernel > 1 else 1)


def transposed_window(kernel: int, stride: int, dilation: int, top: int) -> Access:
    """Access of a transposed convolution: input row i adds to the output rows ``r = i stride - top + j dilation``."""
    return Access(WINDOW, 1, stride, top - (kernel - 1) * dilation + stride - 1, top)


def adaptive_window(rows: int, out: int) -> Access:
    """Access of an adaptive pool: rows ``floor(r rows / out)`` to ``ceil((r + 1) rows / out) - 1``."""
    return in_lowest_terms(rows, out, 0, rows - 1)


def resized(rows: int, out: int, mode: str) -> Access:
    """Access of an interpolation from ``rows`` to ``out`` rows; modes as in :class:`~autobuild.graphs.Operation`."""
    if mode == "nearest":
        return in_lowest_terms(rows, out, 0, 0)
    if mode == "nearest-exact":  # floor((r + 1/2) rows / out)
        return in_lowest_terms(2 * rows, 2 * out, rows, rows)
    before, after = (1, 2) if mode.startswith("cubic") else (0, 1)
    if mode.endswith("-corners"):
        num, den, start = rows - 1, max(out - 1, 1), 0
    else:  # (r + 1/2) rows / out - 1/2
        num, den, start = 2 * rows, 2 * out, rows - out
    return in_lowest_terms(num, den, start - before * den, start + after * den)


def in_lowest_terms(num: int, den: int, low: int, high: int) -> Access:
    """A window with num and den in lowest terms: ``floor((r num + a) / den)`` does not change if all are divided."""
    divisor = math.gcd(num, den)
    return Access(WINDOW, num // divisor, den // divisor, low // divisor, high // divisor)


def compose(outer: Access, inner: Access) -> Access:
    """Compose the access to a view with the rows of its base: the access to the base.

    Exact unless both advance by fractions. Then the result may contain too many rows.

    Args:
        outer: Access of an operation to the rows j of a view.
        inner: Maps row j of the view to the rows of the base that it is taken from.
    """
    slack = (outer.den - 1) * inner.num if outer.den > 1 and inner.num > 1 else 0
    low = outer.low * inner.num - slack + inner.low * outer.den
    high = outer.high * inner.num + inner.high * outer.den
    if outer.kind != WINDOW:  # the same rows for every row of the reader
        return outer._replace(low=low // inner.den, high=high // inner.den)
    composed = in_lowest_terms(outer.num * inner.num, outer.den * inner.den, low, high)
    shifts = inner.num == inner.den == 1 and inner.low == inner.high
    return composed._replace(step=outer.step) if shifts else composed


def rows_read(access: Access, row: int, rows: int) -> tuple[int, int]:
    """First and last row of a tensor with ``rows`` rows that row ``row`` of the reader reads; last < first for none."""
    if access.kind in (REDUCE, FULL):
        return access.low, access.high
    if access.kind != WINDOW:
        return 0, rows - 1
    first = (row * access.num + access.low) // access.den
    last = (row * access.num + access.high) // access.den
    step = access.step  # rows in the padding are skipped
    first += max(0, -(first // step)) * step
    return first, last - max(0, -((rows - 1 - last) // step)) * step
