"""Schedules of a single operation that does not fit the buffer: tiles of weights, bands of rows, or two readings."""

from __future__ import annotations

from typing import NamedTuple

from autobuild.cost.fusion.graph import FusionGraph
from autobuild.cost.fusion.row_access import FULL, REDUCE, WINDOW, Access, rows_read
from autobuild.cost.fusion.whole_tensor import weight_tile

MAX_BANDS = 4096  # for more bands, the rows that a band reads are an upper bound
MAX_LISTED = 16 * MAX_BANDS  # rows of windows with gaps that are listed one by one; beyond, an upper bound
TWICE = ("group_norm", "softmax")


class SingleOperationSchedule(NamedTuple):
    """A schedule of one operation.

    Attributes:
        scheme: ``resident``, ``weight_tiles``, ``row_bands`` or ``twice``; empty if none fits.
        dram_bytes: DRAM bytes. If none fits, those in a buffer of ``required_bytes``.
        required_bytes: Required buffer. If none fits, the least of all schedules.
    """

    scheme: str
    dram_bytes: int
    required_bytes: int


def schedule_alone(graph: FusionGraph, i: int, lines_bytes: int, buffer_bytes: int) -> SingleOperationSchedule:
    """The schedule of one operation with the fewest DRAM bytes that fits. W, I, O: bytes of weights, input, output.

    - ``resident``: the whole input stays on chip; weights are read once, one output channel at a time: W + I + O.
    - ``weight_tiles``: line buffers of the input and a tile of weights are on chip; the input is read again for each
      tile: W + I ceil(W / (buffer - lines)) + O. At least the weights of one output channel must fit.
    - ``row_bands``: n bands of output rows; weights are read again for each band, and the halo rows that two bands read
      are read twice: n W + I + halo + O.
    - ``twice``: a group norm or a softmax over rows computes its statistics in a first pass over the input and its
      output in a second: W + 2 I + O.

    An unknown operator needs all of its tensors on chip. An operation that only moves data needs one row.

    Args:
        graph: The fusion graph.
        i: Number of the operation.
        lines_bytes: Bytes of its line buffers without weights (see ``line_buffer.LineBuffers``).
        buffer_bytes: Size of the on-chip buffer.
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
        options = [SingleOperationSchedule("resident", moved, everything)]
    elif op.moves:
        largest = max(tensors[t].row_bytes for t in (*inputs, *op.outputs))
        options = [SingleOperationSchedule("resident", moved, largest + op.weight_bytes)]
    else:
        options = [SingleOperationSchedule("resident", moved, held + channel + row)]
        space = max(buffer_bytes - lines_bytes, channel, 1)
        times = max(1, -(-op.weight_bytes // space))
        options.append(
            SingleOperationSchedule(
                "weight_tiles", moved + (times - 1) * read, lines_bytes + min(space, op.weight_bytes)
            )
        )
        if (band := _bands(graph, i, channel + row, buffer_bytes)) is not None:
            count, halo, needed = band
            options.append(SingleOperationSchedule("row_bands", moved + (count - 1) * op.weight_bytes + halo, needed))
        if op.type in TWICE:
            rows = sum(tensors[t].row_bytes for t in inputs)
            options.append(SingleOperationSchedule("twice", moved + read, rows + row + op.weight_bytes))
    fitting = [option for option in options if option.required_bytes <= buffer_bytes]
    if fitting:
        return min(fitting, key=lambda option: (option.dram_bytes, option.required_bytes))
    # DRAM bytes in the least sufficient buffer: with W + I + O, a smaller buffer would look better than a larger one.
    least = min(options, key=lambda option: (option.required_bytes, option.dram_bytes))
    return least._replace(scheme="")


def _bands(graph: FusionGraph, i: int, beside: int, buffer_bytes: int) -> tuple[int, int, int] | None:
    """Number of bands, bytes that two bands both read, and required buffer, for the highest bands that fit.

    If none fits, bands of one row. None if the operation cannot be divided into bands.

    Args:
        graph: The fusion graph.
        i: Number of the operation.
        beside: Bytes on chip besides the rows that a band reads.
        buffer_bytes: Size of the on-chip buffer.
    """
    op = graph.ops[i]
    reads = [(tensor, access) for tensor, access in op.operands if graph.tensors[tensor].rows > 1]
    if op.rows == 1 or any(access.kind in (REDUCE, FULL) for _, access in reads):
        return None
    fixed = beside + sum(graph.tensors[t].held_bytes for t in {t for t, _ in op.operands} - {t for t, _ in reads})
    chosen = None
    low, high = 1, op.rows
    while low <= high:  # the buffer that a band needs grows with its height
        height = (low + high) // 2
        band = _band(graph, op.rows, reads, height)
        if fixed + band[2] <= buffer_bytes:
            chosen, low = band, height + 1
        else:
            high = height - 1
    count, halo, needed = chosen or _band(graph, op.rows, reads, 1)
    return count, halo, fixed + needed


def _band(graph: FusionGraph, out: int, reads: list[tuple[int, Access]], height: int) -> tuple[int, int, int]:
    """Number of bands, bytes read twice, and bytes of the largest band, for bands of ``height`` output rows.

    Exact for up to ``MAX_BANDS`` bands. For more, an upper bound: every band has the largest possible size and overlap.
    """
    count = -(-out // height)
    tensors = graph.tensors
    if count > MAX_BANDS:
        halo = largest = 0
        for number, access in reads:
            # from the first row that the first output row reads to the last row that the last one reads
            needed = min(-(-((height - 1) * access.num + access.high - access.low) // access.den) + 1,
                         tensors[number].rows)  # fmt: skip
            shared = -(-(access.high - access.low - access.num) // access.den) + 1
            # with several reads of one tensor, each may read all that another has read in the band before
            again = min(max(shared, 0), needed) if [t for t, _ in reads].count(number) == 1 else needed
            largest += needed * tensors[number].row_bytes
            halo += (count - 1) * again * tensors[number].dram_bytes // tensors[number].rows
        return count, halo, largest
    halo = largest = 0
    before: dict[int, list[range]] = {}
    for band in range(count):
        first, last = band * height, min(out, (band + 1) * height) - 1
        needed_ranges: dict[int, list[range]] = {}
        lowest: dict[int, int] = {}  # row below which neither this nor a later band reads
        for number, access in reads:
            listed = out * ((access.high - access.low) // access.step + 1) <= MAX_LISTED
            rows = _rows_of_band(access, first, last, tensors[number].rows, listed)
            needed_ranges.setdefault(number, []).extend(rows)
            start = (first * access.num + access.low) // access.den
            lowest[number] = min(start, lowest.get(number, start))
        largest = max(largest, sum(_many(read) * tensors[t].row_bytes for t, read in needed_ranges.items()))
        for number, read in needed_ranges.items():
            tensor = tensors[number]
            seen = [span for span in before.get(number, []) if span.stop > lowest[number]]
            halo += (_many(read) + _many(seen) - _many([*read, *seen])) * tensor.dram_bytes // tensor.rows
            before[number] = _joined([*read, *seen])
    return count, halo, largest


def _rows_of_band(access: Access, first: int, last: int, rows: int, listed: bool) -> list[range]:
    """Rows of a tensor that the output rows ``first`` to ``last`` read, as ranges; not ``listed``: an upper bound."""
    start, stop = rows_read(access, first, rows)[0], rows_read(access, last, rows)[1] + 1
    # Windows without gaps between them are one range. Windows with gaps are listed one by one if there are few.
    dense = access.step == 1 and access.num <= access.high - access.low + access.den
    if access.kind != WINDOW or dense or not listed:
        return [range(start, stop)] if stop > start else []
    read = (rows_read(access, r, rows) for r in range(first, last + 1))
    return [range(low, high + 1, access.step) for low, high in read if high >= low]


def _joined(ranges: list[range]) -> list[range]:
    """Merge overlapping ranges of rows."""
    if all(span.step == 1 for span in ranges):
        joined: list[range] = []
        for span in sorted(ranges, key=lambda span: span.start):
            if joined and span.start <= joined[-1].stop:
                joined[-1] = range(joined[-1].start, max(joined[-1].stop, span.stop))
            else:
                joined.append(span)
        return joined
    rows = {row for span in ranges for row in span}
    return [range(row, row + 1) for row in sorted(rows)]


def _many(ranges: list[range]) -> int:
    """Number of distinct rows in some ranges."""
    return sum(map(len, _joined(ranges)))
