"""DRAM bytes against the size of the on-chip buffer."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from autobuild.plot._style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    VERMILLION,
    check_columns,
    given_as,
    message,
    own_axes,
    same,
    styled,
)
from autobuild.spaces.sizes import byte_unit

COLOURS = {"mixed": BLUE, "lbdf": ORANGE, "brr": GREEN}
MARKERS = {"mixed": "o", "lbdf": "^", "brr": "s"}  # told apart in grey prints, too


@styled
def buffer_sweep(sweep: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the DRAM bytes of the best partition against the buffer size, with one line per scheme and both bounds.

    Args:
        sweep: What :func:`autobuild.cost.fusion.buffer_sweep` gave.
        ax: Where to draw; a new figure by default.

    Raises:
        ConfigError: A column is missing.
    """
    needed = ("buffer_bytes", "scheme", "dram_bytes", "status", "unfused_dram_bytes", "floor_dram_bytes")
    sweep = given_as(sweep, "buffer_sweep", "what autobuild.cost.fusion.buffer_sweep gave", (pd.DataFrame, same))
    check_columns(sweep, needed, "the sweep")
    ax = own_axes(ax, 5.6, 3.8)
    title = "DRAM traffic against the buffer"
    if sweep.empty:
        return message(ax, title, "There are no sizes to draw.")
    size, unit = byte_unit(sweep["unfused_dram_bytes"].max())
    for scheme, part in sweep.groupby("scheme", sort=False):
        part = part.sort_values("buffer_bytes")
        ax.plot(
            part["buffer_bytes"] / 1024, part["dram_bytes"] / size, marker=MARKERS.get(str(scheme), "D"), markersize=5,
            color=COLOURS.get(str(scheme), VERMILLION), label=str(scheme),
        )  # fmt: skip
    alone = sweep.groupby("buffer_bytes")["unfused_dram_bytes"].max() / size
    ax.plot(alone.index / 1024, alone, color=GREY, linewidth=0.9, linestyle="--", label="unfused")
    floor = sweep["floor_dram_bytes"].iloc[0] / size
    ax.axhline(floor, color=GREY, linewidth=0.9, linestyle=":")
    ax.text(
        0.01, floor, "weights, inputs and outputs", transform=ax.get_yaxis_transform(), ha="left", va="top",
        fontsize=8, color=GREY,
    )  # fmt: skip
    ax.set_xscale("log", base=2)
    sizes = sorted(set(sweep["buffer_bytes"] / 1024))
    ax.set_xticks(sizes, [f"{kib:g} Ki" if kib < 1024 else f"{kib / 1024:g} Mi" for kib in sizes])
    ax.minorticks_off()
    ax.set_ylim(0, 1.1 * sweep["unfused_dram_bytes"].max() / size)
    ax.set_xlabel("on-chip buffer (bytes)")
    ax.set_ylabel(f"DRAM traffic ({unit})")
    ax.legend()
    ax.set_title(title)
    return ax
