"""Style of all figures: sizes, fonts, colours (Okabe and Ito, 2008; viridis); showing and saving figures."""

from __future__ import annotations

import functools
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb, to_rgba, to_rgba_array
from matplotlib.figure import Figure, SubFigure
from matplotlib.text import Text

from autobuild.errors import ConfigError, RunError, nearest

BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
INK, GREY, PALE = "#222222", "#6b6b6b", "#d9d9d9"
COLOURS = "viridis"
SHOWN_DPI, SAVED_DPI = 100, 120

LOOK: Any = {
    "font.size": 9.0,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "text.color": INK,
    "text.parse_math": False,  # an expression such as "a$b" is text
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "axes.unicode_minus": True,
    "pdf.fonttype": 42,  # text that other programs can edit; journals refuse Type 3 fonts
    "ps.fonttype": 42,
    "svg.fonttype": "none",
}
# What the looks of :class:`style` change. Paper: one column of a journal, of which most are about 85 mm wide.
_LOOKS: dict[str, Any] = {
    "screen": {},
    "paper": {
        "font.size": 8.0,
        "axes.titlesize": 8.0,
        "axes.labelsize": 8.0,
        "legend.fontsize": 7.5,
        "lines.linewidth": 1.2,
    },
    "dark": {"figure.facecolor": "#202020", "axes.facecolor": "#202020", "savefig.facecolor": "#202020"},
}
PAPER_WIDTH = 85 / 25.4  # inches
# Replacement of each colour on a dark background; artists with the gid ON_COLOUR keep their colours.
_ON_DARK = {INK: "#E8E8E8", GREY: "#A8A8A8", PALE: "#5A5A5A", "#ffffff": "#202020"}
ON_COLOUR = "on colour"

P = ParamSpec("P")
R = TypeVar("R")


class style:
    """Choose the look of all figures that are drawn from now on, or within a ``with`` block.

    >>> with ab.plot.style("paper"):
    ...     drawn = ab.plot.feature_scores(scores)
    >>> ab.plot.style("screen")
    style('screen')

    Args:
        name: ``"screen"`` (the default), ``"paper"`` (new figures are 85 mm wide, one column of a journal, with 8 point
            text), or ``"dark"`` (light on dark). Text in PDF and SVG files can be edited in every look.

    Raises:
        ConfigError: There is no such look.
    """

    now = "screen"

    def __init__(self, name: str) -> None:
        if name not in _LOOKS:
            raise ConfigError(f"plot.style({name!r}): {nearest(str(name), _LOOKS)}")
        self.name, self._before, style.now = name, style.now, name

    def __enter__(self) -> style:
        return self

    def __exit__(self, *_: object) -> None:
        style.now = self._before

    def __repr__(self) -> str:
        return f"style({self.name!r})"


class Picture(Figure):
    """A figure that a notebook shows without pyplot."""

    def _repr_png_(self) -> bytes:
        return png(self)


class Panel(Axes):
    """Axes that a notebook shows (their whole figure) as the last value of a cell."""

    def _repr_png_(self) -> bytes:
        return png(root(self))


class Panels(tuple[Axes, ...]):
    """Several axes of one figure, in order; a notebook shows the figure."""

    @property
    def figure(self) -> Figure:
        """The figure they are in."""
        return root(self[0])

    def _repr_png_(self) -> bytes:
        return png(self.figure)


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Decorator: draw in this module's style without changing the user's settings.

    On a dark background, of the given axes or of the user's style, dark colours are replaced by light ones.
    """

    @functools.wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(LOOK | _LOOKS[style.now]):
            drawn = draw(*args, **kwargs)
            for ax in (drawn,) if isinstance(drawn, Axes) else tuple(drawn):  # type: ignore[arg-type]
                _lighten(ax)
            return drawn

    return wrapped


def _lighten(ax: Axes) -> None:
    """Replace dark colours in a dark figure, in the axes and in panels and colour bars beside them."""
    figure = root(ax)
    if not is_dark(figure.get_facecolor()):
        return
    for panel in figure.axes:
        if panel is not ax and not isinstance(panel, Panel) and panel.get_label() != "<colorbar>":
            continue
        panel.tick_params(axis="both", which="both", color=_ON_DARK[GREY], labelcolor=_ON_DARK[INK])
        for artist in panel.findobj():
            if artist is panel.patch or artist.get_gid() == ON_COLOUR:
                continue
            inks = {INK: _ON_DARK[INK], GREY: _ON_DARK[GREY]} if isinstance(artist, Text) else _ON_DARK
            for name in ("color", "edgecolor", "facecolor", "markeredgecolor", "markerfacecolor"):
                get, put = getattr(artist, f"get_{name}", None), getattr(artist, f"set_{name}", None)
                if get is not None and put is not None:
                    given = get()
                    rows = to_rgba_array(given)
                    # white text belongs to the user's style; white edges separate what this module draws
                    lit = [(*to_rgb(inks.get(to_hex(row), row[:3])), row[3]) for row in rows]
                    if len(rows) and not np.allclose(rows, lit):
                        put(lit[0] if isinstance(given, str) or np.ndim(given) == 1 else lit)


def is_dark(colour: Any) -> bool:
    """Whether a colour is dark; a transparent one is not."""
    red, green, blue, alpha = to_rgba(colour)
    return alpha > 0 and 0.299 * red + 0.587 * green + 0.114 * blue < 0.5


def new_figure(width: float, height: float) -> Figure:
    """A new empty figure, unknown to pyplot. Sizes are in inches; on paper it is narrower, and hardly lower."""
    if style.now == "paper" and width > PAPER_WIDTH:
        width, height = PAPER_WIDTH, height * max(0.75, (PAPER_WIDTH / width) ** 0.5)
    figure = Picture(figsize=(width, height), dpi=SHOWN_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def own_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The given axes, or those of a new figure of this size in inches, in this module's style."""
    return tidy(ax if ax is not None else new_figure(width, height).add_subplot(axes_class=Panel))


