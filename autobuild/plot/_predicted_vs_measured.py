"""Predicted against measured values of held-out rows."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from autobuild.errors import ConfigError
from autobuild.models import FittedModel, conformal_half_width
from autobuild.plot._style import (
    BLUE,
    GREY,
    INK,
    PALE,
    check_columns,
    given_as,
    message,
    own_axes,
    same,
    shorten,
    styled,
)
from autobuild.rank import mae, srcc
from autobuild.settings.names import INTERVAL_LEVEL


@styled
def predicted_vs_measured(
    heldout: FittedModel | pd.DataFrame,
    target: str | None = None,
    ax: Axes | None = None,
    level: float | None = INTERVAL_LEVEL,
) -> Axes:
    """Draw every held-out row: measured on x, predicted on y, and the line where they agree.

    Args:
        heldout: A fitted model, or its ``heldout`` frame: ``measured, predicted``; rows that are not finite are left
            out and counted.
        target: What was measured, for the axes; the model's target by default.
        ax: Where to draw; a new figure by default.
        level: Draws a band of this coverage around the line (split conformal, as ``FittedModel.predict`` has it);
            None draws none. There is no band either where the rows are too few for the level.

    Raises:
        ConfigError: A column is missing, or ``level`` is not between 0 and 1.
    """
    name = heldout.target if isinstance(heldout, FittedModel) else "target"
    target = name if target is None else target
    frame: pd.DataFrame = given_as(
        heldout,
        "predicted_vs_measured",
        "a fitted model, or a frame with the columns measured and predicted",
        (FittedModel, lambda model: model.heldout),
        (pd.DataFrame, same),
    )
    check_columns(frame, ("measured", "predicted"), "the held-out rows")
    if level is not None and not 0 < level < 1:
        raise ConfigError(f"level={level!r}: a number between 0 and 1 is accepted, e.g. 0.9, or None")
    ax = own_axes(ax, 4.6, 4.4)
    title = "Predicted against measured"
    pairs = frame[["measured", "predicted"]].to_numpy(dtype=float)
    finite = np.isfinite(pairs).all(axis=1)
    x, y = pairs[finite].T
    if not len(x):
        return message(ax, title, "No rows were held out,\nso predictions cannot be judged.")
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    pad = 0.04 * (high - low) or 0.04 * abs(high) or 1.0
    ends = np.array([low - pad, high + pad])
    half = conformal_half_width(x - y, level) if level is not None else math.nan
    if math.isfinite(half):
        ax.fill_between(
            ends, ends - half, ends + half, color=PALE, alpha=0.6, linewidth=0, label=f"{level:.0%} of errors"
        )
    ax.plot(ends, ends, color=GREY, linewidth=0.9, label="measured = predicted")
    many = len(x) > 1000
    ax.scatter(x, y, s=8 if many else 16, color=BLUE, alpha=0.35 if many else 0.6, linewidths=0)
    ax.set_xlim(*ends)
    ax.set_ylim(*ends)
    ax.set_box_aspect(1)
    lines = [f"{len(x):,} held-out rows", f"SRCC {srcc(y, x):.3f}" if len(x) > 1 else "SRCC undefined"]
    lines.append(f"mean abs. error {mae(y, x):.2g}")
    if not finite.all():
        lines.append(f"{int((~finite).sum()):,} not finite, left out")
    ax.text(0.03, 0.97, "\n".join(lines), transform=ax.transAxes, va="top", color=INK, linespacing=1.35)
    ax.set_xlabel(f"measured {shorten(target, 48)}")
    ax.set_ylabel(f"predicted {shorten(target, 48)}")
    ax.set_title(title)
    ax.locator_params(nbins=6)
    ax.legend(loc="lower right")
    return ax
