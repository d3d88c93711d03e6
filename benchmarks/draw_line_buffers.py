"""The picture of docs/fusion.md: when each row of its example is on chip, by the delays that the code computes.

python -m benchmarks.draw_line_buffers
"""

from __future__ import annotations

import io
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from autobuild.cost.fusion.graph import FusionGraph
from autobuild.cost.fusion.line_buffer import LineBuffers, Strides
from autobuild.cost.fusion.row_access import rows_read
from autobuild.plot._style import BLUE, GREY, INK, PALE, SAVED_DPI, own_axes, root, styled
from benchmarks.documents import DOCS, blocks
from benchmarks.draw_spaces import reduce

SHOWN = 5  # the moment whose rows are highlighted


def stays(graph: FusionGraph) -> list[tuple[str, list[tuple[int, int]]]]:
    """For every tensor of the whole network as one group its name, and for every row its first and last moment on chip.

    Raises:
        AssertionError: The rows on chip at once are not as many as the schedule of the code says.
    """
    sigma, schedule = Strides(graph).sigma, LineBuffers(graph).schedule(graph.full)
    found = []
    for number, tensor in enumerate(graph.tensors):
        producer = tensor.producer
        step, start = int(sigma[producer if producer >= 0 else -1 - number]), schedule.delta.get(producer, 0)
        spans = []
        for row in range(tensor.rows):
            made = last = start + step * row
            for i, op in enumerate(graph.ops):
                for read, access in op.operands:
                    readers = [r for r in range(op.rows) if read == number and _within(row, access, r, tensor.rows)]
                    last = max([last, *(schedule.delta[i] + int(sigma[i]) * r for r in readers)])
            spans.append((made, last))
        most = max(sum(first <= now <= last for first, last in spans) for now, _ in spans)
        assert most == schedule.rows[number], (tensor.name, most, schedule.rows[number])
        found.append((tensor.name, spans))
    return found


def _within(row: int, access: Any, reader: int, rows: int) -> bool:
    first, last = rows_read(access, reader, rows)
    return first <= row <= last


@styled
def draw(graph: FusionGraph) -> Any:
    """Draw a bar for every row of every tensor, from the moment when it is produced until its last reader has run."""
    ax = own_axes(None, 7.2, 4.6)
    top, named = 0.0, dict(zip(range(len(graph.tensors)), "xABCDEFGH", strict=False))
    for number, (_, spans) in enumerate(stays(graph)):
        rows, row_bytes = len(spans), graph.tensors[number].row_bytes
        held = sum(first <= SHOWN <= last for first, last in spans)
        for row, (first, last) in enumerate(spans):
            on = first <= SHOWN <= last
            box = Rectangle((first - 0.5, top + row), last - first + 1, 0.86, linewidth=0.5, edgecolor=GREY)
            box.set_facecolor(BLUE if on else PALE)
            ax.add_patch(box)
        middle = top + rows / 2
        ax.text(-1.0, middle, named[number], ha="right", va="center", weight="bold", color=INK)
        ax.text(19.2, middle, f"{held} of {rows} rows,\n{held * row_bytes} bytes", va="center", fontsize=8, color=INK)
        top += rows + 1.2
    ax.axvline(SHOWN, color=INK, linewidth=0.9, linestyle="--")
    ax.set_xlim(-0.8, 18.8)
    ax.set_ylim(top, -0.8)
    ax.set_yticks([])
    ax.set_xticks(range(0, 19, 2))
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("time: row q of the input x arrives at time q")
    ax.set_title(f"When each row is on chip (one line per row; blue: at time {SHOWN})")
    return ax


def main() -> None:
    """Draw the first example of the page as one group."""
    names: dict[str, Any] = {}
    exec(next(block.code for block in blocks("fusion.md") if block.kind == "python"), names)
    figure = root(draw(names["graph"]))
    assert isinstance(figure, Figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=SAVED_DPI, bbox_inches="tight")
    reduce(Image.open(buffer), DOCS / "pictures" / "fusion_rows.png")


if __name__ == "__main__":
    main()
