"""What bits are worth by block, kind of operation and module: box plots over the layers, in units of the target."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes

from autobuild.errors import ConfigError
from autobuild.importance import bit_sensitivity as table_of
from autobuild.plot._inputs import scores_of
from autobuild.plot._style import BLUE, GREY, INK, PALE, Panel, Panels, check_columns, new_figure, shorten, styled, tidy

if TYPE_CHECKING:
    from autobuild.importance import Scores
    from autobuild.models import FittedModel

GROUPS = {"block": "block", "kind": "kind of operation", "stage": "module"}


@styled
def bit_sensitivity(
    scores: Scores | FittedModel | pd.DataFrame,
    by: Sequence[str] = ("block", "kind", "stage"),
    axes: Iterable[Axes] | None = None,
    target: str | None = None,
) -> Panels:
    """Draw what the most bits are worth over the fewest, one box a group of layers and one point a layer.

    A point's line is the 90 % interval of the layer's gain; a box holds the middle half of the group's gains.

    Args:
        scores: Scores of a quantisation space, a fitted model, or a table of
            :func:`autobuild.importance.bit_sensitivity`.
        by: Columns of that table that group the layers: one axes each.
        axes: One for each of these, in order; a new figure by default.
        target: The target's name; that of the model by default.

    Returns:
        The axes, one a grouping.

    Raises:
        ConfigError: The space is no quantisation space, a column is missing, or the axes do not match ``by``.
    """
    held = scores_of(scores, "bit_sensitivity")
    frame = held if isinstance(held, pd.DataFrame) else table_of(held)
    target = target or ("the target" if isinstance(held, pd.DataFrame) else str(held.model.target))
    check_columns(frame, ("gain", "lower", "upper", *by), "a table of bit sensitivities")
    given = _panels(frame, by) if axes is None else list(axes)
    if len(given) != len(by):
        raise ConfigError(f"{len(given)} axes were given for {len(by)} groupings: {list(by)}")
    for ax, name in zip(given, by, strict=True):
        _boxes(ax, frame, name)
    given[0].set_ylabel(f"gain of the most bits over the fewest,\nin units of {shorten(target, 40)}")
    return Panels(given)


def _panels(frame: pd.DataFrame, by: Sequence[str]) -> list[Axes]:
    widths = [2.0 + frame[name].nunique(dropna=False) for name in by]
    figure = new_figure(1.2 + 0.45 * sum(widths), 4.2)
    grid = figure.add_gridspec(1, len(by), width_ratios=widths)
    axes: list[Axes] = []
    for place in range(len(by)):
        axes.append(tidy(figure.add_subplot(grid[place], axes_class=Panel, sharey=axes[0] if axes else None)))
        axes[-1].tick_params(axis="y", labelleft=not place)
    return axes


def _boxes(ax: Axes, frame: pd.DataFrame, name: str) -> None:
    groups = [(value, group.sort_values("gain")) for value, group in frame.groupby(name, dropna=False)]
    ax.boxplot(
        [group["gain"] for _, group in groups],
        positions=range(len(groups)),
        widths=0.7,
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": PALE, "edgecolor": GREY},
        medianprops={"color": INK, "linewidth": 1.4},
        whiskerprops={"color": GREY},
        capprops={"color": GREY},
    )
    for place, (_, group) in enumerate(groups):
        spread = [place + 0.5 * ((row + 0.5) / len(group) - 0.5) for row in range(len(group))]
        ax.vlines(spread, group["lower"], group["upper"], color=BLUE, alpha=0.35, linewidth=0.8)
        ax.plot(spread, group["gain"], ".", color=BLUE, markersize=4)
    ax.axhline(0, color=GREY, linewidth=0.9)
    texts = ["none" if pd.isna(value) else shorten(str(value).removesuffix(".0"), 16) for value, _ in groups]
    turned: dict[str, Any] = {"rotation": 40, "ha": "right"} if max(map(len, texts)) > 4 else {}
    ax.set_xticks(range(len(groups)), texts, **turned)
    ax.set_xlabel(GROUPS.get(name, name))
