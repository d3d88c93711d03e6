"""Why this network: from the average network, or another one, to its prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from autobuild._decimals import decimals
from autobuild._words import signed
from autobuild.errors import ConfigError
from autobuild.plot._inputs import scores_of
from autobuild.plot._style import BLUE, GREY, INK, PALE, VERMILLION, own_axes, shorten, styled

if TYPE_CHECKING:
    from autobuild.importance import AdditiveScores
    from autobuild.models import FittedModel
    from autobuild.spaces import Architecture


@styled
def waterfall(
    scores: AdditiveScores | FittedModel,
    arch: Architecture | str,
    since: Architecture | str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw what every unit of a network adds, from the average network (or another one) to its prediction.

    From the average network the bars are the scores of its candidates, and ``remainder`` is what their sum leaves out.
    From another network they are Shapley values of the units that differ (``scores.explain_change``). Negative bars are
    hatched.

    Args:
        scores: Additive scores, or a fitted model.
        arch: The network, or its text.
        since: The network to start from, or its text; None for the average network.
        ax: Where to draw; a new figure by default.

    Raises:
        ConfigError: The scores are not additive.
        SpaceError: A network is not in the space.
    """
    held = scores_of(scores, "waterfall", frames=False)
    if not hasattr(held, "why"):
        raise ConfigError(f"plot.waterfall takes additive scores, those of model.explain(); given: {held.scorer!r}")
    if since is None:
        table = held.why(arch)
        start, start_name = float(table["contribution"].iloc[0]), "average network"
        steps = table.iloc[1:-1]
        title = "From the average network to the prediction"
    else:
        change = held.explain_change(since, arch)
        parsed = held.space.parse(since) if isinstance(since, str) else since
        start, start_name = float(held.model.predict_mean([parsed])[0]), "before"
        steps = change.iloc[:-1].rename(columns={"after": "candidate"})
        title = "Contribution of each change (Shapley values)"
    values = steps["contribution"].to_numpy(dtype=float)
    ends = start + np.concatenate([[0.0], np.cumsum(values)])
    ax = own_axes(ax, 6.2, 1.1 + 0.3 * (len(values) + 2))
    rows = np.arange(len(values)) + 1
    low = min(ends) - 0.08 * (np.ptp(ends) or 1.0)
    ax.barh([0, len(values) + 1], [ends[0] - low, ends[-1] - low], left=low, height=0.62, color=PALE)
    bars = ax.barh(rows, values, left=ends[:-1], height=0.62, color=BLUE)
    for bar, value in zip(bars, values, strict=True):
        if value < 0:  # hatched, so that a print in grey shows it
            bar.set(facecolor=VERMILLION, hatch="////", edgecolor="white", linewidth=0)
    for row, end in enumerate(ends):
        ax.plot([end, end], [row - 0.31, row + 1.31], color=GREY, linewidth=0.7)
    _intervals(ax, steps, rows, ends[1:])
    _write(ax, steps, ends, start_name)
    ax.set_xlim(low, max(ends) + 0.12 * (np.ptp(ends) or 1.0))
    ax.set_ylim(len(values) + 1.6, -0.6)
    ax.set_title(title)
    ax.set_xlabel(f"prediction, in units of {shorten(held.model.target, 40)}")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=GREY, alpha=0.2, linewidth=0.6)
    return ax


def _intervals(
    ax: Axes,
    steps: pd.DataFrame,
    rows: np.ndarray[tuple[int], np.dtype[np.int64]],
    ends: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> None:
    half = (steps["upper"] - steps["lower"]).to_numpy(dtype=float) / 2
    known = np.isfinite(half)
    ax.errorbar(ends[known], rows[known], xerr=half[known], fmt="none", ecolor=INK, elinewidth=0.8, capsize=1.5)


def _write(ax: Axes, steps: pd.DataFrame, ends: np.ndarray[tuple[int], np.dtype[np.float64]], start_name: str) -> None:
    names = [
        f"{shorten(unit, 18)}  {shorten(text, 24)}".rstrip()
        for unit, text in zip(steps["unit"], steps["candidate"], strict=True)
    ]
    ax.set_yticks(range(len(names) + 2), [start_name, *names, "predicted"])
    side = ax.get_yaxis_transform()
    places = decimals(ends.tolist())
    changes = [signed(value, f"+,.{places}f") for value in steps["contribution"]]
    first, last = (f"{end:,.{places}f}" for end in (ends[0], ends[-1]))
    for row, text in enumerate([first, *changes, last]):
        ax.text(1.01, row, text.replace("-", "−"), transform=side, va="center", fontsize=7.5, color=INK)
