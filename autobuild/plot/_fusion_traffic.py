"""DRAM bytes of every fusion group, and how full the buffer is while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from autobuild.plot._fusion_groups import SHADES
from autobuild.plot._style import BLUE, GREY, INK, VERMILLION, below, given_as, message, own_axes, same, styled
from autobuild.spaces.sizes import byte_unit

if TYPE_CHECKING:
    from autobuild.cost.fusion.fusing import Fused


@styled
def fusion_traffic(fused: Fused, ax: Axes | None = None) -> Axes:
    """Draw DRAM bytes of each group and of its operations without fusion, and the share of the buffer that it needs.

    Args:
        fused: What :func:`autobuild.fuse` gave.
        ax: Where to draw; its place is cut in two for the occupancy.
    """
    from autobuild.cost.fusion.fusing import Fused

    fused = given_as(fused, "fusion_traffic", "what autobuild.fuse gave", (Fused, same))
    ax = own_axes(ax, 6.8, 4.4)
    groups, title = fused.partition.groups, "DRAM traffic by fusion group"
    if not groups:
        return message(ax, title, "The network has no operations.")
    x = np.arange(1, len(groups) + 1)
    fused_bytes = np.array([cost.dram_bytes for cost in fused.group_costs])
    alone = [sum(fused.costs(1 << i).dram_bytes for i in range(len(fused.graph)) if mask >> i & 1) for mask in groups]
    scale, unit = byte_unit(max(alone))
    ax.bar(
        x, np.array(alone) / scale, color="none", edgecolor=GREY, linewidth=0.7, width=0.8, label="its operations alone"
    )
    colours = [SHADES[i % len(SHADES)] for i in range(len(groups))]
    ax.bar(x, fused_bytes / scale, color=colours, edgecolor=INK, linewidth=0.5, width=0.8, label="fused")
    ax.set_ylabel(f"DRAM traffic ({unit})")
    metrics = fused.metrics
    size, unit = byte_unit(metrics["dram_bytes"])
    ax.set_title(
        f"{title}: {metrics['dram_bytes'] / size:.2f} {unit}, {metrics['reduction']:.1%} less than unfused "
        f"({metrics['status']})"
    )
    ax.set_ylim(0, 1.2 * max(alone) / scale)  # room for the legend above the bars
    ax.legend(loc="upper right", ncols=2)
    ax.margins(x=0.01)
    lower = below(ax)
    if lower is not None:
        ax.tick_params(axis="x", labelbottom=False)
        _occupancy(lower, fused, x)
    return ax


def _occupancy(ax: Axes, fused: Fused, x: np.ndarray) -> None:
    """Draw the share of the buffer that each group needs; groups that do not fit are highlighted."""
    kilo = np.array([cost.buffer_bytes for cost in fused.group_costs]) / 1024
    valid = [cost.valid for cost in fused.group_costs]
    bars = ax.bar(x, kilo, color=[BLUE if good else VERMILLION for good in valid], width=0.8, alpha=0.75)
    for bar, good in zip(bars, valid, strict=True):
        bar.set(hatch="" if good else "////", edgecolor="white", linewidth=0)
    ax.axhline(fused.costs.buffer_bytes / 1024, color=VERMILLION, linewidth=1, linestyle="--")
    ax.text(
        x[-1] + 0.45, fused.costs.buffer_bytes / 1024, "capacity", ha="right", va="bottom", fontsize=8, color=VERMILLION
    )
    if max(kilo) > 4 * fused.costs.buffer_bytes / 1024:
        ax.set_yscale("log")
    else:
        ax.set_ylim(0, max(max(kilo), fused.costs.buffer_bytes / 1024) * 1.15)
    ax.set_ylabel("buffer (KiB)")
    ax.set_xlabel("group, in order of execution")
    ax.set_xlim(0.4, len(x) + 0.6)
    if len(x) <= 30:
        ax.set_xticks(x)
