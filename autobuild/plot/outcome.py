"""What was built, beside what was labelled: predicted, and measured where that was done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from autobuild.errors import ConfigError
from autobuild.plot.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PALE,
    check_columns,
    message,
    number,
    own_axes,
    shorten,
    styled,
)

FloatArray = NDArray[np.float64]


@styled
def built(
    frame_built: pd.DataFrame,
    labels_values: ArrayLike,
    ax: Axes | None = None,
    measured: ArrayLike | None = None,
    target: str = "target",
    retrained: float | None = None,
) -> Axes:
    """Draw the labelled target values as a histogram, and above it each built network on a row of its own.

    Args:
        frame_built: ``rank, predicted``, as in ``Built.frame``; a network without a prediction or measurement has NaN.
        labels_values: Target of the labelled rows. Shape ``(n,)``.
        ax: Where to draw; a new figure by default.
        measured: Target as measured for the first networks of the frame, NaN where it was not. Shape ``(k,)``.
        target: The target's name.
        retrained: The best labelled network, measured again as the built ones were: the largest of many noisy labels
            flatters.

    Raises:
        ConfigError: If a column is missing, or more are measured than built.
    """
    check_columns(frame_built, ("rank", "predicted"), "the built networks")
    values = np.asarray(labels_values, dtype=float).ravel()
    values = values[np.isfinite(values)]
    ax = own_axes(ax, 6.4, 3.0 + 0.16 * min(len(frame_built), 10))
    title = "Built networks beside the labelled ones"
    if not len(values):
        return message(ax, title, "No labelled values: there is nothing to compare with.")
    predicted = frame_built["predicted"].to_numpy(dtype=float)
    real = _measured(measured, len(predicted))
    ranks = frame_built["rank"].to_list()
    heights, _, _ = ax.hist(values, bins="auto" if len(values) < 2000 else 50, color=PALE, edgecolor="white", lw=0.4)
    top = float(np.max(heights))
    step = 0.11 * top if len(ranks) <= 8 else (0.9 if len(ranks) <= 20 else 0.6) * top / len(ranks)
    rows = np.asarray(top * 1.12 + step * np.arange(len(ranks))[::-1], dtype=np.float64)
    ax.hlines(rows, *_ends(predicted, real), color=GREY, linewidth=0.8)
    size = 40.0 if len(ranks) <= 10 else 16.0
    ax.scatter(predicted, rows, s=size, facecolors="white", edgecolors=BLUE, linewidths=1.3, zorder=3)
    ax.scatter(real, rows, s=size, color=ORANGE, marker="D", linewidths=0, zorder=3)
    _number(ax, ranks, rows, predicted, real)
    ceiling = top * 1.15 + step * len(ranks)
    ax.set_ylim(0, ceiling)
    lines = _reference_lines(ax, values, retrained)
    ax.set_yticks([tick for tick in ax.get_yticks() if tick <= top and tick == round(tick)])
    ax.set_ylabel("labelled networks", loc="bottom")
    ax.set_xlabel(shorten(target, 60))
    ax.set_title(title, pad=18 if lines == 1 else 8 + 10 * lines)
    keys = [Line2D([], [], marker="o", ls="", mfc="white", mec=BLUE, mew=1.3, label="built: predicted")]
    if np.isfinite(real).any():
        keys.append(Line2D([], [], marker="D", ls="", color=ORANGE, label="built: measured"))
    ax.legend(handles=keys, loc=_free_side(ax, np.concatenate([predicted, real])))
    return ax


def _free_side(ax: Axes, drawn: FloatArray) -> Literal["upper left", "upper right"]:
    """The upper corner that holds no mark; where both do, the x axis is made longer at the left."""
    low, high = ax.get_xlim()
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn) or (drawn.min() - low) / (high - low) > 0.4:
        return "upper left"
    if (drawn.max() - low) / (high - low) < 0.6:
        return "upper right"
    ax.set_xlim(left=(drawn.min() - 0.4 * high) / 0.6)
    return "upper left"


def _measured(given: ArrayLike | None, count: int) -> FloatArray:
    real = np.full(count, np.nan)
    if given is not None:
        listed = np.asarray(given, dtype=float).ravel()
        if len(listed) > count:
            raise ConfigError(f"{len(listed)} measured values were given for {count} built networks")
        real[: len(listed)] = listed
    return real


def _ends(predicted: FloatArray, real: FloatArray) -> tuple[FloatArray, FloatArray]:
    return np.fmin(predicted, real), np.fmax(predicted, real)


def _number(ax: Axes, ranks: Sequence[object], rows: FloatArray, predicted: FloatArray, real: FloatArray) -> None:
    """Write the ranks beside the rows: all of them, or the first and the last where rows are close."""
    left, _ = _ends(predicted, real)
    for i, (rank, y, x) in enumerate(zip(ranks, rows, left, strict=True)):
        if not np.isfinite(x):
            continue
        if len(ranks) <= 10 or i in (0, len(ranks) - 1):
            ax.annotate(
                f"#{rank}",
                (x, y),
                (-7, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=7.5,
                color=INK,
            )


def _reference_lines(ax: Axes, values: FloatArray, retrained: float | None) -> int:
    """Dashed lines for the mean and the best labelled network, their words above the axes; how many lines they take."""
    marks = [("mean labelled", float(values.mean()), GREY), ("best labelled", float(values.max()), INK)]
    if retrained is not None and np.isfinite(retrained):
        marks.append(("best, retrained", float(retrained), ORANGE))
    low, high = ax.get_xlim()
    last, level, used = -np.inf, 0, 0
    for name, x, colour in sorted(marks, key=lambda mark: mark[1]):
        ax.axvline(x, color=colour, linewidth=1.0, linestyle=(0, (4, 2)), zorder=1)
        level = level + 1 if (x - last) / (high - low) < 0.3 else 0
        last, used = x, max(used, level)
        ax.annotate(
            f"{name} {number(x)}",
            (x, 1.0),
            (0, 2 + 10 * level),
            xycoords=ax.get_xaxis_transform(),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=7.5,
            color=INK,
        )
    return used + 1
