"""A search space as a picture: a card for every unit with what it chooses, joined as the space joins its stages."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from autobuild.plot._space_card import CHIP, HEAD, LINE, PAD, SMALL, SQUARE, Card
from autobuild.plot._space_layout import RADIUS, plan
from autobuild.plot._style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ON_COLOUR,
    ORANGE,
    PALE,
    VERMILLION,
    given_as,
    own_axes,
    root,
    same,
    shorten,
    styled,
)
from autobuild.spaces import SearchSpace, load_space, readable_count

COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, "#CC79A7", "#56B4E9")  # of features, in declared order


@styled
def space(space: SearchSpace | str, ax: Axes | None = None) -> Axes:
    """Draw a search space: its units in the order that data passes them, what each chooses, and how many there are.

    A card tells a unit's numbers of layers (full squares: always there; empty ones: optional; left out where no unit
    of the space has more than one), the values of every feature and the number of candidates. Of a narrowed unit,
    values that no candidate has any more are pale. Lines are the joins between units; units that nothing feeds get the
    input.

    Args:
        space: The space, narrowed and joined ones included; or its name.
        ax: Where to draw; a new figure by default, as large as the space needs.
    """
    shown: SearchSpace = given_as(space, "space", "a search space or its name", (SearchSpace, same), (str, load_space))
    where = plan(shown)
    width, height = where.right - where.left, where.top - where.bottom
    new = ax is None
    ax = own_axes(ax, width + 0.2, height + 0.75)
    scale = 1.0 if new else _scale(ax, width, height)
    ax.set_xlim(where.left, where.right)
    ax.set_ylim(where.bottom, where.top)
    ax.set_aspect("equal", adjustable="box", anchor="NW")
    size = f"{shown.size:,}" if shown.size < 10**7 else readable_count(shown.size)
    ax.set_title(f"{shorten(shown.name, 60)}: {size} architecture{'' if shown.size == 1 else 's'}", fontweight="bold")
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    words = shown.note or shown.about
    ax.set_xlabel("\n".join(wrap(words, max(30, int(14 * width * scale)))), fontsize=8, color=GREY, loc="left")
    for line in where.lines:
        look: Any = {"arrowstyle": "-|>", "mutation_scale": 7 * scale, "shrinkA": 0, "shrinkB": 0, "zorder": 1}
        ax.add_patch(FancyArrowPatch(path=line, color=GREY, linewidth=scale, **look))
    for (x, y), name in zip(where.ends, ("in", "out"), strict=True):
        ax.add_patch(Circle((x, y), RADIUS, facecolor="white", edgecolor=GREY, linewidth=0.9 * scale, zorder=2))
        ax.text(x, y, name, ha="center", va="center", fontsize=SMALL * scale, color=GREY, zorder=3)
    for x, y, one in where.cards:
        _card(ax, x, y, one, scale)
    for artist in (*ax.patches, *ax.texts):
        artist.set_gid(ON_COLOUR)  # cards are white on any background
    return ax


def _scale(ax: Axes, width: float, height: float) -> float:
    """Size of the given axes relative to the planned size."""
    box, dpi = ax.get_window_extent(), root(ax).dpi
    return min(box.width / dpi / width, box.height / dpi / height)


def _tint(colour: str, share: float, other: str = "white") -> tuple[float, float, float]:
    """A share of a colour mixed with another one."""
    red, green, blue = (share * a + (1 - share) * b for a, b in zip(to_rgb(colour), to_rgb(other), strict=True))
    return red, green, blue


def _card(ax: Axes, x: float, y: float, one: Card, scale: float) -> None:
    width = one.width
    box: Any = {"boxstyle": "round,pad=0,rounding_size=0.07"}
    shape = FancyBboxPatch((x, y - one.height), width, one.height, facecolor="white", edgecolor=GREY, linewidth=0.9,
                           zorder=2, **box)  # fmt: skip
    ax.add_patch(shape)
    head = Rectangle((x, y - LINE - PAD / 2), width, LINE + PAD / 2, facecolor=_tint(BLUE, 0.14), zorder=2.1)
    ax.add_patch(head)
    head.set_clip_path(shape)
    text: Any = {"va": "center", "zorder": 3}
    ax.text(x + PAD, y - LINE / 2 - PAD / 4, one.name, fontsize=HEAD * scale, fontweight="bold", **text)
    for row in one.squares:
        for number in range(row.most):
            face = GREY if number < row.least else "white"
            ax.add_patch(Rectangle((x + row.x + SQUARE * number, y - row.y - 0.045), 0.085, 0.09, facecolor=face,
                                   edgecolor=GREY, linewidth=0.7, zorder=3))  # fmt: skip
    for word in one.words:
        colour: Any = GREY if word.feature < 0 else _tint(COLOURS[word.feature % len(COLOURS)], 0.8, INK)
        ax.text(x + word.x, y - word.y, word.text, fontsize=word.size * scale, color=colour, **text)
    for chip in one.chips:
        colour = COLOURS[chip.feature % len(COLOURS)]
        ax.add_patch(
            FancyBboxPatch(
                (x + chip.x, y - chip.y - CHIP / 2), chip.width, CHIP, boxstyle="round,pad=0,rounding_size=0.04",
                facecolor=_tint(colour, 0.2) if chip.left else "white", edgecolor="none" if chip.left else PALE,
                linewidth=0.6, zorder=3,
            )
        )  # fmt: skip
        ax.text(x + chip.x + chip.width / 2, y - chip.y, chip.text, ha="center", fontsize=SMALL * scale,
                color=INK if chip.left else "#AAAAAA", va="center", zorder=4)  # fmt: skip
    foot = y - one.height + LINE / 2
    ax.text(x + PAD, foot, one.foot, fontsize=SMALL * scale, color=GREY, style="italic", **text)
