"""The card of one unit in the picture of a space: its content with positions in inches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from autobuild.plot._style import shorten
from autobuild.spaces import SearchSpace, Unit, Value, readable_count

# Inches: heights of a line and of a value in it, margins of the card and between values, from square to square.
LINE, CHIP, PAD, SPACE, SQUARE = 0.2, 0.15, 0.08, 0.045, 0.11
HEAD, BODY, SMALL = 8.5, 7.5, 7.0  # points
MAX_VALUES, MAX_SQUARES, MAX_ENUMERATED = 8, 8, 1_000_000


@dataclass(frozen=True)
class Chip:
    """A feature value, at ``x``, ``y`` in inches from the card's top left; ``left`` is false if no candidate has it."""

    text: str
    x: float
    y: float
    width: float
    feature: int
    left: bool


@dataclass(frozen=True)
class Word:
    """A text at ``x``, ``y``; ``feature`` colours it, -1 is grey."""

    text: str
    x: float
    y: float
    size: float
    feature: int = -1


@dataclass(frozen=True)
class Squares:
    """A row of layers: how many there always are, and how many there may be."""

    x: float
    y: float
    least: int
    most: int


@dataclass(frozen=True)
class Card:
    """The card of one unit: its size in inches and its content, from the top left downwards."""

    name: str
    width: float
    height: float
    chips: tuple[Chip, ...]
    words: tuple[Word, ...]
    squares: tuple[Squares, ...]
    foot: str


@lru_cache(maxsize=4096)
def measured(text: str, size: float, bold: bool = False) -> float:
    """Width of a text in inches."""
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    return float(TextPath((0, 0), text.replace(" ", "i"), size=size, prop=font).get_extents().width) * 1.05 / 72 + 0.01


def card(space: SearchSpace, number: int, limit: float) -> Card:
    """Make the card of a unit, with content about ``limit`` inches wide unless a text is wider."""
    unit = space.units[number]
    order = [feature.name for feature in space.features]
    deep = any(stage.depths != (1,) for stage in space.stages)
    chips: list[Chip] = []
    words: list[Word] = []
    squares: list[Squares] = []
    y = LINE + PAD + LINE / 2
    for stage, (depths, values) in zip(unit.stages, _left(unit), strict=True):
        heading = [shorten(stage.name, 20)] if len(unit.stages) > 1 else []
        x = PAD
        if deep:
            heading.append(layers_said(depths, stage.tied))
            if depths[-1] <= MAX_SQUARES:
                squares.append(Squares(x, y, depths[0], depths[-1]))
                x += SQUARE * depths[-1] + SPACE
        if heading:
            words.append(Word(": ".join(heading), x, y, BODY))
            y += LINE
        partly = stage.once if not stage.tied and stage.depths[-1] > 1 else ()
        names = [shorten(f.name, 16) + (" (once)" if f.name in partly else "") for f in stage.features]
        rows = [values_said(feature.values, values[feature.name]) for feature in stage.features]
        wide = max(map(_width, names), default=0.0)
        aligned = all(wide + sum(_chip(text) + SPACE for text, _ in row) <= limit + 0.2 for row in rows)
        for feature, name, row in zip(stage.features, names, rows, strict=True):
            place = order.index(feature.name)
            words.append(Word(name, PAD, y, BODY, place))
            start = x = PAD + (wide if aligned else _width(name)) + 0.06
            for text, kept in row:
                if x > start and x + _chip(text) > limit + PAD:
                    x, y = start, y + LINE
                chips.append(Chip(text, x, y, _chip(text), place, kept))
                x += _chip(text) + SPACE
            y += LINE
    foot = _foot(unit)
    right = max(
        measured(shorten(unit.name, 24), HEAD, bold=True) + PAD,
        measured(foot, SMALL) + PAD,
        *(chip.x + chip.width for chip in chips),
        *(word.x + measured(word.text, word.size) for word in words),
    )
    return Card(
        shorten(unit.name, 24), right + PAD, y + LINE / 2 + PAD / 2, tuple(chips), tuple(words), tuple(squares), foot
    )


def _width(name: str) -> float:
    return measured(name, BODY)


def _chip(text: str) -> float:
    return max(measured(text, SMALL) + 2 * SPACE, CHIP)


def _foot(unit: Unit) -> str:
    def text(count: int) -> str:
        return f"{count:,}" if count < 10**7 else readable_count(count)

    whole = f" of {text(unit.full_size)}" if unit.kept is not None else ""
    return f"{text(unit.size)}{whole} candidate{'' if unit.size == 1 and not whole else 's'}"


def layers_said(depths: tuple[int, ...], tied: bool) -> str:
    """``"2–4 layers"``, ``"1 layer"``, ``"1, 3 layers"``; tied ones are ``equal``."""
    run = len(depths) > 1 and depths == tuple(range(depths[0], depths[-1] + 1))
    listed = ", ".join(map(str, depths)) if len(depths) < 6 else f"{depths[0]} … {depths[-1]}"
    text = f"{depths[0]}–{depths[-1]}" if run else listed
    return f"{text}{' equal' if tied and depths[-1] > 1 else ''} layer{'' if depths == (1,) else 's'}"


def values_said(values: tuple[Value | None, ...], left: set[Value | None]) -> list[tuple[str, bool]]:
    """Texts of a feature's values and whether they are left; long lists are written as first, last and step."""
    if len(values) <= MAX_VALUES:
        return [(shorten(value, 18), value in left) for value in values]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    steps = set(np.diff(numbers).tolist()) if len(numbers) == len(values) else set()
    if len(steps) == 1 and left == set(values):
        return [(f"{values[0]}–{values[-1]}", True), (f"step {steps.pop():g}", True)]
    some = [(shorten(value, 18), value in left) for value in values[: MAX_VALUES - 3]]
    return [*some, (f"… {len(values) - len(some) - 1:,} more", True), (shorten(values[-1], 18), values[-1] in left)]


def _left(unit: Unit) -> list[tuple[tuple[int, ...], dict[str, set[Value | None]]]]:
    """For each stage, the depths and the values of each feature that some candidate still has."""
    if unit.kept is None or unit.size > MAX_ENUMERATED:
        return [(stage.depths, {f.name: set(f.values) for f in stage.features}) for stage in unit.stages]
    out = []
    for stage, runs in zip(unit.stages, unit.runs(np.arange(unit.size)), strict=True):
        depths = tuple(int(depth) for depth in np.unique((runs >= 0).sum(axis=1)))
        used = [stage.layer_dict(int(digit)) for digit in np.unique(runs[runs >= 0])]
        out.append((depths, {feature.name: {layer[feature.name] for layer in used} for feature in stage.features}))
    return out
