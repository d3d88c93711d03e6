"""Operations that do not fit the buffer alone: whole input resident, tiles of weights, bands of rows, two readings."""

from __future__ import annotations

from typing import NamedTuple

from autobuild.cost.fusion.graph import FusionGraph
from autobuild.cost.fusion.row_access import FULL, REDUCE, WINDOW, Access, rows_read
from autobuild.cost.fusion.whole_tensor import weight_tile

MAX_BANDS = 4096  # beyond, what a band reads is bounded
TWICE = ("group_norm", "softmax")


class Alone(NamedTuple):
    """A way to run one operation.

    Attributes:
        scheme: ``resident``, ``weight_tiles``, ``row_bands`` or ``twice``; empty where none fits.
        dram_bytes: What it moves; where nothing fits, in a buffer of ``required_bytes``.
        required_bytes: Of the buffer; the least of all ways where none fits.
    """

    scheme: str
    dram_bytes: int
    required_bytes: int


def alone(graph: FusionGraph, i: int, lines_bytes: int, buffer_bytes: int) -> Alone:
    """The way with the least DRAM bytes, W, I and O being bytes of weights, input and output.

    - ``resident``: the whole input stays, weights come once, one output channel at a time or more: W + I + O.
    - ``weight_tiles``: lines of the input and a tile of weights; the input comes again for each tile:
      W + I ceil(W / (buffer - lines)) + O. At least one output channel of weights must fit.
    - ``row_bands``: bands of output rows; weights come again for each of n bands, and rows that two bands read come
      twice: n W + I + halo + O.
    - ``twice``: an operation that needs all rows before its first output row, a group norm or a softmax over rows, sums
      up in a first pass and writes in a second: W + 2 I + O.

    An operator that is not known must have all of its tensors at hand; one that only moves numbers passes them on.

    Args:
        graph: The graph.
        i: The operation.
        lines_bytes: What its lines need without weights (:class:`~autobuild.cost.fusion.line_buffer.LineBuffers`).
        buffer_bytes: The buffer.
    """
    op, tensors = graph.ops[i], graph.tensors
    inputs = {tensor for tensor, _ in op.operands}
    read = sum(tensors[t].dram_bytes for t in inputs)
    moved = graph.dram_bytes(1 << i)
    held = sum(tensors[t].held_bytes for t in inputs)
    row = sum(tensors[t].row_bytes for t in op.outputs) + op.accumulator_bytes
    channel = weight_tile(op.weight_bytes, op.weight_tiles, 1)
    if op.barrier:
        everything = held + op.weight_bytes + sum(tensors[t].held_bytes for t in op.outputs)
        ways = [Alone("resident", moved, everything)]
    elif op.moves:
        largest = max(tensors[t].row_bytes for t in (*inputs, *op.outputs))
        ways = [Alone("resident", moved, largest + op.weight_bytes)]
    else:
        ways = [Alone("resident", moved, held + channel + row)]
        space = max(buffer_bytes - lines_bytes, channel, 1)
        times = max(1, -(-op.weight_bytes // space))
        ways.append(Alone("weight_tiles", moved + (times - 1) * read, lines_bytes + min(space, op.weight_bytes)))
        if (band := _bands(graph, i, channel + row, buffer_bytes)) is not None:
            count, halo, needed = band
            ways.append(Alone("row_bands", moved + (count - 1) * op.weight_bytes + halo, needed))
        if op.type in TWICE:
            rows = sum(tensors[t].row_bytes for t in inputs)
            ways.append(Alone("twice", moved + read, rows + row + op.weight_bytes))
    fitting = [way for way in ways if way.required_bytes <= buffer_bytes]
    if fitting:
        return min(fitting, key=lambda way: (way.dram_bytes, way.required_bytes))
    # What it would move in the buffer that it needs: W + I + O would let a smaller buffer look like the better one.
    least = min(ways, key=lambda way: (way.required_bytes, way.dram_bytes))
    return least._replace(scheme="")


def _bands(graph: FusionGraph, i: int, beside: int, buffer_bytes: int) -> tuple[int, int, int] | None:
    """How many of the highest bands that fit, the bytes that two bands both read, and the buffer that a band needs;
    bands of one row where none fits. None where the operation cannot be cut into bands."""
    op = graph.ops[i]
    reads = [(tensor, access) for tensor, access in op.operands if graph.tensors[tensor].rows > 1]
    if op.rows == 1 or any(access.kind in (REDUCE, FULL) for _, access in reads):
        return None
    fixed = beside + sum(graph.tensors[t].held_bytes for t in {t for t, _ in op.operands} - {t for t, _ in reads})
    chosen = None
    low, high = 1, op.rows
    while low <= high:  # the buffer that a band needs grows with its height
        height = (low + high) // 2
        found = _band(graph, op.rows, reads, height)
        if fixed + found[2] <= buffer_bytes:
            chosen, low = found, height + 1
        else:
            high = height - 1
    count, halo, needed = chosen or _band(graph, op.rows, reads, 1)
    return count, halo, fixed + needed


def _band(graph: FusionGraph, out: int, reads: list[tuple[int, Access]], height: int) -> tuple[int, int, int]:
    """Count, bytes read twice and bytes of the largest band, for bands of ``height`` output rows.

    Exact up to ``MAX_BANDS`` bands; beyond, each is taken to be as large as the largest may be, and to share as much
    with the one before: an upper bound.
    """
    count = -(-out // height)
    tensors = graph.tensors
    if count > MAX_BANDS:
        halo = largest = 0
        for number, access in reads:
            # rows between the oldest of the first row and the newest of the last one
            needed = min(-(-((height - 1) * access.num + access.high - access.low) // access.den) + 1,
                         tensors[number].rows)  # fmt: skip
            shared = -(-(access.high - access.low - access.num) // access.den) + 1
            # one of several reads of a tensor may read what any other has read in the band before
            again = min(max(shared, 0), needed) if [t for t, _ in reads].count(number) == 1 else needed
            largest += needed * tensors[number].row_bytes
            halo += (count - 1) * again * tensors[number].dram_bytes // tensors[number].rows
        return count, halo, largest
    halo = largest = 0
    before: dict[int, list[range]] = {}
    for band in range(count):
        first, last = band * height, min(out, (band + 1) * height) - 1
        needed_ranges: dict[int, list[range]] = {}
        for number, access in reads:
            needed_ranges.setdefault(number, []).extend(_rows_of_band(access, first, last, tensors[number].rows))
        largest = max(largest, sum(_many(found) * tensors[t].row_bytes for t, found in needed_ranges.items()))
        for number, found in needed_ranges.items():
            tensor, seen = tensors[number], before.setdefault(number, [])
            halo += (_many(found) + _many(seen) - _many([*found, *seen])) * tensor.dram_bytes // tensor.rows
            before[number] = _joined([*found, *seen])
    return count, halo, largest


def _rows_of_band(access: Access, first: int, last: int, rows: int) -> list[range]:
    """Which rows of a tensor a band of output rows reads."""
    start, stop = rows_read(access, first, rows)[0], rows_read(access, last, rows)[1] + 1
    # Windows that leave no row out between them; those that leave some out are listed while there are few.
    dense = access.step == 1 and access.num <= access.high - access.low + access.den
    if access.kind != WINDOW or dense or last - first >= MAX_BANDS:
        return [range(start, stop)] if stop > start else []
    read = (rows_read(access, r, rows) for r in range(first, last + 1))
    return [range(low, high + 1, access.step) for low, high in read if high >= low]


def _joined(ranges: list[range]) -> list[range]:
    """Rows as few ranges as the steps allow."""
    if all(found.step == 1 for found in ranges):
        joined: list[range] = []
        for found in sorted(ranges, key=lambda found: found.start):
            if joined and found.start <= joined[-1].stop:
                joined[-1] = range(joined[-1].start, max(joined[-1].stop, found.stop))
            else:
                joined.append(found)
        return joined
    rows = {row for found in ranges for row in found}
    return [range(row, row + 1) for row in sorted(rows)]


def _many(ranges: list[range]) -> int:
    """How many rows some ranges hold together."""
    return sum(map(len, _joined(ranges)))
