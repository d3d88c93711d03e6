"""The plot of ``benchmarks.construct``: best label against number of evaluations on NAS-Bench-Macro."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from autobuild.plot._style import BLUE, GREEN, GREY, INK, ORANGE, VERMILLION, own_axes, save, styled
from benchmarks.cells import BUDGETS, BUILT
from benchmarks.searches import SEARCHES

LINES = dict(zip(SEARCHES, (GREY, GREEN, ORANGE, BLUE), strict=True))
POINTS = {
    "ours": (VERMILLION, "o", 0.0),
    "XGBoost & GP + knowledge": (INK, "s", 1.6),
    "ridge": (INK, "^", 3.2),
    "hopnorm": (INK, "x", 4.8),
}  # colour, marker, evaluations to the right: so that points of one budget do not hide each other


@styled
def draw(runs: pd.DataFrame, path: Path) -> Axes:
    """Searches as lines (mean over seeds), methods that build from labels as points with quartiles."""
    ax = own_axes(None, 6.4, 3.8)
    evaluations = np.arange(1, BUDGETS[-1] + 1)
    for name, colour in LINES.items():
        curves = _curves(runs, name)
        if len(curves):
            ax.plot(evaluations, curves.mean(axis=0), color=colour, label=name)
    for name, (colour, marker, shift) in POINTS.items():
        for budget in BUDGETS:
            found = runs[(runs["cell"] == f"macro_{budget - BUILT}") & (runs["method"] == name)]
            values = found.loc[found["metric"] == "label_seen", "value"].to_numpy(float)
            if not len(values):
                continue
            low, high = np.quantile(values, [0.25, 0.75])
            ax.plot([budget + shift] * 2, [low, high], color=colour, linewidth=1.0)
            label = name if budget == BUDGETS[0] else None
            ax.plot(budget + shift, values.mean(), marker, color=colour, markersize=5, label=label)
    ax.set_xlim(0, BUDGETS[-1] + 10)
    ax.set_ylim(bottom=92.0)
    ax.set_xlabel("networks evaluated (points: labels given, then ten built)")
    ax.set_ylabel("best true label (%)")
    ax.set_title("NAS-Bench-Macro: best network found")
    ax.legend(loc="lower right")
    save(ax, path)
    return ax


def _curves(runs: pd.DataFrame, name: str) -> np.ndarray:
    """Best label after every evaluation. Shape ``(seeds, evaluations)``."""
    rows = runs[(runs["method"] == name) & runs["metric"].str.startswith("label@")]
    out = []
    for _, own in rows.groupby("split"):
        curve = np.full(BUDGETS[-1], np.nan)
        curve[own["metric"].str.removeprefix("label@").astype(int).to_numpy() - 1] = own["value"]
        out.append(np.fmax.accumulate(curve))
    return np.array(out)
