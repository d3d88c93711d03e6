"""The front that a search has measured."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from autobuild._words import counted
from autobuild.errors import ConfigError
from autobuild.plot._style import (
    BLUE,
    GREY,
    ORANGE,
    PALE,
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
def search_front(
    trials: Search | pd.DataFrame,
    front: pd.DataFrame | None = None,
    targets: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw measured networks and their front: the first target up, the second to the right, a third as colour.

    A target such as ``-latency`` is drawn as ``latency``, smaller being better.

    Args:
        trials: A search, or its ``trials``.
        front: The rows that no other one reaches in all targets; those of the search by default.
        targets: Two or three expressions, each maximised; those of the search by default.
        ax: Where to draw; a new figure by default.

    Raises:
        ConfigError: A column is missing, or for other than two or three targets.
    """
    if isinstance(trials, Search):
        front = trials.front if front is None else front
        targets = trials.targets if targets is None else targets
    rows: pd.DataFrame = given_as(
        trials, "search_front", "a search or its trials", (Search, lambda search: search.trials), (pd.DataFrame, same)
    )
    if front is None or targets is None:
        raise ConfigError("plot.search_front needs front= and targets= beside a frame of trials")
    if len(targets) not in (2, 3):
        raise ConfigError(f"a front of {len(targets)} targets: two or three are drawn")
    check_columns(rows, ("source", "state", "violation", *targets), "the trials")
    check_columns(front, targets, "the front")
    ax, title = own_axes(ax, 5.6, 4.0), "Measured Pareto front"
    done = rows[rows["state"] == "COMPLETE"]
    if front.empty:
        return message(ax, title, "No network satisfies the limits." if len(done) else "Nothing was evaluated.")
    flips = [target.startswith("-") and target[1:].isidentifier() for target in targets]
    shown = [target[1:] if flip else target for target, flip in zip(targets, flips, strict=True)]

    def at(rows: pd.DataFrame, place: int) -> pd.Series[float]:
        column = rows[targets[place]].astype(float)
        return -column if flips[place] else column

    broken = done["violation"] > 0
    kinds = (
        ("label", done[(done["source"] == "label") & ~broken], PALE, "o"),
        ("evaluated", done[(done["source"] != "label") & ~broken], ORANGE, "^"),
        ("violates a limit", done[broken], GREY, "x"),
    )
    for name, rows, colour, marker in kinds:
        if len(rows):
            ax.scatter(at(rows, 1), at(rows, 0), s=12, color=colour, marker=marker, linewidths=0.8, label=name)
    if len(targets) == 3:
        drawn = ax.scatter(at(front, 1), at(front, 0), c=at(front, 2), s=26, cmap="viridis", zorder=4, label="front")
        ax.figure.colorbar(drawn, ax=ax, label=shorten(shown[2], 40))
    else:
        ordered = front.sort_values(targets[1], ascending=flips[1])
        ax.step(at(ordered, 1), at(ordered, 0), where="post" if flips[1] else "pre", color=BLUE, linewidth=1.0)
        ax.scatter(at(front, 1), at(front, 0), s=20, color=BLUE, zorder=4, label="front")
    ax.set_xlabel(shorten(shown[1], 50) + (" (smaller is better)" if flips[1] else ""))
    ax.set_ylabel(shorten(shown[0], 40) + (" (smaller is better)" if flips[0] else ""))
    for axis in (ax.xaxis, ax.yaxis):  # plain numbers such as 50,000; very large ones as powers of ten
        if 1000 <= max(abs(end) for end in axis.get_view_interval()) < 1e6:
            axis.set_major_formatter("{x:,.0f}")
    ax.grid(color=GREY, alpha=0.2, linewidth=0.6)
    ax.legend(loc="best")
    ax.set_title(f"{title}: {len(front):,} of {counted(len(done), 'network')}")
    return ax
