"""Interactions: shares of variance unit by unit, and the strongest pairs value by value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.gridspec import GridSpec

from autobuild._words import signed
from autobuild.errors import ConfigError
from autobuild.importance.interactions import Interactions, Pair
from autobuild.models import FittedModel
from autobuild.plot._cells import HEIGHT, WIDTH, draw_cell, frame_of_cells, number_format, signed_colours, symmetric
from autobuild.plot._style import PAPER_WIDTH, Panel, Panels, new_figure, shorten, style, styled, tidy
from autobuild.settings.names import INTERVAL_SDS

if TYPE_CHECKING:
    from autobuild.importance import Scores

SHOWN = 2  # pairs drawn value by value
COLD = (0.87, 0.87, 0.87, 1.0)  # of units alone


@styled
def interactions(found: Interactions | Scores | FittedModel) -> Panels:
    """Draw which units interact, and the interaction effects of the most certain pairs of choices.

    The map at the left gives shares of variance in percent: units alone on the diagonal, pairs of units above it. The
    others give effects in units of the target, framed if negative, hatched where the 90 % interval contains 0.

    Args:
        found: Interactions, scores, or a fitted model.

    Returns:
        The axes: the map of units, and one for each of the first two pairs.

    Raises:
        ConfigError: It is something else.
    """
    if isinstance(found, FittedModel):
        found = found.explain()
    shown = found if isinstance(found, Interactions) else getattr(found, "interactions", None)
    if not isinstance(shown, Interactions):
        raise ConfigError(
            f"plot.interactions takes interactions, scores or a fitted model; given: {type(found).__name__} "
            f"{shorten(repr(found), 60)}"
        )
    pairs, count = shown.pairs[:SHOWN], len(shown.stages)
    widths = [WIDTH * count + 1.1, *(0.62 * len(pair.second.values) + 1.0 for pair in pairs)]
    rows = max([count, *(1.7 * len(pair.first.values) for pair in pairs)])
    if style.now == "paper":  # one below the other
        heights = [HEIGHT * count + 0.7, *(1.7 * HEIGHT * len(pair.first.values) + 0.9 for pair in pairs)]
        figure = new_figure(PAPER_WIDTH, sum(heights))
        grid = GridSpec(len(heights), 1, figure=figure, height_ratios=heights)
    else:
        figure = new_figure(max(4.2, sum(widths) + 0.4), 1.5 + max(1.1, HEIGHT * rows))
        grid = GridSpec(1, len(widths), figure=figure, width_ratios=widths)
    axes = [tidy(figure.add_subplot(cell, axes_class=Panel)) for cell in (grid[place] for place in range(len(widths)))]
    _units(axes[0], shown)
    for ax, pair in zip(axes[1:], pairs, strict=True):
        _pair(ax, pair, shown.target)
    return Panels(axes)


def _units(ax: Axes, shown: Interactions) -> None:
    count = len(shown.stages)
    shares = 100 * shown.variance / (shown.variance.sum() or 1.0)
    apart = shares * np.triu(np.ones_like(shares), 1)
    colours, norm = signed_colours(ax), symmetric(apart)
    frame_of_cells(ax, count, count)
    size = 7.5 if count <= 12 else 5.5
    for a, b in zip(*np.triu_indices(count), strict=True):
        share = float(shares[a, b])
        text = f"{share:.1f}" if share else ""
        colour = COLD if a == b else colours(norm(share))
        draw_cell(ax, (float(b), float(a), 1.0, 1.0), colour, text, size=size)
    names = [shorten(name, 14) for name in shown.stages]
    ax.set_xticks(np.arange(count) + 0.5, names)
    if max(map(len, names)) > 7 or count > 12:
        for label in ax.get_xticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticks(np.arange(count) + 0.5, names)
    ax.set_title("Share of variance, %" if shown.pairs else "Share of variance, %: no pair interacts")
    ax.set_xlabel("grey: a unit alone; above: pairs", fontsize=8, loc="left")


def _pair(ax: Axes, pair: Pair, target: str) -> None:
    colours, norm, form = signed_colours(ax), symmetric(pair.effect), number_format(pair.effect)
    half = INTERVAL_SDS * pair.sd
    frame_of_cells(ax, len(pair.second.values), len(pair.first.values))
    for i in range(len(pair.first.values)):
        for j in range(len(pair.second.values)):
            effect, reach = float(pair.effect[i, j]), float(half[i, j])
            text = f"{signed(effect, form)}\n±{format(reach, form.replace('+', ''))}".replace("-", "−")
            box = (float(j), float(i), 1.0, 1.0)
            colour, unsure = colours(norm(effect)), abs(effect) <= reach
            draw_cell(ax, box, colour, text, hatched=unsure, framed=text.startswith("−"), size=7.0)
    for axis, factor in ((ax.yaxis, pair.first), (ax.xaxis, pair.second)):
        axis.set_ticks(np.arange(len(factor.values)) + 0.5, [shorten(value, 12) for value in factor.values])
        if axis is ax.xaxis and max(len(str(value)) for value in factor.values) > 8:
            for label in ax.get_xticklabels():
                label.set(rotation=30, ha="right", rotation_mode="anchor")
        axis.set_label_text(factor.text(None).replace("None ", ""), fontsize=8)
    ax.set_title(f"interaction, {shorten(target, 14)}")
