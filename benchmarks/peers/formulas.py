"""Stored results of the peers, and the formulas that give their bytes and ours; sizes in bytes, one byte a number."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from torch import nn

import autobuild as ab
from autobuild.cost.fusion import FusionGraph, fold

FOLDER = Path(__file__).parent
PARTIAL = 4  # bytes of a partial sum
Conv = Mapping[str, Any]  # in, out, kernel, stride, padding, dilation, groups, rows, columns


def stored(name: str) -> dict[str, Any]:
    """What ``zigzag_layers`` or ``stream_chains`` wrote."""
    found: dict[str, Any] = json.loads((FOLDER / "results" / f"{name}.json").read_text(encoding="utf-8"))
    return found


def graph(convs: Sequence[Conv]) -> FusionGraph:
    """Our graph of convolutions in a row."""
    return _graph(tuple((*conv["in"], *(conv[key] for key in _SETTINGS)) for conv in convs))


_SETTINGS = ("out", "kernel", "stride", "padding", "dilation", "groups")


@cache
def _graph(convs: tuple[tuple[int, ...], ...]) -> FusionGraph:
    net = nn.Sequential(*(nn.Conv2d(conv[0], *conv[3:], bias=False) for conv in convs))
    return fold(ab.graph_of(net, (1, *convs[0][:3])))


def sizes(conv: Conv) -> tuple[int, int, int]:
    """Bytes of weights, input and output."""
    weights = conv["out"] * conv["in"][0] // conv["groups"] * conv["kernel"] ** 2
    return weights, prod(conv["in"]), conv["out"] * conv["rows"] * conv["columns"]


def span(conv: Conv) -> int:
    """Rows from the first to the last that one row of the output reads."""
    return int(conv["dilation"] * (conv["kernel"] - 1) + 1)


def window_rows(conv: Conv, row: int) -> range:
    """Rows of the input from the first to the last that a row of the output reads, without padding."""
    first = row * conv["stride"] - conv["padding"]
    return range(max(0, first), min(conv["in"][1] - 1, first + span(conv) - 1) + 1)


def touched(conv: Conv) -> int:
    """Bytes of the input that any window reads: fewer than all where strides pass over some or windows end early."""
    channels, *sides = conv["in"]
    read = []
    for side, outputs in zip(sides, (conv["rows"], conv["columns"]), strict=True):
        taps = (conv["stride"] * o + conv["dilation"] * tap - conv["padding"]
                for o in range(outputs) for tap in range(conv["kernel"]))  # fmt: skip
        read.append(len({place for place in taps if 0 <= place < side}))
    return int(channels * prod(read))


def everything_fits(conv: Conv, buffer_bytes: int) -> bool:
    """Weights, input and output."""
    return sum(sizes(conv)) <= buffer_bytes


def input_fits(conv: Conv, buffer_bytes: int) -> bool:
    """What formula (a) needs: the whole input, weights of one output channel and one row of the output."""
    weights, whole, _ = sizes(conv)
    return whole + weights // conv["out"] + conv["out"] * conv["columns"] <= buffer_bytes


def in_tiles(conv: Conv, buffer_bytes: int) -> int:
    """Formula (b): lines stay, and a tile of weights in what is left; the input comes anew for every tile."""
    weights, whole, out = sizes(conv)
    return weights + whole * -(-weights // (buffer_bytes - lines(conv))) + out


def lines(conv: Conv) -> int:
    """Bytes of the input rows that one output row reads, and of that row."""
    channels, height, width = conv["in"]
    return int(min(height, span(conv)) * channels * width + conv["out"] * conv["columns"])


def in_bands(conv: Conv, height: int) -> int:
    """Formula (c): weights anew for every band of ``height`` output rows; rows that two bands read come twice."""
    weights, whole, out = sizes(conv)
    firsts = range(0, conv["rows"], height)
    lasts = [min(conv["rows"], first + height) - 1 for first in firsts]
    seams = zip(lasts, firsts[1:], strict=False)
    again = sum(max(0, window_rows(conv, last)[-1] - window_rows(conv, first)[0] + 1) for last, first in seams)
    return int(len(firsts) * weights + whole + again * conv["in"][0] * conv["in"][2] + out)


def moved(row: Conv) -> int:
    """All DRAM bytes of a row of ZigZag's results."""
    return sum(row[f"{tensor}_{way}"] for tensor in "WIO" for way in ("read", "written"))


