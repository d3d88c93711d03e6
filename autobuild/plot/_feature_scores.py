"""Effects of feature values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from autobuild.plot._inputs import scores_of
from autobuild.plot._style import BLUE, GREY, INK, VERMILLION, check_columns, message, own_axes, shorten, styled

if TYPE_CHECKING:
    from autobuild.importance import Scores
    from autobuild.models import FittedModel

GAP, ABOVE = 1.45, 0.45  # rows that the name of a feature takes, and how many of them are space above it


@styled
def feature_scores(
    scores: Scores | FittedModel | pd.DataFrame, ax: Axes | None = None, target: str | None = None
) -> Axes:
    """Draw the effect of every value of every feature, in units of the target, and how often it was seen.

    Values that no training layer has are drawn hollow: their score was never trained.

    Args:
        scores: Scores, a fitted model, or a ``features`` frame: ``feature, value, effect, n_seen``.
        ax: Where to draw; a new figure by default.
        target: The target's name; that of the model by default.

    Raises:
        ConfigError: A column is missing.
    """
    held = scores_of(scores, "feature_scores")
    frame = held if isinstance(held, pd.DataFrame) else held.features
    target = target or ("the target" if isinstance(held, pd.DataFrame) else str(held.model.target))
    check_columns(frame, ("feature", "value", "effect", "n_seen"), "the feature scores")
    groups = list(frame.groupby("feature", sort=False))
    ax = own_axes(ax, 5.6, 1.1 + 0.21 * (len(frame) + GAP * len(groups)))
    title = "Main effects of feature values"
    if frame.empty:
        return message(ax, title, "No features were scored.")
    places, names, heads, y = [], [], [], 0.0
    for feature, group in groups:
        heads.append((y + (ABOVE if y else 0.0), str(feature)))
        y += GAP if y else GAP - ABOVE
        for value in group["value"]:
            places.append(y)
            names.append("none" if value is None or value is pd.NA else shorten(value, 24))
            y += 1
    rows = pd.concat([group for _, group in groups])
    effect = rows["effect"].to_numpy(dtype=float)
    seen = rows["n_seen"].to_numpy(dtype=np.int64)
    drawn = np.where(np.isfinite(effect), effect, 0.0)
    bars = ax.barh(places, drawn, height=0.66, color=np.where(drawn >= 0, BLUE, VERMILLION).tolist())
    if {"lower", "upper"} <= set(rows) and np.isfinite(rows["lower"].to_numpy(dtype=float)).any():
        reach = [effect - rows["lower"].to_numpy(dtype=float), rows["upper"].to_numpy(dtype=float) - effect]
        ax.errorbar(effect, places, xerr=np.nan_to_num(reach), fmt="none", ecolor=INK, elinewidth=0.8, capsize=1.5)
    for bar, count in zip(bars, seen, strict=True):
        if not count:
            bar.set(facecolor="none", edgecolor=bar.get_facecolor(), linestyle=":")
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set_yticks(places, names)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(y - 0.3, -0.8)
    side = ax.get_yaxis_transform()
    for place, name in heads:
        ax.text(-0.02, place, shorten(name, 24), transform=side, ha="right", va="center", weight="bold", fontsize=8.5)
    ax.text(1.01, -0.75, "times seen", transform=side, fontsize=7.5, color=GREY, va="bottom")
    for place, count in zip(places, seen, strict=True):
        text = f"{count:,}" if count else "never"
        ax.text(1.01, place, text, transform=side, fontsize=7.5, color=GREY if count else INK, va="center")
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x", color=GREY, alpha=0.2, linewidth=0.6)
    ax.set_xlabel(f"difference from the mean where the choice is made, in units of {shorten(target, 40)}")
    ax.locator_params(axis="x", nbins=6)
    ax.set_title(title, pad=12)
    return ax
