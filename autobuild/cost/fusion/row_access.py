"""Which rows of a tensor an operation reads for one row of its output."""

from __future__ import annotations

import math
from typing import NamedTuple

WINDOW, VECTOR, REDUCE, FULL, BARRIER = "window", "vector", "reduce", "full", "barrier"


class Access(NamedTuple):
    """How an operation reads one operand.

    ``window``: row r reads rows ``floor((r num + low) / den)`` to ``floor((r num + high) / den)``, every ``step``-th,
    those that exist: a convolution of kernel k, stride s, dilation d and p rows of padding above has ``num = s,
    den = 1, low = -p, high = (k - 1) d - p, step = d``; a pointwise operation ``1, 1, 0, 0``; enlarging by two
    ``num = 1, den = 2``.
    ``vector``: the tensor has one row, which every row reads. ``reduce``: rows low to high are consumed as they arrive,
    the output follows the last one. ``full``: rows low to high must be there, and stay, for every row of the output.
    ``barrier``: no schedule by rows is known.
    """

    kind: str
    num: int = 1
    den: int = 1
    low: int = 0
    high: int = 0
    step: int = 1


POINTWISE = Access(WINDOW)


def window(kernel: int, stride: int, dilation: int, top: int) -> Access:
    """Of a convolution or pool with ``top`` rows of padding above."""
    return Access(WINDOW, stride, 1, -top, (kernel - 1) * dilation - top, dilation if kernel > 1 else 1)


def transposed_window(kernel: int, stride: int, dilation: int, top: int) -> Access:
    """Of a transposed convolution: rows i with ``r = i stride - top + j dilation`` touch row r of its output."""
    return Access(WINDOW, 1, stride, top - (kernel - 1) * dilation + stride - 1, top)


def adaptive_window(rows: int, out: int) -> Access:
    """Of an adaptive pool: from ``floor(r rows / out)`` to ``ceil((r + 1) rows / out) - 1``."""
    return in_lowest_terms(rows, out, 0, rows - 1)


def resized(rows: int, out: int, mode: str) -> Access:
    """Of an interpolation from ``rows`` to ``out`` rows; modes as in :class:`~autobuild.graphs.Operation`."""
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
    """A window in lowest terms: ``floor((r num + a) / den)`` stays the same when num, den and a are divided."""
    by = math.gcd(num, den)
    return Access(WINDOW, num // by, den // by, low // by, high // by)


def compose(outer: Access, inner: Access) -> Access:
    """Rows of rows that are windows themselves. Exact unless both step by fractions; then it may name rows too many.

    Args:
        outer: Which rows j of a view an operation reads.
        inner: Which rows of the tensor beneath row j of the view is made of.
    """
    slack = (outer.den - 1) * inner.num if outer.den > 1 and inner.num > 1 else 0
    low = outer.low * inner.num - slack + inner.low * outer.den
    high = outer.high * inner.num + inner.high * outer.den
    if outer.kind != WINDOW:  # rows low to high, whichever row of the reader
        return outer._replace(low=low // inner.den, high=high // inner.den)
    found = in_lowest_terms(outer.num * inner.num, outer.den * inner.den, low, high)
    shifts = inner.num == inner.den == 1 and inner.low == inner.high
    return found._replace(step=outer.step) if shifts else found


def rows_read(access: Access, row: int, rows: int) -> tuple[int, int]:
    """First and last row of a tensor of ``rows`` rows that a row of the reader reads; last < first for none."""
    if access.kind in (REDUCE, FULL):
        return access.low, access.high
    if access.kind != WINDOW:
        return 0, rows - 1
    first = (row * access.num + access.low) // access.den
    last = (row * access.num + access.high) // access.den
    step = access.step  # what lies in the border is stepped over
    first += max(0, -(first // step)) * step
    return first, last - max(0, -((rows - 1 - last) // step)) * step
