"""Effects of the same choices on several targets, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from autobuild._words import signed
from autobuild.importance.comparison import Comparison, compare
from autobuild.plot._cells import HEIGHT, draw_cell, frame_of_cells, number_format, signed_colours, symmetric
from autobuild.plot._style import given_as, own_axes, same, shorten, styled

COLUMN = 0.85  # inches
APART = 0.3  # rows between units


@styled
def comparison(compared: Comparison | Sequence[Any], ax: Axes | None = None) -> Axes:
    """Draw the effects of every value of every feature of every unit on several targets, a column a target.

    Numbers are in units of each target. Colours are relative to the standard deviation of its predictions, so that
    columns compare. Negative effects are framed. Cells are hatched where the 90 % interval contains 0.

    Args:
        compared: What :func:`autobuild.compare` gave, or a list of scores.
        ax: Where to draw; a new figure by default.

    Raises:
        ConfigError: It is something else.
    """
    shown: Comparison = given_as(
        compared, "comparison", "a comparison or a list of scores", (Comparison, same), (Sequence, compare)
    )
    frame, names = shown.frame, shown.names
    units = frame["unit"].to_list()
    gaps = np.cumsum([0.0, *(APART * (a != b) for a, b in zip(units[1:], units, strict=False))])
    tops = np.arange(len(frame)) + gaps
    ax = own_axes(ax, 2.6 + COLUMN * len(names), 1.2 + 0.9 * HEIGHT * (float(tops[-1]) + 1))
    frame_of_cells(ax, len(names), float(tops[-1]) + 1)
    colours = signed_colours(ax)
    effects = frame[names].to_numpy(dtype=float) / np.array(shown.sds)
    norm = symmetric(effects)
    for column, name in enumerate(names):
        values = frame[name].to_numpy(dtype=float)
        form = number_format(values)
        bounds = frame[[f"{name} lower", f"{name} upper"]].to_numpy(dtype=float)
        for top, value, share, (lower, upper) in zip(tops, values, effects[:, column], bounds, strict=True):
            if np.isfinite(value):
                text = signed(value, form).replace("-", "−")
                box, unsure = (column, top, 1.0, 1.0), bool(lower <= 0 <= upper)
                draw_cell(ax, box, colours(norm(share)), text, hatched=unsure, framed=text.startswith("−"))
    labels = [
        f"{shorten(feature, 16)} {shorten(value, 14)}"
        for feature, value in zip(frame["feature"], frame["value"], strict=True)
    ]
    ax.set_yticks(tops + 0.5, labels)
    side = ax.get_yaxis_transform()
    for unit in dict.fromkeys(units):
        own = tops[[name == unit for name in units]]
        ax.text(
            1.03,
            float(own[0] + own[-1] + 1) / 2,
            shorten(unit, 24),
            transform=side,
            va="center",
            rotation=90,
            weight="bold",
            fontsize=8.5,
        )
    ax.xaxis.tick_top()
    ax.set_xticks(np.arange(len(names)) + 0.5, [shorten(name, 18) for name in names])
    if max(map(len, names)) > 9:
        for label in ax.get_xticklabels():
            label.set(rotation=25, ha="left", rotation_mode="anchor")
    ax.set_title("Effect of each choice on each target", pad=20)
    ax.set_xlabel(
        "in units of each target; colours in its standard deviations\n"
        "framed: negative; hatched: not significant (90 %)",
        fontsize=8,
        loc="left",
    )
    return ax
