"""Rank correlation by hop: does the norm of the graph embedding rank networks?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from autobuild.errors import ConfigError
from autobuild.models import FittedModel
from autobuild.plot._style import BLUE, GREY, INK, ORANGE, given_as, message, own_axes, same, styled


@styled
def hop_correlation(report: FittedModel | Mapping[str, Any], ax: Axes | None = None) -> Axes:
    """Draw the held-out SRCC of the graph-embedding norm at each hop, and of the prediction head.

    Args:
        report: A fitted model, or its ``report``: ``hop_srcc`` (one value a hop) and ``test_srcc``, None where nothing
            was held out; ``n_test`` is shown if it is present.
        ax: Where to draw; a new figure by default.

    Raises:
        ConfigError: If the report has no ``hop_srcc`` or ``test_srcc``.
    """
    accepted = "a fitted model or its report"
    read = (FittedModel, lambda model: model.report)
    numbers: Mapping[str, Any] = given_as(report, "hop_correlation", accepted, read, (Mapping, same))
    for key in ("hop_srcc", "test_srcc"):
        if key not in numbers:
            raise ConfigError(f"the report has no {key!r}; it has: {', '.join(map(str, numbers))}")
    hops, head = numbers["hop_srcc"] or [], numbers["test_srcc"]
    ax = own_axes(ax, max(4.4, 1.6 + 0.62 * (len(hops) + 1)), 3.2)
    title = "Rank correlation by hop"
    if head is None and not hops:
        return message(ax, title, "No rows were held out,\nso there is no rank correlation.")
    values = [math.nan if value is None else float(value) for value in [*hops, head]]
    drawn = [value if math.isfinite(value) else 0.0 for value in values]
    ax.bar(range(len(values)), drawn, width=0.68, color=[BLUE] * len(hops) + [ORANGE])
    for x, value in enumerate(values):
        words = f"{value:.3f}" if math.isfinite(value) else "undefined"
        ax.annotate(
            words,
            (x, max(drawn[x], 0.0)),
            (0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8.5,
            color=INK if math.isfinite(value) else GREY,
        )
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set_ylim(min(0.0, min(drawn) * 1.1), 1.08)
    ax.set_xticks(range(len(values)), [*(f"hop {hop}" for hop in range(len(hops))), "prediction"])
    ax.tick_params(axis="x", length=0)
    ax.set_yticks([tick / 4 for tick in range(-4, 5) if tick / 4 >= ax.get_ylim()[0]])
    ax.set_ylabel("SRCC with the target (1 is perfect)")
    rows = numbers.get("n_test")
    ax.set_title(f"{title}, {rows:,} held-out rows" if isinstance(rows, int) else f"{title}, held-out rows")
    return ax
