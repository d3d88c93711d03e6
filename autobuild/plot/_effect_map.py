"""The effect of every choice, by unit and layer."""

from __future__ import annotations

from collections.abc import Hashable
from numbers import Real
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from autobuild._words import signed
from autobuild.errors import ConfigError
from autobuild.plot._cells import (
    HEIGHT,
    WIDTH,
    draw_cell,
    fitting,
    frame_of_cells,
    number_format,
    signed_colours,
    symmetric,
)
from autobuild.plot._inputs import scores_of
from autobuild.plot._style import GREY, check_columns, message, own_axes, root, shorten, styled

if TYPE_CHECKING:
    from autobuild.importance import AdditiveScores
    from autobuild.models import FittedModel

NEEDED = ("unit", "layer", "feature", "value", "effect", "lower", "upper", "n_seen")
APART = 0.35  # columns between two features, and rows between two units
TITLE = "Effect of each choice"


@styled
def effect_map(
    scores: AdditiveScores | FittedModel | pd.DataFrame, ax: Axes | None = None, target: str | None = None
) -> Axes:
    """Draw the effect of every choice in every unit and layer, in units of the target.

    A choice of a whole unit, such as its depth, is one tall cell. Cells of negative effects have a frame. Cells are
    hatched if the effect is not significant: its 90 % interval contains 0.

    Args:
        scores: Additive scores, a fitted model, or their ``places`` frame.
        ax: Where to draw; a new figure by default, as large as the space needs.
        target: The target's name; that of the model by default.

    Raises:
        ConfigError: A column is missing, or the scores are not additive.
    """
    held = scores_of(scores, "effect_map")
    if not isinstance(held, pd.DataFrame) and not hasattr(held, "places"):
        raise ConfigError(f"plot.effect_map takes additive scores, those of model.explain(); given: {held.scorer!r}")
    frame = held if isinstance(held, pd.DataFrame) else held.places
    target = target or ("the target" if isinstance(held, pd.DataFrame) else str(held.model.target))
    check_columns(frame, NEEDED, "the map of effects")
    across = _spread(_columns(_pairs(frame, "feature", "value")))
    layers = _pairs(frame[frame["layer"] > 0], "unit", "layer")
    alone = [unit for unit in dict.fromkeys(frame["unit"]) if unit not in {own for own, _ in layers}]
    named = list(dict.fromkeys(frame["unit"]))
    listed = sorted([*layers, *((unit, 1) for unit in alone)], key=lambda own: (named.index(own[0]), own[1]))
    down = _spread(listed)
    width, height = (max([*places.values(), 0.0]) + 1 for places in (across, down))
    longest = max([len(shorten(unit, 24)) for unit in named], default=0)
    ax = own_axes(ax, 1.2 + 0.07 * longest + WIDTH * width, 1.35 + HEIGHT * height)
    if frame.empty or not np.isfinite(frame["effect"].to_numpy(dtype=float)).any():
        return message(ax, TITLE, "No choice was scored.")
    frame_of_cells(ax, width, height)
    # inches of a cell, beside the names of units and layers
    cell = (root(ax).get_figwidth() * ax.get_position().width / 0.78 - 0.9 - 0.07 * longest) / width
    _cells(ax, frame, across, down, cell)
    _name_rows(ax, down)
    _name_columns(ax, across)
    known = np.isfinite(frame["lower"].to_numpy(dtype=float)).any()
    about = "not significant (the 90 % interval contains 0)" if known else "none, this model gives no intervals"
    text = f"framed: negative; hatched: {about}; compared with the mean where the choice exists"
    lines = wrap(text, max(30, int(17 * cell * width)))
    ax.set_xlabel("\n".join(lines), fontsize=8, loc="left")
    ax.set_title(f"{TITLE}, in units of {shorten(target, 30)}", pad=30)
    return ax


def _pairs(frame: pd.DataFrame, *names: str) -> list[Any]:
    return list(dict.fromkeys(zip(*(frame[name] for name in names), strict=True)))


