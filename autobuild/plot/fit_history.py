"""Losses by epoch: did the fit converge?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from autobuild.plot.style import BLUE, GREY, INK, ORANGE, check_columns, message, own_axes, styled

LINES = (("loss", INK, "-"), ("regression", BLUE, "--"), ("ranking", ORANGE, "-."))


@styled
def history(history: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the losses of a fit by epoch, on a logarithmic axis where all are positive.

    Args:
        history: ``epoch, loss, regression, ranking``, as in ``FittedModel.history``; one row an epoch.
        ax: Where to draw; a new figure by default.

    Raises:
        ConfigError: If a column is missing.
    """
    check_columns(history, ("epoch", *(name for name, _, _ in LINES)), "the history")
    ax = own_axes(ax, 5.6, 3.4)
    title = "Losses of the fit"
    if history.empty:
        return message(ax, title, "No epochs: nothing was fitted.")
    epochs = history["epoch"].to_numpy(dtype=float)
    mark = "o" if len(epochs) == 1 else ""
    positive = True
    for name, colour, dash in LINES:
        values = history[name].to_numpy(dtype=float)
        ax.plot(epochs, values, color=colour, linestyle=dash, marker=mark, label=name)
        positive &= bool((values[np.isfinite(values)] > 0).all())
    if positive:
        ax.set_yscale("log")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss, of the standardised target")
    ax.set_title(title)
    ax.grid(axis="y", color=GREY, alpha=0.2, linewidth=0.6)
    ax.legend(loc="upper right")
    return ax
