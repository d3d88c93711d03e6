"""The operations of a network in order of execution, in lines like text, coloured by fusion group."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from autobuild._words import counted
from autobuild.plot._style import (
    GREY,
    INK,
    ON_COLOUR,
    VERMILLION,
    given_as,
    message,
    own_axes,
    same,
    shorten,
    styled,
)
from autobuild.spaces.sizes import byte_unit

if TYPE_CHECKING:
    from autobuild.cost.fusion.fusing import Fused

COLUMNS = 14
# Pale colours, for dark letters. Neighbours in the order of execution never have the same one.
SHADES = ("#9ecae1", "#fdc086", "#a6dba0", "#c2a5cf", "#ffe08a", "#f4a6a0", "#9fe0dc", "#d9c7a8")
SHORT = {
    "conv_transpose": "deconv", "global_avg_pool": "avg all", "max_pool": "max pool", "avg_pool": "avg pool",
    "global_max_pool": "max all", "batch_norm": "norm", "layer_norm": "norm", "hard_swish": "h-swish",
    "hard_sigmoid": "h-sigm", "elementwise": "elem",
}  # fmt: skip


@styled
def fusion_groups(fused: Fused, ax: Axes | None = None, columns: int = COLUMNS) -> Axes:
    """Draw a network's operations in order, coloured by fusion group, with the connections that skip operations.

    Args:
        fused: What :func:`autobuild.fuse` gave.
        ax: Where to draw; a new figure by default.
        columns: Operations in a line.
    """
    from autobuild.cost.fusion.fusing import Fused

    fused = given_as(fused, "fusion_groups", "what autobuild.fuse gave", (Fused, same))
    graph, count = fused.graph, len(fused.graph)
    lines = max(1, math.ceil(count / columns))
    ax = own_axes(ax, 0.82 * min(columns, max(count, 5)) + 0.4, 0.78 * lines + 0.7)
    metrics = fused.metrics
    size, unit = byte_unit(metrics["unfused_dram_bytes"])
    title = (
        f"{shorten(graph.name or 'network', 40)}: {counted(count, 'operation')} in "
        f"{counted(metrics['groups'], 'group')}, "
        f"DRAM {metrics['dram_bytes'] / size:.2f} {unit} instead of {metrics['unfused_dram_bytes'] / size:.2f}"
    )
    if not count:
        return message(ax, title, "The network has no operations.")
    place = [(i % columns, -(i // columns)) for i in range(count)]
    ax.set_xlim(-0.6, min(columns, count) - 0.4)
    ax.set_ylim(-lines + 0.6, 0.8)
    for tensor in graph.tensors:
        if tensor.producer < 0:
            continue
        for i in range(count):
            if tensor.consumers >> i & 1:
                _connect(ax, place[tensor.producer], place[i], fused.group_of[tensor.producer] == fused.group_of[i])
    for i, (x, y) in enumerate(place):
        group = fused.group_of[i]
        valid = fused.group_costs[group].valid
        box = FancyBboxPatch(
            (x - 0.4, y - 0.26), 0.8, 0.52, boxstyle="round,pad=0,rounding_size=0.09", zorder=3,
            linewidth=0.6 if valid else 1.6, facecolor=SHADES[group % len(SHADES)],
            edgecolor=GREY if valid else VERMILLION,
        )  # fmt: skip
        ax.add_patch(box)
        kind = graph.ops[i].type
        look: dict[str, Any] = {"ha": "center", "va": "center", "color": INK, "zorder": 4, "gid": ON_COLOUR}
        ax.text(x, y + 0.06, SHORT.get(kind, shorten(kind, 9)), fontsize=6.6, **look)
        ax.text(x, y - 0.15, f"{group + 1}", fontsize=6, **look)
    ax.set_axis_off()
    ax.set_title(title)
    return ax


def _connect(ax: Axes, start: tuple[int, int], end: tuple[int, int], inside: bool) -> None:
    """Draw a line to the next operation, or an arc to a later one: solid if data stays on chip, dotted through DRAM."""
    colour, width, line = (INK, 1.0, "-") if inside else (GREY, 0.7, (0, (1, 2)))
    (x0, y0), (x1, y1) = start, end
    if y0 == y1 and x1 - x0 == 1:
        ax.plot([x0 + 0.4, x1 - 0.4], [y0, y1], linestyle=line, color=colour, linewidth=width, zorder=2)
        return
    if y0 - y1 == 1 and x1 == 0 and x0 > 0 and ax.get_xlim()[1] - x0 < 1:  # to the next line, as in text
        for near, far in ((x0 + 0.4, x0 + 0.55), (x1 - 0.55, x1 - 0.4)):
            ax.plot([near, far], [y0 if near > x1 else y1] * 2, linestyle=line, color=colour, linewidth=width, zorder=2)
        return
    same = y0 == y1
    bend = -min(0.35, 0.85 / max(1, x1 - x0)) if same else 0.0
    arc = FancyArrowPatch(
        (x0, y0 + (0.26 if same else -0.26)), (x1, y1 + 0.26), connectionstyle=f"arc3,rad={bend}", arrowstyle="-",
        linestyle=line, color=colour, linewidth=width, alpha=1.0 if same else 0.35, zorder=1, clip_on=False,
        shrinkA=0, shrinkB=0,
    )  # fmt: skip
    ax.add_patch(arc)
