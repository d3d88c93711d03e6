"""The chain of linked studies of a search that narrows."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes

from autobuild.plot._style import BLUE, GREY, INK, check_columns, given_as, own_axes, same, shorten, styled
from autobuild.spaces.sizes import readable_count
from autobuild.studies.result import Search


@styled
def search_chain(chain: Search | pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the size of each study's space on a logarithmic scale, and how many networks each evaluated and took over.

    Args:
        chain: A search, or its ``chain``: ``study, size, space_share, evaluated, reused``.
        ax: Where to draw; a new figure by default.

    Raises:
        ConfigError: A column is missing.
    """
    read = (Search, lambda search: search.chain)
    studies: pd.DataFrame = given_as(chain, "search_chain", "a search or its chain", read, (pd.DataFrame, same))
    check_columns(studies, ("study", "size", "space_share", "evaluated", "reused"), "the chain")
    ax = own_axes(ax, 6.4, 0.9 + 0.45 * max(2, len(studies)))
    sizes = [int(size) for size in studies["size"]]
    exponents = [math.log10(size) if size > 0 else 0.0 for size in sizes]  # sizes may be too large for a float
    rows = range(len(studies))
    ax.barh(rows, exponents, height=0.55, color=BLUE, alpha=0.85)
    widest = max([*exponents, 1.0])
    for row, (size, exponent) in enumerate(zip(sizes, exponents, strict=True)):
        study = studies.iloc[row]
        share = "" if row == 0 else f" ({_share(float(study['space_share']))})"
        text = f"{readable_count(size)}{share}: {int(study['evaluated']):,} evaluated, {int(study['reused']):,} known"
        ax.text(exponent + 0.02 * widest, row, text, va="center", fontsize=8.5, color=INK)
    ax.set_yticks(list(rows), [shorten(name, 24) for name in studies["study"]])
    ax.set_ylim(max(len(studies), 2) - 0.5, -0.5)
    ax.set_xlim(0, 1.9 * widest)
    ticks = [tick for tick in ax.get_xticks() if 0 <= tick <= widest and float(tick).is_integer()]
    ax.set_xticks(ticks, [f"$10^{{{int(tick)}}}$" for tick in ticks], parse_math=True)
    ax.set_xlabel("networks in the space", loc="left")
    ax.set_title("Narrowing chain" if len(studies) > 1 else "Space of the search")
    ax.grid(axis="x", color=GREY, alpha=0.2, linewidth=0.6)
    return ax


def _share(share: float) -> str:
    return f"{share:.2%}" if share >= 0.0001 else f"{share:.1e} of it"