def tidy(ax: Axes) -> Axes:
    """Style spines and ticks of the axes themselves, because ticks are made later, under the user's settings."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(axis="both", which="major", color=GREY, labelcolor=INK, labelsize=8.5)
    return ax


def below(ax: Axes) -> Axes | None:
    """Divide the place of ``ax`` in the grid and return axes in the lower half with the same x; None without a grid."""
    spec, figure = ax.get_subplotspec(), ax.figure
    if spec is None or not isinstance(figure, Figure | SubFigure):
        return None
    grid = spec.subgridspec(2, 1, hspace=0.08)
    ax.set_subplotspec(grid[0])
    return tidy(figure.add_subplot(grid[1], axes_class=Panel, sharex=ax))


def message(ax: Axes, title: str, text: str) -> Axes:
    """Write into the figure why there is nothing to draw."""
    ax.set_title(title)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=GREY, wrap=True)
    return ax


def check_columns(frame: pd.DataFrame, needed: Iterable[str], what: str) -> None:
    """Raise ConfigError if the frame lacks one of these columns."""
    for name in needed:
        if name not in frame.columns:
            raise ConfigError(f"{what} needs a column {name!r}: {nearest(name, frame.columns)}")


def given_as(given: Any, figure: str, accepted: str, *kinds: tuple[type, Callable[[Any], Any]]) -> Any:
    """Convert an object that a figure accepts to what the figure draws.

    Args:
        given: The object.
        figure: The figure's name, for the error.
        accepted: What it takes, in words.
        kinds: Pairs of a type, and what is read from an object of it.

    Raises:
        ConfigError: If it is none of these types.
    """
    for kind, read in kinds:
        if isinstance(given, kind):
            return read(given)
    raise ConfigError(f"plot.{figure} takes {accepted}; given: {type(given).__name__} {shorten(repr(given), 60)}")


def same(given: Any) -> Any:
    """Return the object unchanged."""
    return given


def shorten(text: object, width: int = 30) -> str:
    """Leave out the middle of a long name, because names mostly differ at their ends."""
    full = str(text)
    if len(full) <= width:
        return full
    tail = (width - 1) // 2
    return f"{full[: width - 1 - tail]}…{full[len(full) - tail :]}"


def number(value: float) -> str:
    """A value with four significant digits, trailing zeros included."""
    return f"{value:#.4g}".rstrip(".")


def fold(text: object, width: int = 7) -> str:
    """Break a text into two lines near its middle, after a digit or sign; longer lines are shortened."""
    full = str(text)
    if len(full) <= width:
        return full
    places = [m.end() for m in re.finditer(r"\d(?=[^\d.])|[^\w.](?=.)|_(?=.)", full)]
    cut = min(places or [(len(full) + 1) // 2], key=lambda place: abs(place - len(full) / 2))
    return f"{shorten(full[:cut], width + 2)}\n{shorten(full[cut:], width + 2)}"


def root(ax: Axes | Figure | SubFigure) -> Figure:
    """The whole figure that something is drawn in."""
    parent: Any = ax
    while parent is not None and not isinstance(parent, Figure):
        parent = parent.figure  # the figure of a subfigure is its parent
    if parent is None:
        raise ConfigError("these axes belong to no figure")
    return parent


def png(figure: Figure) -> bytes:
    """A figure as PNG bytes, for notebooks."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=SHOWN_DPI, bbox_inches="tight", facecolor=figure.get_facecolor())
    return buffer.getvalue()


def save(drawn: Axes | Figure | Iterable[Axes], path: str | Path) -> Path:
    """Write the figure that a plot function returned; the suffix of ``path`` determines the format (PNG, SVG, PDF).

    The file is written under a temporary name and renamed, so that a killed run leaves no incomplete picture.

    Raises:
        ConfigError: Matplotlib cannot write this format, or no axes are given.
        RunError: The folder cannot be written.
    """
    if isinstance(drawn, Axes | Figure):
        figure = root(drawn)
    else:
        panels = list(drawn)
        if not panels:
            raise ConfigError("there is nothing to save: no axes were given")
        figure = root(panels[0])
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    accepted = figure.canvas.get_supported_filetypes()
    if kind not in accepted:
        raise ConfigError(f"{path}: figures end in {nearest(kind, sorted(accepted))}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from None
    try:
        with os.fdopen(handle, "wb") as out, mpl.rc_context(LOOK):
            figure.savefig(out, format=kind, dpi=SAVED_DPI, bbox_inches="tight", facecolor=figure.get_facecolor())
        os.chmod(beside, 0o644)  # mkstemp makes it private to the user
        os.replace(beside, path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        Path(beside).unlink(missing_ok=True)
    return path
