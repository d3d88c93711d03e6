"""Strided views of tensors: reshape, transpose, slice, pad and concatenate as mappings of rows, without moving data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from autobuild.cost.fusion.row_access import BARRIER, FULL, POINTWISE, REDUCE, VECTOR, WINDOW, Access, compose
from autobuild.graphs.operations import Shape, Span

TensorRead = tuple[int, Access, int, int]  # tensor, access, first and last element of a row that is read


@dataclass(frozen=True, eq=False)
class Base:
    """The data that a view refers to: a tensor in memory, or several views that are concatenated.

    Attributes:
        shape: Shape, in row-major order.
        axis: Dimension that the rows run along; None if there is one row.
        tensor: Number of the tensor; -1 for concatenated views.
        parts: The concatenated views.
    """

    shape: Shape
    axis: int | None
    tensor: int = -1
    parts: tuple[Part, ...] = ()

    @property
    def rows(self) -> int:
        """Number of rows."""
        return 1 if self.axis is None else self.shape[self.axis]

    @property
    def inner(self) -> int:
        """Number of contiguous elements of one row."""
        return math.prod(self.shape if self.axis is None else self.shape[self.axis + 1 :])

    @property
    def width(self) -> int:
        """Number of elements of one row."""
        return math.prod(self.shape) // max(self.rows, 1)


@dataclass(frozen=True, eq=False)
class Part:
    """One view inside a concatenated base.

    Attributes:
        view: The view.
        axis: Dimension of the view that the base's rows run along; None if the base has one row.
        rows: Maps base row j to the rows of this view that it contains.
        low: First element of a base row that the view fills.
        high: Last element of a base row that the view fills.
    """

    view: View
    axis: int | None
    rows: Access
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class View:
    """A strided view of a base, as in PyTorch and NumPy.

    Attributes:
        base: The data.
        shape: Shape of the view.
        strides: Distance of neighbouring elements in each dimension, in elements of the base.
        offset: Position of the first element.
    """

    base: Base
    shape: Shape
    strides: Shape
    offset: int = 0

    @staticmethod
    def whole(base: Base) -> View:
        """A view of the whole base."""
        return View(base, base.shape, contiguous(base.shape))

    def reshaped(self, shape: Shape) -> View:
        """The same elements in another shape. If no strides express it, only the mapping of rows is kept."""
        strides = _reshaped(self.shape, self.strides, shape)
        if strides is not None:
            return replace(self, shape=shape, strides=strides)
        axis, _ = self.rows()
        new_axis, rows = (None, POINTWISE) if axis is None else _rows_after_reshape(self.shape, axis, shape)
        base = Base(shape, new_axis)
        part = Part(self, axis if new_axis is not None else None, rows, 0, base.width - 1)
        return View.whole(replace(base, parts=(part,)))

    def expanded(self, shape: Shape) -> View:
        """Broadcast along dimensions of size one, and along new leading dimensions."""
        new = len(shape) - len(self.shape)
        sizes, strides = (1,) * new + self.shape, (0,) * new + self.strides
        repeated = tuple(0 if size != wanted else stride for size, wanted, stride in
                         zip(sizes, shape, strides, strict=True))  # fmt: skip
        return replace(self, shape=shape, strides=repeated)

    def permuted(self, order: Shape) -> View:
        """The view with its dimensions in another order."""
        return replace(self, shape=tuple(self.shape[i] for i in order), strides=tuple(self.strides[i] for i in order))

    def sliced(self, axes: Sequence[int], spans: Sequence[Span]) -> View:
        """The view restricted to spans (start, stop, step) of some dimensions."""
        shape, strides, offset = list(self.shape), list(self.strides), self.offset
        for axis, (start, stop, step) in zip(axes, spans, strict=True):
            offset += start * strides[axis]
            shape[axis], strides[axis] = len(range(start, stop, step)), strides[axis] * step
        return View(self.base, tuple(shape), tuple(strides), offset)

    def rows(self) -> tuple[int | None, Access]:
        """The row dimension of the view, and the rows of the base that row j of the view is taken from.

        If the dimension is None, the access says what the view contains: ``window``, one base row; ``full``, base rows
        in mixed order.
        """
        height, inner = self.base.rows, self.base.inner
        if height == 1:
            return None, Access(VECTOR)
        along = [i for i, (size, stride) in enumerate(zip(self.shape, self.strides, strict=True))
                 if size > 1 and 0 < stride < height * inner and (size - 1) * stride >= inner]  # fmt: skip
        first, within = (self.offset // inner) % height, self.offset % inner
        if not along:
            return None, Access(WINDOW, 1, 1, first, first)
        along.sort(key=lambda i: -self.strides[i])
        axis, rest = along[0], along[1:]
        stride = self.strides[axis]
        if (self.shape[axis] - 1) * stride >= height * inner:
            return None, Access(FULL, 1, 1, 0, height - 1)  # it also steps over the dimensions before the rows
        if stride % inner == 0:
            more = sum((self.shape[i] - 1) * self.strides[i] for i in rest) // inner
            return axis, Access(WINDOW, stride // inner, 1, first, first + more)
        if inner % stride == 0 and not rest:
            many = inner // stride  # number of view rows in one base row
            start = first * many + within // stride
            return axis, Access(WINDOW, 1, many, start, start)
        return None, Access(FULL, 1, 1, 0, height - 1)

    def span(self) -> tuple[int, int]:
        """First and last element of a base row that the view contains."""
        height, inner = self.base.rows, self.base.inner
        steps = [((size - 1) * stride, stride) for size, stride in zip(self.shape, self.strides, strict=True)]
        last = self.offset + sum(reach for reach, _ in steps)
        low = self.offset % inner
        high = low + sum(reach for reach, stride in steps if stride < inner)
        if high >= inner or any(reach and stride >= inner and stride % inner for reach, stride in steps):
            low, high = 0, inner - 1  # it continues into other rows, as a flattened view does
        return self.offset // (height * inner) * inner + low, last // (height * inner) * inner + high

    def reads(self, axis: int | None, access: Access, one_row: bool = False) -> Iterator[TensorRead]:
        """The tensors that a reader of the view reads, each with its access.

        Args:
            axis: Dimension of the view that the reader's rows run along.
            access: Access of the reader to the rows of the view.
            one_row: Whether the reader has one row.
        """
        if access.kind in (FULL, REDUCE):
            row_axis = self.rows()[0]
            access = access._replace(low=0, high=0 if row_axis is None else self.shape[row_axis] - 1)
        yield from _base_reads(self.base, _compose_with_view(access, axis, self, one_row), *self.span(), one_row)


def joined(shape: Shape, axis: int, views: Sequence[View], spans: Sequence[Span]) -> View:
    """Concatenate views along a dimension; ``spans`` are their places (start, stop, step) in the result."""
    rows = next((row_axis for row_axis, _ in (view.rows() for view in views) if row_axis is not None), None)
    base = Base(shape, rows)
    parts = []
    for view, (start, stop, _) in zip(views, spans, strict=True):
        if axis == rows:
            parts.append(Part(view, rows, Access(WINDOW, 1, 1, -start, -start), 0, base.width - 1))
            continue
        # positions within one row: the row dimension does not count
        sizes = [1 if i == rows else size for i, size in enumerate(shape)]
        single = math.prod(sizes[:axis]) == 1
        after = math.prod(sizes[axis + 1 :])
        low, high = (start * after, stop * after - 1) if single else (0, base.width - 1)
        parts.append(Part(view, rows, POINTWISE, low, high))
    return View.whole(replace(base, parts=tuple(parts)))


def padded(view: View, shape: Shape, padding: Sequence[tuple[int, int]]) -> View:
    """Pad a view with constants, which are never stored."""
    rows = view.rows()[0]
    base = Base(shape, rows)
    first = 0 if rows is None else padding[rows][0]
    above = Access(WINDOW, 1, 1, -first, -first)
    return View.whole(replace(base, parts=(Part(view, rows, above, 0, base.width - 1),)))


def contiguous(shape: Shape) -> Shape:
    """Strides of a contiguous tensor in row-major order."""
    return tuple(accumulate((1, *shape[:0:-1]), lambda a, b: a * b))[::-1] if shape else ()


def _compose_with_view(access: Access, axis: int | None, view: View, one_row: bool) -> Access:
    """Convert an access to rows of a view to an access to rows of its base."""
    row_axis, rows = view.rows()
    if access.kind == BARRIER:
        return access
    if rows.kind in (VECTOR, FULL):
        return rows
    # the reader takes all rows of the view or, after a concatenation, some of them
    end = 0 if row_axis is None else view.shape[row_axis] - 1
    some = row_axis is not None and access.kind in (FULL, REDUCE)
    low, high = (max(0, access.low), min(end, access.high)) if some else (0, end)
    last = min((high * rows.num + rows.high) // rows.den, view.base.rows - 1)
    taken = Access(FULL, 1, 1, (low * rows.num + rows.low) // rows.den, last)
    if access.kind == FULL or (row_axis is None and not one_row and access.kind == WINDOW):
        return taken
    if access.kind == REDUCE:
        return taken._replace(kind=REDUCE)
    if row_axis is None:
        return rows
    return compose(access, rows) if row_axis == axis and access.kind == WINDOW else taken


def _base_reads(base: Base, access: Access, low: int, high: int, one_row: bool) -> Iterator[TensorRead]:
    """Tensors of a base that are read if the elements low to high of each of its rows are read."""
    if base.tensor >= 0:
        yield base.tensor, access, low, high
        return
    fixed = access.kind in (FULL, REDUCE) or (
        access.kind == WINDOW and one_row
    )  # the same rows for every row of the reader
    for part in base.parts:
        shifted = compose(access, part.rows) if access.kind in (WINDOW, FULL, REDUCE) else access
        rows = 1 if part.axis is None else part.view.shape[part.axis]
        unread = fixed and base.rows > 1 and (shifted.high < 0 or shifted.low >= rows)
        if part.high < low or part.low > high or unread:
            continue
        first, last = part.view.span()
        inside = part.view.base
        if part.view.shape == inside.shape and part.view.strides == contiguous(inside.shape) and not part.view.offset:
            first, last = max(first, low - part.low), min(last, high - part.low)
        yield from _base_reads(inside, _compose_with_view(shifted, part.axis, part.view, one_row), first, last, one_row)


def _rows_after_reshape(shape: Shape, axis: int, wanted: Shape) -> tuple[int | None, Access]:
    """The row dimension after a reshape, and the old rows that new row j is taken from; None if rows are mixed."""
    rows, after = shape[axis], math.prod(shape[axis + 1 :])
    for new_axis, size in enumerate(wanted):
        inner = math.prod(wanted[new_axis + 1 :])
        if size > 1 and size * inner == rows * after:
            if size % rows == 0:  # an old row becomes several new ones
                return new_axis, Access(WINDOW, 1, size // rows)
            if rows % size == 0:
                many = rows // size
                return new_axis, Access(WINDOW, many, 1, 0, many - 1)
    return None, POINTWISE


def _reshaped(shape: Shape, strides: Shape, wanted: Shape) -> Shape | None:
    """Strides of another shape over the same elements; None if no strides express it."""
    groups: list[tuple[int, int]] = []  # (size, stride) of dimensions that can be merged
    for size, stride in zip(shape, strides, strict=True):
        if size == 1:
            continue
        if groups and groups[-1][1] == size * stride:
            groups[-1] = (groups[-1][0] * size, stride)
        else:
            groups.append((size, stride))
    new_strides: list[int] = []
    left = list(groups[::-1])
    for size in wanted:
        if size == 1:
            new_strides.append(0)
            continue
        if not left or left[-1][0] % size:
            return None
        run, stride = left.pop()
        new_strides.append(stride * (run // size))
        if run > size:
            left.append((run // size, stride))
    return tuple(new_strides)