def by_loops(row: Conv) -> dict[str, int]:
    """ZigZag's bytes from the loops that it chose.

    Outside the buffer a tensor's tile is moved anew at every step. An output that a loop over C, FY or FX cuts is
    written as partial sums, and read again but for the first time; the energy counts that first read, too.
    """
    tiles, total = {}, {}
    for tensor, levels in row["loops"].items():
        inside = dict.fromkeys(("G", "K", "C", "OY", "OX", "FY", "FX"), 1)
        for dim, size in (loop for level in levels[:-1] for loop in level):
            inside[dim] *= size
        tiles[tensor] = _tile(row, tensor, inside)
        total[tensor] = tiles[tensor] * prod(size for _, size in levels[-1])
    parts = prod(size for dim, size in row["loops"]["O"][-1] if dim in ("C", "FY", "FX"))
    written = total["O"] * (PARTIAL if parts > 1 else 1)
    read = PARTIAL * sizes(row)[2] * (parts - 1)
    energy = total["W"] + total["I"] + written * (2 if parts > 1 else 1)
    return {"W_read": total["W"], "I_read": total["I"], "O_written": written, "O_read": read, "energy": energy,
            "held": sum(tiles.values())}  # fmt: skip


def _tile(row: Conv, tensor: str, inside: Mapping[str, int]) -> int:
    """Numbers of a tensor that the loops inside the buffer cover."""
    if tensor == "W":
        return prod(inside[dim] for dim in ("G", "K", "C", "FY", "FX"))
    if tensor == "O":
        return prod(inside[dim] for dim in ("G", "K", "OY", "OX"))
    reached = (len({row["stride"] * o + row["dilation"] * tap
                    for o in range(inside[f"O{x}"]) for tap in range(inside[f"F{x}"])}) for x in "YX")  # fmt: skip
    extents = (min(side, places) for side, places in zip(row["in"][1:], reached, strict=True))
    return inside["G"] * inside["C"] * prod(extents)


def windows(conv: Conv) -> int:
    """Bytes of the input windows of all output rows, as Stream fetches them: each of its own, padding included."""
    return int(conv["rows"] * _window(conv))


def _window(conv: Conv) -> int:
    return int(span(conv) * (conv["stride"] * (conv["columns"] - 1) + span(conv)) * conv["in"][0])


def most_held(convs: Sequence[Conv]) -> int:
    """Bytes on chip at the fullest moment of a chain, if the deepest row that can be computed always comes next.

    On chip are the weights of layers under way, the window of the row if it is the first layer's, the row itself, and
    rows that are still to be read.
    """
    return max(_moments(convs))


def _moments(convs: Sequence[Conv]) -> Iterator[int]:
    row_bytes = [conv["out"] * conv["columns"] for conv in convs]
    done = [0] * len(convs)
    while done[-1] < convs[-1]["rows"]:
        ready = [i for i, conv in enumerate(convs) if done[i] < conv["rows"]
                 and (i == 0 or window_rows(conv, done[i])[-1] < done[i - 1])]  # fmt: skip
        now = max(ready)
        held = row_bytes[now] + (_window(convs[0]) if now == 0 else 0)
        held += sum(sizes(conv)[0] for i, conv in enumerate(convs) if done[i] < conv["rows"] and (done[i] or i == now))
        for i, after in enumerate(convs[1:]):
            wanted = {row for q in range(done[i + 1], after["rows"]) for row in window_rows(after, q)}
            held += sum(row in wanted for row in range(done[i])) * row_bytes[i]
        yield held
        done[now] += 1
