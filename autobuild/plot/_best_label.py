"""The best label so far over the number of evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from autobuild.construct.rounds import Round, best_so_far
from autobuild.errors import ConfigError
from autobuild.plot._style import BLUE, GREY, ORANGE, check_columns, given_as, message, own_axes, same, shorten, styled


def _of_rounds(rounds: Sequence[Any]) -> pd.DataFrame:
    if not rounds or not all(isinstance(own, Round) for own in rounds):
        raise ConfigError("plot.best_label takes the rounds that autobuild.rounds gave: a list of at least one")
    evaluated = pd.concat([own.evaluated.assign(round=own.number) for own in rounds], ignore_index=True)
    first = rounds[0]
    n_start = len(first.labels) - int(first.evaluated["reason"].eq("").sum())
    before = first.model.training["target"].iloc[:n_start].max()
    return best_so_far(float(before), n_start, evaluated)


TITLE = "Best label so far"


@styled
def best_label(frame: pd.DataFrame | Sequence[Round], target: str = "target", ax: Axes | None = None) -> Axes:
    """Draw every evaluation, and the best label so far as steps; thin lines separate the rounds.

    Args:
        frame: The rounds that :func:`autobuild.rounds` gave, or ``evaluations, round, measured, best`` as
            :func:`autobuild.construct.rounds.best_so_far` gives it.
        target: Name of the label.
        ax: Where to draw; a new figure by default.

    Raises:
        ConfigError: A column is missing.
    """
    accepted = "the rounds that autobuild.rounds gave, or a frame of evaluations"
    curve: pd.DataFrame = given_as(frame, "best_label", accepted, (pd.DataFrame, same), (Sequence, _of_rounds))
    check_columns(curve, ("evaluations", "round", "measured", "best"), "the curve")
    ax = own_axes(ax, 5.6, 3.6)
    if curve["best"].notna().sum() == 0:
        return message(ax, TITLE, "Nothing was evaluated.")
    curve = curve.sort_values("evaluations")
    for _, own in curve[curve["round"] > 0].groupby("round"):
        ax.axvline(own["evaluations"].iloc[0] - 0.5, color=GREY, alpha=0.35, linewidth=0.6)
    ax.scatter(curve["evaluations"], curve["measured"], s=14, color=ORANGE, linewidths=0, label="measured", zorder=3)
    ax.step(curve["evaluations"], curve["best"], where="post", color=BLUE, label="best so far")
    ax.set_xlabel("labels, those of the start included")
    ax.set_ylabel(shorten(target, 48))
    ax.set_title(TITLE)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    ax.legend(loc="lower right")
    ax.grid(axis="y", color=GREY, alpha=0.2, linewidth=0.6)
    return ax
