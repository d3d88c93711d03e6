"""The best value or the hypervolume of a search, over the number of evaluations."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from autobuild.plot._style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    check_columns,
    given_as,
    message,
    own_axes,
    same,
    shorten,
    styled,
)
from autobuild.studies.result import Search


@styled
def search_history(history: Search | pd.DataFrame, target: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw every evaluation, and the best so far as steps; thin lines separate linked studies.

    Args:
        history: A search, or its ``history``.
        target: Name of the (first) target; that of the search by default.
        ax: Where to draw; a new figure by default.

    Raises:
        ConfigError: A column is missing.
    """
    name = history.targets[0] if isinstance(history, Search) else "target"
    history, target = _history(history, "search_history"), name if target is None else target
    check_columns(history, ("evaluations", "study", "measured", "best"), "the history")
    ax, title = own_axes(ax, 5.6, 3.6), "Best so far"
    if history["best"].notna().sum() == 0:
        return message(ax, title, "Nothing was evaluated.")
    _part_studies(ax, history)
    start = history["best"].iloc[0]
    if np.isfinite(start):
        ax.axhline(start, color=GREEN, linewidth=0.9, linestyle=(0, (4, 3)), label="best label at the start")
    ax.scatter(
        history["evaluations"], history["measured"], s=12, color=ORANGE, linewidths=0, label="evaluated", zorder=4
    )
    ax.step(history["evaluations"], history["best"], where="post", color=BLUE, label="best so far", zorder=3)
    ax.set_ylabel(shorten(target, 48))
    return _finished(ax, title)


@styled
def search_hypervolume(history: Search | pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the hypervolume of the front so far; thin lines separate linked studies.

    Args:
        history: A search with two or three targets, or its ``history``.
        ax: Where to draw; a new figure by default.

    Raises:
        ConfigError: A column is missing.
    """
    history = _history(history, "search_hypervolume")
    check_columns(history, ("evaluations", "study", "hypervolume"), "the history")
    ax = own_axes(ax, 5.6, 3.6)
    _part_studies(ax, history)
    ax.step(history["evaluations"], history["hypervolume"], where="post", color=BLUE, label="front so far")
    ax.set_ylabel("hypervolume, targets scaled to 0..1")
    return _finished(ax, "Hypervolume")


def _history(given: Search | pd.DataFrame, figure: str) -> pd.DataFrame:
    read = (Search, lambda search: search.history)
    frame: pd.DataFrame = given_as(given, figure, "a search or its history", read, (pd.DataFrame, same))
    return frame


def _part_studies(ax: Axes, history: pd.DataFrame) -> None:
    named = history[history["study"].astype(str).ne("") & history["study"].notna()]
    for _, study in list(named.groupby("study", sort=False))[1:]:
        ax.axvline(study["evaluations"].iloc[0] - 0.5, color=GREY, alpha=0.45, linewidth=0.7)


def _finished(ax: Axes, title: str) -> Axes:
    ax.set_xlabel("evaluations")
    ax.set_title(title)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0.1)  # covers no point
    ax.grid(axis="y", color=GREY, alpha=0.2, linewidth=0.6)
    return ax
