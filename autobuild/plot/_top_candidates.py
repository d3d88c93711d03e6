"""The best candidates of every unit, beside its median and its worst."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from autobuild._decimals import decimals
from autobuild._words import counted
from autobuild.errors import ConfigError
from autobuild.plot._inputs import scores_of
from autobuild.plot._style import (
    BLUE,
    GREY,
    INK,
    PALE,
    Panel,
    Panels,
    check_columns,
    new_figure,
    shorten,
    styled,
    tidy,
)
from autobuild.settings.option import integer

if TYPE_CHECKING:
    from autobuild.importance import Scores
    from autobuild.models import FittedModel

IN_A_COLUMN = 8
NEEDED = ("unit", "candidate", "score", "n_seen")


@styled
def top_candidates(
    scores: Scores | FittedModel | pd.DataFrame,
    top: int = 5,
    axes: Iterable[Axes] | None = None,
    target: str | None = None,
) -> Panels:
    """Draw the best candidates of each unit as bars from the unit's median, with the worst one for scale.

    The numbers at the right count the training labels that hold the candidate. Bars are hatched if the score was
    calibrated with labels of other depths.

    Args:
        scores: Scores, a fitted model, or a ``candidates`` frame: ``unit, candidate, score, n_seen`` and, where it has
            them, ``unseen_depth``.
        top: How many of each unit.
        axes: One for each unit, in order; a new figure with a common x axis by default.
        target: The target's name; that of the model by default.

    Returns:
        The axes, one a unit.

    Raises:
        ConfigError: A column is missing, ``top`` is below 1, or the axes do not match the units.
    """
    held = scores_of(scores, "top_candidates")
    frame = held if isinstance(held, pd.DataFrame) else held.candidates
    target = target or ("the target" if isinstance(held, pd.DataFrame) else str(held.model.target))
    check_columns(frame, NEEDED, "the candidate scores")
    top = integer("top", top)
    units = [(str(unit), group) for unit, group in frame.groupby("unit", sort=False)]
    if not units:
        raise ConfigError("the candidate scores are empty: there is no unit to draw")
    given = _grid(len(units), top) if axes is None else list(axes)
    if len(given) != len(units):
        raise ConfigError(f"{len(given)} axes were given for {len(units)} units: {[name for name, _ in units]}")
    borrowed = [_unit(ax, unit, group, top) for ax, (unit, group) in zip(given, units, strict=True)]
    if axes is not None:
        for ax in given:
            ax.set_xlabel(f"score, in units of {shorten(target, 40)}")
        return Panels(given)
    explained = "bars start at the unit's median; seen: in how many training labels"
    hatched = "\nhatched: calibrated with other depths" if any(borrowed) else ""
    rows = _rows(len(units))
    for ax in {*given[rows - 1 :: rows], given[-1]}:
        ax.set_xlabel(f"candidate score, in units of {shorten(target, 40)}\n{explained}{hatched}")
    return Panels(given)


def _rows(units: int) -> int:
    return math.ceil(units / math.ceil(units / IN_A_COLUMN))


def _grid(units: int, top: int) -> list[Axes]:
    columns = math.ceil(units / IN_A_COLUMN)
    rows = _rows(units)
    figure = new_figure(6.6 * columns, 0.85 + rows * (0.55 + 0.2 * (top + 1)))
    axes: list[Axes] = []
    for place in range(units):
        column, row = divmod(place, rows)
        share = axes[0] if axes else None
        ax = figure.add_subplot(rows, columns, row * columns + column + 1, axes_class=Panel, sharex=share)
        axes.append(tidy(ax))
        ax.tick_params(axis="x", labelbottom=row == rows - 1 or place == units - 1)
    return axes


def _unit(ax: Axes, unit: str, group: pd.DataFrame, top: int) -> bool:
    """Draw one unit; True where a bar is hatched."""
    ranked = group.sort_values("score", ascending=False, kind="stable")
    median = float(ranked["score"].median())
    best = ranked.head(top)
    worst = ranked.iloc[len(best) :].tail(1)
    shown = pd.concat([best, worst])
    score = shown["score"].to_numpy(dtype=float)
    places = range(len(shown))
    colours = [BLUE] * len(best) + [PALE] * len(worst)
    bars = ax.barh(places, score - median, left=median, height=0.7, color=colours)
    borrowed = shown["unseen_depth"].to_numpy(dtype=bool) if "unseen_depth" in shown else np.zeros(len(shown), bool)
    for bar, mark in zip(bars, borrowed, strict=True):
        if mark:
            bar.set(hatch="////", edgecolor="white")
    ax.axvline(median, color=GREY, linewidth=0.9)
    names = [shorten(text, 36) for text in shown["candidate"]]
    ax.set_yticks(places, [*names[: len(best)], *(f"worst: {name}" for name in names[len(best) :])])
    for label in ax.get_yticklabels()[len(best) :]:
        label.set_color(GREY)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(shown) - 0.5, -0.6)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x", color=GREY, alpha=0.2, linewidth=0.6)
    side = ax.get_yaxis_transform()
    form = f",.{decimals([*score.tolist(), median])}f"
    for place, (value, seen) in enumerate(zip(score, shown["n_seen"], strict=True)):
        text = f"{format(value, form).replace('-', '−')}   " + (f"seen {int(seen):,}×" if seen else "never seen")
        ax.text(1.02, place, text, transform=side, va="center", fontsize=7.5, color=GREY if seen else INK)
    ax.set_title(
        f"{shorten(unit, 28)}: {counted(len(group), 'candidate')}, median {format(median, form).replace('-', '−')}"
    )
    return bool(borrowed.any())
