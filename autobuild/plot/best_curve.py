"""The best label so far over the number of evaluations."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from autobuild.plot.style import BLUE, GREY, ORANGE, check_columns, message, own_axes, shorten, styled

TITLE = "Best label so far"


@styled
def best_label(frame: pd.DataFrame, target: str = "target", ax: Axes | None = None) -> Axes:
    """Draw every evaluation, and the best label so far as steps; thin lines part the rounds.

    Args:
        frame: ``evaluations, round, measured, best``, as :func:`autobuild.construct.rounds.best_so_far` gives it.
        target: Name of the label.
        ax: Where to draw; a new figure by default.

    Raises:
        ConfigError: If a column is missing.
    """
    check_columns(frame, ("evaluations", "round", "measured", "best"), "the curve")
    ax = own_axes(ax, 5.6, 3.6)
    if frame["best"].notna().sum() == 0:
        return message(ax, TITLE, "Nothing was evaluated.")
    frame = frame.sort_values("evaluations")
    for _, own in frame[frame["round"] > 0].groupby("round"):
        ax.axvline(own["evaluations"].iloc[0] - 0.5, color=GREY, alpha=0.35, linewidth=0.6)
    ax.scatter(frame["evaluations"], frame["measured"], s=14, color=ORANGE, linewidths=0, label="measured", zorder=3)
    ax.step(frame["evaluations"], frame["best"], where="post", color=BLUE, label="best so far")
    ax.set_xlabel("labels, those of the start included")
    ax.set_ylabel(shorten(target, 48))
    ax.set_title(TITLE)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    ax.legend(loc="lower right")
    ax.grid(axis="y", color=GREY, alpha=0.2, linewidth=0.6)
    return ax
