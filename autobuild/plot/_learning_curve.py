"""The learning curve: would more labels help?"""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from autobuild.plot._style import BLUE, GREY, ORANGE, below, check_columns, given_as, message, own_axes, same, styled

TITLE = "Would more labels help?"
FEWEST_TEST_ROWS = 30  # with fewer, chance changes the rank correlation more than further labels do


def learning_hint(frame: pd.DataFrame) -> str:
    """Describe the end of the curve in one sentence.

    The curve still rises if the last doubling of the labels adds at least 0.002 to the SRCC *and* a tenth of the
    difference between the SRCC and 1.

    Args:
        frame: ``n, test_srcc``, as :func:`autobuild.models.learning_curve` gives it; with ``n_test`` below 30, the
            sentence says that nothing can be told.
    """
    known = frame.dropna(subset=["n", "test_srcc"]).sort_values("n")
    if len(known) < 2:
        return "Too few points to tell."
    if "n_test" in known and (rows := int(known["n_test"].min())) < FEWEST_TEST_ROWS:
        return f"Too few held-out rows to tell: {rows}; at least {FEWEST_TEST_ROWS} are needed."
    (n0, s0), (n1, s1) = known[["n", "test_srcc"]].to_numpy(dtype=float)[-2:]
    gain = (s1 - s0) / math.log2(n1 / n0) if n1 > n0 else 0.0
    if gain >= max(0.002, 0.1 * (1 - s1)):
        return f"Still rising: twice the labels gave {gain:+.3f} SRCC."
    return f"Hardly, it is flat: twice the labels gave {gain:+.3f} SRCC."


@styled
def learning_curve(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw held-out SRCC, and below it the held-out error, over the number of labels fitted.

    Args:
        frame: ``n, test_srcc, test_mae``, one row a fit.
        ax: Where to draw; its place in the figure is shared by a second panel with the error. A new figure by default.

    Returns:
        The axes of the rank correlation.

    Raises:
        ConfigError: A column is missing.
    """
    frame = given_as(frame, "learning_curve", "what autobuild.learning_curve gave", (pd.DataFrame, same))
    check_columns(frame, ("n", "test_srcc", "test_mae"), "the learning curve")
    ax = own_axes(ax, 5.6, 4.4)
    frame = frame.sort_values("n")
    known = frame.dropna(subset=["test_srcc"])
    if known.empty:
        return message(
            ax, TITLE, "No fit could be judged on held-out rows:\nthe labelled set is too small for a curve."
        )
    lower = below(ax)
    _line(ax, known["n"].to_list(), known["test_srcc"].to_list(), "{:.3f}", BLUE, "SRCC (1 is perfect)")
    ax.set_title(f"{TITLE}\n{learning_hint(known)}", linespacing=1.5)
    if lower is None:
        ax.set_xlabel("labels fitted")
        return ax
    error = frame.dropna(subset=["test_mae"])
    _line(lower, error["n"].to_list(), error["test_mae"].to_list(), "{:.2g}", ORANGE, "mean abs. error")
    lower.set_ylim(bottom=0)
    lower.set_xlabel("labels fitted (all judged on the same held-out rows)")
    ax.tick_params(axis="x", labelbottom=False)
    return ax


def _line(ax: Axes, n: list[float], values: list[float], form: str, colour: str, label: str) -> None:
    ax.plot(n, values, color=colour, marker="o", markersize=5, clip_on=False)
    for x, value in zip(n, values, strict=True):
        ax.annotate(
            form.format(value), (x, value), (0, 6), textcoords="offset points", ha="center", va="bottom", fontsize=8.5
        )
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(n))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.margins(x=0.08, y=0.28)
    ax.set_ylabel(label)
    ax.grid(axis="y", color=GREY, alpha=0.2, linewidth=0.6)
