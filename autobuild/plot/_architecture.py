"""One architecture as a graph whose layers are coloured by their scores at every hop, as in the AutoBuild paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from autobuild._typing import BoolArray, FloatArray
from autobuild.errors import ConfigError
from autobuild.plot._inputs import scores_of
from autobuild.plot._style import COLOURS, GREY, INK, ON_COLOUR, fold, message, own_axes, root, shorten, styled

if TYPE_CHECKING:
    from autobuild.importance import Scores
    from autobuild.models import FittedModel
    from autobuild.spaces import Architecture

# Inches at full size: nodes, the gaps between nodes and between units, and how high an arc may reach.
HEIGHT, GAP, UNIT_GAP, ARC, LETTER = 0.34, 0.17, 0.16, 0.4, 0.068
FONT = 7.5


@dataclass(frozen=True)
class _Plan:
    """Positions in inches: x of each node's centre, y of each hop's row, width of a node."""

    x: FloatArray
    y: FloatArray
    width: float
    arc: float
    right: float
    top: float
    tilted: bool


@styled
def architecture(
    scores: Scores | FittedModel, arch: Architecture | str, hops: Sequence[int] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw an architecture with one column per layer; colours are in units of the target.

    Additive scores give one row, the effect of each layer. Norms of a graph encoder give one row per hop: at hop m a
    layer stands for its m-hop subgraph, which is the layer and the layers up to m steps before it. The last layer of a
    unit is outlined at the hop at which this subgraph is exactly the unit, because candidates are scored there.

    Args:
        scores: Scores, or a fitted model.
        arch: The architecture, or its text.
        hops: The hops to draw, in this order; all of the model by default. Additive scores have none.
        ax: Where to draw; a new figure by default, as large as the architecture needs.

    Raises:
        ConfigError: For a hop that the model does not have.
        SpaceError: If the architecture is not in the model's space.
    """
    held = scores_of(scores, "architecture", frames=False)
    space = held.model.space
    parsed = space.parse(arch) if isinstance(arch, str) else arch
    frame = held.node_scores(parsed)
    count = sum(str(name).startswith("hop") for name in frame)
    shown = list(range(count)) if hops is None else list(hops)
    for hop in shown:
        if isinstance(hop, bool) or hop not in range(count):
            has = f"the model has hops 0 to {count - 1}" if count else "these scores have no hops"
            raise ConfigError(f"hop {hop!r}: {has}")
    if count and not shown:
        raise ConfigError(f"no hop to draw: give some of 0 to {count - 1}")
    columns = [f"hop{hop}" for hop in shown] or ["effect"]
    graph = space.graph(parsed)
    values = frame[columns].to_numpy(dtype=float).T
    plan = _plan(frame, graph.edges, len(columns))
    new = ax is None
    ax = own_axes(ax, plan.right + 1.5, plan.top + 0.9)
    ax.set_xlim(-0.1, plan.right)
    ax.set_ylim(0, plan.top)
    title = f"{'Scores hop by hop' if count else 'What each layer adds'} ({shorten(space.name, 24)})"
    if not np.isfinite(values).any():
        return message(ax, title, "No score is a number.")
    ax.set_title(title)
    room = (1.0, 1.0) if new else _room(ax, plan)
    exact = _sees_its_unit(frame, graph.edges, shown)
    _edges(ax, plan, graph.edges)
    _nodes(ax, plan, frame["op"].to_list(), values, exact, room, held.model.target)
    _units(ax, plan, frame["unit"].to_list(), room[0])
    ax.set_yticks(plan.y.tolist(), [f"hop {hop}" for hop in shown] or ["effect"])
    ax.tick_params(axis="both", length=0)
    words = (
        ["hop m: a layer and the layers up to m steps before it"] if count else ["differences from the average layer"]
    )
    if exact.any():
        words.append("outlined: the last layer, where it sees exactly its own unit")
    ax.set_xticks([])
    wide = max(24, int(14.5 * plan.right * room[0]))  # letters that fit below the layers
    lines = ["; ".join(words)] if wide > 115 else [line for part in words for line in wrap(part, wide)]
    ax.set_xlabel("\n".join(lines), fontsize=8)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def _plan(frame: pd.DataFrame, edges: Sequence[tuple[int, int]], rows: int) -> _Plan:
    longest = max(len(line) for op in frame["op"] for line in fold(op).split("\n"))
    width = max(0.4, LETTER * longest + 0.1)
    units = frame["unit"].to_list()
    starts = np.array([False, *(a != b for a, b in pairwise(units))])
    x = width / 2 + np.arange(len(units)) * (width + GAP) + np.cumsum(starts) * UNIT_GAP
    arc = max((_reach(b - a) for a, b in edges if b - a > 1), default=0.0)
    pitch = HEIGHT + 0.2 + arc
    y = np.asarray(0.1 + HEIGHT / 2 + np.arange(rows)[::-1] * pitch, dtype=np.float64)
    sizes = [(name, len(list(run))) for name, run in groupby(units)]
    tilted = any(LETTER * len(name) > n * width + (n - 1) * GAP + UNIT_GAP for name, n in sizes)
    room = 0.35 + (min(max(len(name) for name, _ in sizes), 20) * LETTER * 0.75 if tilted else 0.0)
    return _Plan(x, y, width, arc, float(x[-1] + width / 2 + 0.1), float(y[0] + HEIGHT / 2 + arc + room), tilted)


def _reach(span: int) -> float:
    """Height in inches of an arc over ``span`` columns."""
    return min(0.08 + 0.04 * span, ARC)


