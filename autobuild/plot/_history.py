"""Losses by epoch: did the fit converge?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from autobuild.errors import ConfigError
from autobuild.models import FittedModel
from autobuild.plot._style import BLUE, GREY, INK, ORANGE, check_columns, given_as, message, own_axes, same, styled


def _history(model: Any) -> pd.DataFrame:
    frame: pd.DataFrame = model.history
    return frame


LINES = (("loss", INK, "-"), ("regression", BLUE, "--"), ("ranking", ORANGE, "-."))


@styled
def history(history: FittedModel | pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the losses of a fit by epoch, on a logarithmic axis where all are positive.

    Args:
        history: A fitted graph encoder, or its ``history``: ``epoch, loss, regression, ranking``, one row an epoch.
        ax: Where to draw; a new figure by default.

    Raises:
        ConfigError: A column is missing.
    """
    if isinstance(history, FittedModel) and not hasattr(history, "history"):
        raise ConfigError(f"plot.history: a model of the family {history.family!r} has no epochs; model='graph' has")
    losses: pd.DataFrame = given_as(
        history, "history", "a fitted graph encoder or its history", (FittedModel, _history), (pd.DataFrame, same)
    )
    check_columns(losses, ("epoch", *(name for name, _, _ in LINES)), "the history")
    ax = own_axes(ax, 5.6, 3.4)
    title = "Losses of the fit"
    if losses.empty:
        return message(ax, title, "No epochs: nothing was fitted.")
    epochs = losses["epoch"].to_numpy(dtype=float)
    mark = "o" if len(epochs) == 1 else ""
    positive = True
    for name, colour, dash in LINES:
        values = losses[name].to_numpy(dtype=float)
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
