"""The predicted Pareto front of two or three targets."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from autobuild._words import counted
from autobuild.errors import ConfigError
from autobuild.labels import LabelledSet
from autobuild.plot._inputs import target_table
from autobuild.plot._style import BLUE, GREY, check_columns, given_as, message, own_axes, same, shorten, styled


@styled
def pareto_front(
    front: pd.DataFrame, labelled: LabelledSet | pd.DataFrame | None = None, ax: Axes | None = None
) -> Axes:
    """Draw a front: the first target up, the second to the right, a third as colour.

    Args:
        front: ``arch`` and two or three columns of targets, as :func:`autobuild.pareto` gives.
        labelled: A labelled set that has the metrics of the targets, or a frame with the same columns: labelled
            architectures, drawn grey behind the front.
        ax: Where to draw; a new figure by default.

    Raises:
        ConfigError: A column is missing.
    """
    front = given_as(front, "pareto_front", "the front that autobuild.pareto gave", (pd.DataFrame, same))
    check_columns(front, ("arch",), "the front")
    targets = [str(name) for name in front.columns if name != "arch"]
    if len(targets) not in (2, 3):
        raise ConfigError(f"the front has the targets {targets}: two or three are drawn")
    ax = own_axes(ax, 5.2, 3.8)
    title = "Predicted Pareto front"
    if front.empty:
        return message(ax, title, "The front is empty.")
    up, right = targets[:2]
    if labelled is not None:
        known: pd.DataFrame = given_as(
            labelled,
            "pareto_front",
            "labelled=: a labelled set, or a frame with the columns of the front",
            (LabelledSet, lambda labels: target_table(labels, targets)),
            (pd.DataFrame, same),
        )
        check_columns(known, targets, "the labelled architectures")
        ax.scatter(known[right], known[up], s=8, color=GREY, alpha=0.35, linewidth=0, label="labelled")
    if len(targets) == 3:
        drawn = ax.scatter(front[right], front[up], c=front[targets[2]], s=14, cmap="viridis", zorder=3)
        ax.figure.colorbar(drawn, ax=ax, label=shorten(targets[2], 40))
    else:
        ordered = front.sort_values(right)
        ax.step(ordered[right], ordered[up], where="pre", color=BLUE, linewidth=0.8, alpha=0.6)
        ax.scatter(front[right], front[up], s=14, color=BLUE, zorder=3, label="predicted front")
    if labelled is not None:
        ax.legend(frameon=False, fontsize=8)
    ax.set_xlabel(shorten(right, 50))
    ax.set_ylabel(shorten(up, 40))
    ax.grid(color=GREY, alpha=0.2, linewidth=0.6)
    ax.set_title(f"{title}: {counted(len(front), 'network')}")
    return ax