def _sees_its_unit(frame: pd.DataFrame, edges: Sequence[tuple[int, int]], hops: Sequence[int]) -> BoolArray:
    """Nodes whose m-hop subgraph is exactly their unit, with m = depth of the unit - 1. Shape ``(hops, N)``."""
    exact = np.zeros((len(hops), len(frame)), dtype=bool)
    before: dict[int, set[int]] = {node: set() for node in range(len(frame))}
    for source, target in edges:
        before[target].add(source)
    for _, members in frame.groupby("unit", sort=False):
        nodes = members.index.to_list()
        seen = {nodes[-1]}
        for _ in range(len(nodes) - 1):
            seen |= {source for node in seen for source in before[node]}
        if seen == set(nodes) and len(nodes) - 1 in hops:
            exact[list(hops).index(len(nodes) - 1), nodes[-1]] = True
    return exact


def _edges(ax: Axes, plan: _Plan, edges: Sequence[tuple[int, int]]) -> None:
    look: Any = {"arrowstyle": "-|>", "mutation_scale": 6, "color": GREY, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
    for y in plan.y:
        for a, b in edges:
            if b - a == 1:
                ends = (plan.x[a] + plan.width / 2, y), (plan.x[b] - plan.width / 2, y)
                ax.add_patch(FancyArrowPatch(*ends, **look))
            else:
                roof, span = y + HEIGHT / 2, plan.x[b] - plan.x[a]
                rad = -2 * _reach(b - a) / span  # the top of an arc is half as high as its control point
                ends = (plan.x[a], roof), (plan.x[b], roof)
                ax.add_patch(FancyArrowPatch(*ends, connectionstyle=f"arc3,rad={rad}", **look))


def _nodes(
    ax: Axes,
    plan: _Plan,
    texts: Sequence[str],
    values: FloatArray,
    exact: BoolArray,
    room: tuple[float, float],
    target: str,
) -> None:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    norm = Normalize(low, high if high > low else low + (abs(low) or 1.0) * 1e-6)
    colours = mpl.colormaps[COLOURS]
    boxes = [
        FancyBboxPatch(
            (x - plan.width / 2, y - HEIGHT / 2), plan.width, HEIGHT, boxstyle="round,pad=0,rounding_size=0.07"
        )
        for y in plan.y
        for x in plan.x
    ]
    outlined = exact.ravel()
    drawn = PatchCollection(
        boxes,
        cmap=colours,
        norm=norm,
        edgecolors=[INK if mark else "white" for mark in outlined],
        linewidths=[2.0 if mark else 0.5 for mark in outlined],
        zorder=2,
    )
    drawn.set_array(values.ravel())
    drawn.set_gid(ON_COLOUR)
    ax.add_collection(drawn, autolim=False)
    look = _type(texts, plan, room)
    for y, row in zip(plan.y, values, strict=True):
        for x, text, value in zip(plan.x, texts, row, strict=True):
            red, green, blue, _ = colours(norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 and np.isfinite(value)
            colour = "white" if dark else INK
            ax.text(x, y, fold(text), ha="center", va="center", color=colour, linespacing=1, gid=ON_COLOUR, **look)
    bar = root(ax).colorbar(drawn, ax=ax, pad=0.01, aspect=30, fraction=0.04)
    letters = max(8, int(13 * plan.top))
    cut = " " if len(target) + 19 <= letters else "\n"
    bar.set_label(f"score, in units of{cut}{shorten(target, letters)}")
    bar.ax.tick_params(labelsize=8.5, color=GREY)
    bar.outline.set_visible(False)


def _room(ax: Axes, plan: _Plan) -> tuple[float, float]:
    """Size of the given axes, without the colour bar, as a fraction of the planned size, in x and y; at most 1."""
    box, dpi = ax.get_window_extent(), root(ax).dpi
    return min(1.0, 0.85 * box.width / dpi / (plan.right + 0.1)), min(1.0, box.height / dpi / plan.top)


def _type(texts: Sequence[str], plan: _Plan, room: tuple[float, float]) -> dict[str, Any]:
    """Font size and rotation of the layers' texts; they are vertical if the boxes are narrower than high."""
    lines = [fold(text).split("\n") for text in texts]
    long, high = max(len(line) for text in lines for line in text), max(map(len, lines))
    width, height = plan.width * room[0] * 72, HEIGHT * room[1] * 72  # points
    sizes = [
        (min(FONT, a / (0.62 * long + 0.8), b / (1.1 * high + 0.2)), turn)
        for a, b, turn in ((width, height, 0.0), (height, width, 90.0))
    ]
    size, turn = max(sizes, key=lambda pair: pair[0])
    return {"fontsize": max(size, 3.0), "rotation": turn}


def _units(ax: Axes, plan: _Plan, units: Sequence[str], scale: float) -> None:
    """A bracket with its name above the layers of each unit."""
    y = plan.y[0] + HEIGHT / 2 + plan.arc + 0.08
    start = 0
    for name, run in groupby(units):
        end = start + len(list(run)) - 1
        left, right = plan.x[start] - plan.width / 2, plan.x[end] + plan.width / 2
        ax.plot([left, left, right, right], [y, y + 0.05, y + 0.05, y], color=GREY, linewidth=1.0)
        ax.text(
            (left + right) / 2,
            y + 0.08,
            shorten(name, 20),
            ha="left" if plan.tilted else "center",
            va="bottom",
            rotation=45 if plan.tilted else 0,
            rotation_mode="anchor",
            fontsize=max(8.5 * scale, 6.0),
        )
        start = end + 1
