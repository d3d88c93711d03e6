"""Operations that do not fit the buffer alone: whole input resident, tiles of weights, or bands of rows."""

from __future__ import annotations

from typing import NamedTuple

from autobuild.cost.fusion.access import FULL, REDUCE, Access, rows_read
from autobuild.cost.fusion.graph import FusionGraph
from autobuild.cost.fusion.whole import weight_tile


class Alone(NamedTuple):
    """A way to run one operation.

    Attributes:
        scheme: ``resident``, ``weight_tiles`` or ``row_bands``; empty where none fits.
        dram_bytes: What it moves.
        required_bytes: Of the buffer; the least of all three ways where none fits.
    """

    scheme: str
    dram_bytes: int
    required_bytes: int


def alone(graph: FusionGraph, i: int, lines_bytes: int, buffer_bytes: int) -> Alone:
    """The way with the least DRAM bytes, W, I and O being bytes of weights, input and output.

    - ``resident``: the whole input stays, weights come once in tiles of 16 output channels: W + I + O.
    - ``weight_tiles``: lines of the input and a tile of weights; the input comes again for each tile:
      W + I ceil(W / (buffer - lines)) + O. At least one output channel of weights must fit.
    - ``row_bands``: bands of output rows; weights come again for each of n bands, and rows that two bands read come
      twice: n W + I + halo + O.

    Args:
        graph: The graph.
        i: The operation.
        lines_bytes: What its lines need without weights (:class:`~autobuild.cost.fusion.lines.LineBuffers`).
        buffer_bytes: The buffer.
    """
    op = graph.ops[i]
    inputs = {tensor for tensor, _ in op.operands}
    moved_in = sum(graph.tensors[tensor].dram_bytes for tensor in inputs)
    moved_out = graph.dram_bytes(1 << i) - op.weight_bytes - moved_in
    held_in = sum(graph.tensors[tensor].held_bytes for tensor in inputs)
    out_row = sum(graph.tensors[tensor].row_bytes for tensor in op.outputs) + op.accumulator_bytes
    if op.barrier == "unknown":  # nothing may be assumed about it but that it runs with everything at hand
        needed = held_in + op.weight_bytes + sum(graph.tensors[tensor].held_bytes for tensor in op.outputs)
        return Alone("resident" if needed <= buffer_bytes else "", op.weight_bytes + moved_in + moved_out, needed)
    if op.barrier == "layout":  # numbers pass through the buffer a row at a time, in whatever order
        needed = max((graph.tensors[t].row_bytes for t in (*inputs, *op.outputs)), default=0) + op.weight_bytes
        return Alone("resident" if needed <= buffer_bytes else "", op.weight_bytes + moved_in + moved_out, needed)
    tile = weight_tile(op.weight_bytes, op.weight_tiles)
    ways = [Alone("resident", op.weight_bytes + moved_in + moved_out, held_in + tile + out_row)]
    channel = weight_tile(op.weight_bytes, op.weight_tiles, 1)
    space = max(buffer_bytes - lines_bytes, 1)
    times = -(-op.weight_bytes // space)
    ways.append(Alone("weight_tiles", op.weight_bytes + moved_in * times + moved_out,
                      lines_bytes + max(channel, min(space, op.weight_bytes))))  # fmt: skip
    if (band := _bands(graph, i, tile + out_row, buffer_bytes)) is not None:
        count, halo, needed = band
        ways.append(Alone("row_bands", count * op.weight_bytes + moved_in + halo + moved_out, needed))
    fitting = [way for way in ways if way.required_bytes <= buffer_bytes]
    if fitting:
        return min(fitting, key=lambda way: (way.dram_bytes, way.required_bytes))
    least = min(ways[0].required_bytes, lines_bytes + channel, *(way.required_bytes for way in ways[2:]))
    return Alone("", ways[0].dram_bytes, least)


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
    ends: dict[int, int] = {}
    for band in range(count):
        first, last = band * height, min(out, (band + 1) * height) - 1
        spans: dict[int, tuple[int, int]] = {}
        for number, access in reads:
            low, high = rows_read(access, first, graph.tensors[number].rows)[0], rows_read(
                access, last, graph.tensors[number].rows)[1]  # fmt: skip
            before = spans.get(number, (low, high))
            spans[number] = (min(low, before[0]), max(high, before[1]))
        held = 0
        for number, (low, high) in spans.items():
            row_bytes = graph.tensors[number].row_bytes
            held += max(0, high - low + 1) * row_bytes
            dram_row = graph.tensors[number].dram_bytes // graph.tensors[number].rows
            halo += max(0, min(ends.get(number, -1), high) - low + 1) * dram_row
            ends[number] = max(ends.get(number, -1), high)
        largest = max(largest, held)
    return count, halo, largest
