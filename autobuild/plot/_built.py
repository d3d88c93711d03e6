"""Built networks beside the labelled ones: predictions, and measurements if there are any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from autobuild._typing import FloatArray
from autobuild.construct.building import Built
from autobuild.errors import ConfigError
from autobuild.importance import Scores
from autobuild.labels import LabelledSet
from autobuild.models import FittedModel
from autobuild.plot._inputs import target_table
from autobuild.plot._style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PALE,
    check_columns,
    given_as,
    message,
    number,
    own_axes,
    same,
    shorten,
    styled,
)


@styled
def built(
    built: Built | pd.DataFrame,
    labels: LabelledSet | FittedModel | Scores | ArrayLike,
    ax: Axes | None = None,
    measured: ArrayLike | None = None,
    target: str | None = None,
    retrained: float | None = None,
    where: str | None = None,
    best_labelled: float | None = None,
) -> Axes:
    """Draw a histogram of the labelled target values, and each built network in a row above it.

    Args:
        built: Built networks, or ``rank, predicted`` as in ``Built.frame``; a network without a prediction has NaN.
        labels: The labelled set, the fitted model or its scores, or the target of the labelled rows, shape ``(n,)``.
        ax: Where to draw; a new figure by default.
        measured: Target as measured for the first networks of the frame, NaN where it was not. Shape ``(k,)``.
        target: The target; that of the built networks by default.
        retrained: The best labelled network, measured again as the built ones were: the largest of many noisy labels is
            too high on average.
        where: The limits that the networks were built under; those of the built networks by default.
        best_labelled: Label of the best labelled network that satisfies the limits, None where none does; that of the
            built networks by default. Without limits it is the largest label.

    Raises:
        ConfigError: A column is missing, or more are measured than built.
    """
    if isinstance(built, Built):
        target = target or built.target
        where = built.where if where is None else where
        if best_labelled is None and built.best_labelled is not None:
            best_labelled = built.best_labelled[1]
    frame_built = given_as(
        built, "built", "built networks or their frame", (Built, lambda own: own.frame), (pd.DataFrame, same)
    )
    check_columns(frame_built, ("rank", "predicted"), "the built networks")
    target, values = _labelled_values(labels, target)
    if not where and np.isfinite(values).any():
        best_labelled = float(np.nanmax(values))
    values = values[np.isfinite(values)]
    ax = own_axes(ax, 6.4, 3.0 + 0.16 * min(len(frame_built), 10))
    title = "Built networks and labelled ones"
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
    lines = _reference_lines(ax, values, best_labelled, retrained, bool(where))
    ax.set_yticks([tick for tick in ax.get_yticks() if tick <= top and tick == round(tick)])
    ax.set_ylabel("labelled networks", loc="bottom")
    ax.set_xlabel(shorten(target, 60))
    ax.set_title(title, pad=18 if lines == 1 else 8 + 10 * lines)
    keys = [Line2D([], [], marker="o", ls="", mfc="white", mec=BLUE, mew=1.3, label="built: predicted")]
    if np.isfinite(real).any():
        keys.append(Line2D([], [], marker="D", ls="", color=ORANGE, label="built: measured"))
    ax.legend(handles=keys, loc=_free_side(ax, np.concatenate([predicted, real])))
    return ax


def _labelled_values(labels: Any, target: str | None) -> tuple[str, FloatArray]:
    """The target's name, and its value for every labelled row."""
    if isinstance(labels, Scores):
        labels = labels.model
    if isinstance(labels, FittedModel):
        return target or labels.target, labels.training["target"].to_numpy(dtype=float)
    if isinstance(labels, LabelledSet):
        target = target or ("acc" if "acc" in labels.metrics else labels.metrics[0])
        return target, target_table(labels, [target])[target].to_numpy(dtype=float)
    try:
        return target or "target", np.asarray(labels, dtype=float).ravel()
    except (TypeError, ValueError):
        accepted = "labels=: a labelled set, a fitted model, scores, or the target of the labelled rows"
        raise ConfigError(f"plot.built takes {accepted}; given: {type(labels).__name__}") from None


def _free_side(ax: Axes, drawn: FloatArray) -> Literal["upper left", "upper right"]:
    """The upper corner without marks. If both have some, the x axis is extended to the left."""
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
    """Write the ranks beside the rows; with more than ten rows only the first and the last."""
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
                bbox={"facecolor": ax.get_facecolor(), "edgecolor": "none", "pad": 0.5},  # over the dashed lines
            )


def _reference_lines(ax: Axes, values: FloatArray, best: float | None, retrained: float | None, limited: bool) -> int:
    """Draw dashed lines for the mean and the best labelled network; returns the number of text lines above the axes."""
    marks = [("mean labelled", float(values.mean()), GREY)]
    if best is not None:
        marks.append(("best labelled within the limits" if limited else "best labelled", best, INK))
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
