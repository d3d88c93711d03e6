"""Maps of effects: cells whose colours, numbers and hatching say what a choice is worth and whether that is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.patches import Rectangle

from autobuild._typing import FloatArray
from autobuild.plot._style import BLUE, INK, ON_COLOUR, VERMILLION, is_dark, root

WIDTH, HEIGHT = 0.5, 0.25  # inches of a cell that holds a number


def signed_colours(ax: Axes) -> LinearSegmentedColormap:
    """From vermillion (negative) through the background to blue (positive); the numbers in the cells show the sign."""
    middle = "#2b2b2b" if is_dark(root(ax).get_facecolor()) else "#f7f7f7"
    return LinearSegmentedColormap.from_list("signed", [VERMILLION, middle, BLUE])


def number_format(values: FloatArray, signed: bool = True) -> str:
    """Format of numbers that gives the largest of them two significant digits at least."""
    largest = float(np.nanmax(np.abs(values), initial=0.0))
    decimals = max(0, 1 - math.floor(math.log10(largest))) if largest > 0 else 1
    sign = "+" if signed else ""
    return f"{sign},.{decimals}f" if decimals < 5 and largest < 1e5 else f"{sign}.1e"


def draw_cell(
    ax: Axes,
    box: tuple[float, float, float, float],
    colour: Any,
    text: str,
    *,
    hatched: bool = False,
    framed: bool = False,
    size: float = 7.5,
) -> None:
    """Draw one cell.

    Args:
        ax: The axes, in units of cells.
        box: Left, top, width and height.
        colour: RGBA of the cell.
        text: What is written in it.
        hatched: Whether it is hatched: its effect is not significant.
        framed: Whether it has a frame if it is not hatched: its effect is negative, which grey prints do not show.
        size: Font size; 0 for no text.
    """
    left, top, width, height = box
    dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 0.5
    ink = "white" if dark else INK
    cell = Rectangle((left + 0.03, top + 0.04), width - 0.06, height - 0.08, facecolor=colour, gid=ON_COLOUR)
    frame = "white" if is_dark(root(ax).get_facecolor()) else INK
    cell.set(linewidth=1.1 if framed and not hatched else 0, edgecolor=frame)
    ax.add_patch(cell)
    if hatched:
        shade = Rectangle(cell.get_xy(), cell.get_width(), cell.get_height(), fill=False, linewidth=0, gid=ON_COLOUR)
        shade.set(hatch="////", edgecolor=(*(0.5,) * 3, 0.55))
        ax.add_patch(shade)
    if not size:
        return
    middle = (left + width / 2, top + height / 2)
    said = ax.text(*middle, text, ha="center", va="center", color=ink, fontsize=size, gid=ON_COLOUR)
    if hatched:  # the number stays readable on the hatching
        said.set_bbox({"facecolor": colour, "edgecolor": "none", "pad": 0.8})
        patch = said.get_bbox_patch()
        if patch is not None:
            patch.set_gid(ON_COLOUR)


def fitting(width: float, texts: Sequence[str], most: float = 7.5) -> float:
    """Font size at which texts fit into cells of this width in inches; 0 if it would be too small to read."""
    size = 72 * width / (0.64 * max([*map(len, texts), 1]))
    return min(most, size) if size >= 4 else 0.0


def symmetric(values: FloatArray) -> Normalize:
    """Colours from minus to plus the largest absolute value."""
    largest = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    return Normalize(-largest, largest)


def frame_of_cells(ax: Axes, columns: float, rows: float) -> None:
    """Axes in units of cells, the first row on top, without spines and ticks."""
    ax.set_xlim(0, columns)
    ax.set_ylim(rows, 0)
    ax.tick_params(axis="both", length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
