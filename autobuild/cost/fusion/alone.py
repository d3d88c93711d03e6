"""Operations that do not fit the buffer alone: whole input resident, tiles of weights, bands of rows, two readings."""

from __future__ import annotations

from typing import NamedTuple

from autobuild.cost.fusion.access import FULL, REDUCE, Access, rows_read
from autobuild.cost.fusion.graph import FusionGraph
from autobuild.cost.fusion.whole import weight_tile

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
        lines_bytes: What its lines need without weights (:class:`~autobuild.cost.fusion.lines.LineBuffers`).
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
    """Count, bytes read twice and bytes of the largest band, for bands of ``height`` output rows."""
    count = -(-out // height)
    halo = largest = 0
    before: dict[int, set[int]] = {}
    for band in range(count):
        needed: dict[int, set[int]] = {}
        for r in range(band * height, min(out, (band + 1) * height)):
            for number, access in reads:
                first, last = rows_read(access, r, graph.tensors[number].rows)
                needed.setdefault(number, set()).update(range(first, last + 1, access.step))
        largest = max(largest, sum(len(rows) * graph.tensors[number].row_bytes for number, rows in needed.items()))
        for number, rows in needed.items():
            tensor, seen = graph.tensors[number], before.setdefault(number, set())
            halo += len(rows & seen) * tensor.dram_bytes // tensor.rows
            seen |= rows
    return count, halo, largest