def _columns(pairs: list[Any]) -> list[Any]:
    """Feature by feature, numbers by size: a unit may have values that those before it lack."""
    own: dict[str, list[Any]] = {}
    for feature, value in pairs:
        own.setdefault(str(feature), []).append(value)
    for values in own.values():
        if all(isinstance(value, Real) for value in values):
            values.sort()
    return [(feature, value) for feature, values in own.items() for value in values]


def _spread(keys: list[tuple[Any, Hashable]]) -> dict[Any, float]:
    """Places of rows or columns, with a gap where the first part of the key changes."""
    out: dict[Any, float] = {}
    place, before = 0.0, None
    for key in keys:
        place += APART if before is not None and key[0] != before else 0.0
        out[key], before = place, key[0]
        place += 1
    return out


def _cells(ax: Axes, frame: pd.DataFrame, across: dict[Any, float], down: dict[Any, float], cell: float) -> None:
    effects = frame["effect"].to_numpy(dtype=float)
    norm, colours, form = symmetric(effects), signed_colours(ax), number_format(effects)
    size = fitting(cell, [signed(effect, form) for effect in effects if effect == effect])
    for unit, layer, feature, value, effect, lower, upper, seen in frame[list(NEEDED)].itertuples(index=False):
        if effect != effect:
            continue
        rows = [row for (name, _), row in down.items() if name == unit]
        top, height = (min(rows), max(rows) - min(rows) + 1) if not layer else (down[unit, layer], 1.0)
        text = signed(effect, form).replace("-", "−") + ("" if seen else "*")
        box = (across[str(feature), value], top, 1.0, height)
        draw_cell(
            ax,
            box,
            colours(norm(effect)),
            text,
            hatched=bool(lower <= 0 <= upper),
            framed=text.startswith("−"),
            size=size,
        )
    if not frame["n_seen"].astype(bool).all():
        ax.text(1.0, -0.01, "* no label has it", transform=ax.transAxes, ha="right", va="top", fontsize=7.5, color=GREY)


def _name_rows(ax: Axes, down: dict[Any, float]) -> None:
    several = {unit for unit, layer in down if layer > 1}
    ax.set_yticks(
        [row + 0.5 for row in down.values()], [f"layer {layer}" if unit in several else "" for unit, layer in down]
    )
    where: Any = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points", "annotation_clip": False}
    for unit in dict.fromkeys(unit for unit, _ in down):
        rows = [row for (name, _), row in down.items() if name == unit]
        middle, beside = (min(rows) + max(rows) + 1) / 2, (-46 if several else -6, 0)
        look: Any = {"ha": "right", "va": "center", "weight": "bold", "fontsize": 8.5}
        ax.annotate(shorten(unit, 24), (0, middle), beside, **where, **look)


def _name_columns(ax: Axes, across: dict[Any, float]) -> None:
    names = ["none" if value is None else shorten(value, 16) for _, value in across]
    ax.xaxis.tick_top()
    ax.set_xticks([column + 0.5 for column in across.values()], names)
    tilted = max(map(len, names)) > 7
    if tilted:
        for label in ax.get_xticklabels():
            label.set(rotation=40, ha="left", rotation_mode="anchor")
    if tilted and len({feature for feature, _ in across}) == 1:
        return
    for feature in dict.fromkeys(feature for feature, _ in across):
        columns = [column for (name, _), column in across.items() if name == feature]
        middle = (min(columns) + max(columns) + 1) / 2
        room = 16 + (4.2 * max(map(len, names)) if tilted else 0)
        where: Any = {"xycoords": ax.get_xaxis_transform(), "textcoords": "offset points", "annotation_clip": False}
        look: Any = {"ha": "center", "va": "bottom", "weight": "bold", "fontsize": 8.5}
        ax.annotate(shorten(feature, 5 * len(columns) + 6), (middle, 1.0), (0, room), **where, **look)
