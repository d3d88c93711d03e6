"""Positions of the cards in the picture of a space and of the lines between them, in inches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.path import Path

from autobuild.plot._layered_graph import Columns, Edge, Place, layered
from autobuild.plot._space_card import PAD, Card, card
from autobuild.spaces import SearchSpace

GAP, LANE, BETWEEN, RADIUS = 0.3, 0.17, 0.22, 0.13  # inches: columns, lanes of long edges, cards, and the two ends
PAPER = 10.5  # preferred width of a picture in inches; a longer chain is broken into rows
ROUND = 0.1  # of corners

Spot = tuple[float, float, float]  # left, right, middle height


@dataclass(frozen=True)
class Plan:
    """Cards as (left, top, card), the middles of the two ends, the line of every edge, and the frame around all."""

    cards: list[tuple[float, float, Card]]
    ends: tuple[tuple[float, float], tuple[float, float]]
    lines: list[Path]
    left: float
    right: float
    bottom: float
    top: float


def plan(space: SearchSpace) -> Plan:
    """Arrange the units in columns by the longest path from the input; a long chain is broken into rows."""
    count = len(space.units)
    edges = unit_edges(space)
    columns = layered(count + 2, edges)
    chain = len(edges) == count + 1 and len(columns) == count + 2
    share = PAPER / max(1, len(columns) - 2) - GAP - 2 * PAD
    limit = min(1.9, max(1.4 if chain else 0.95, share))  # width of a card's content; a chain can be broken into rows
    cards = {number + 1: card(space, number, limit) for number in range(count)}
    nodes = {place.source: place for entries in columns for place in entries if place.target is None}
    whole = sum(one.width + GAP for one in cards.values()) + 4 * RADIUS
    if chain and whole > PAPER:
        spots, lines = _rows([cards[node] for node in range(1, count + 1)], nodes, whole)
    else:
        spots, lines = _columns(columns, edges, nodes, cards)
    cards = {node: replace(one, width=spots[nodes[node]][1] - spots[nodes[node]][0]) for node, one in cards.items()}
    middles = [(sum(spots[nodes[node]][:2]) / 2, spots[nodes[node]][2]) for node in (0, count + 1)]
    placed = [(spots[nodes[node]][0], spots[nodes[node]][2] + one.height / 2, one) for node, one in cards.items()]
    points = np.concatenate([np.asarray(line.vertices) for line in lines])
    bottom = min(points[:, 1].min(), *(top - one.height for _, top, one in placed))
    top = max(points[:, 1].max(), *(top for _, top, _ in placed))
    right = max(points[:, 0].max(), *(spot[1] for spot in spots.values()))
    return Plan(placed, (middles[0], middles[1]), lines, -0.06, right + 0.06, bottom - 0.08, top + 0.08)


def unit_edges(space: SearchSpace) -> list[Edge]:
    """Joins between units. Node 0 is the input, unit u is node u + 1, the last node is the output."""
    unit_of = [number for number, unit in enumerate(space.units) for _ in unit.stages]
    joins = {(unit_of[a] + 1, unit_of[b] + 1) for a, b in space.joins if unit_of[a] != unit_of[b]}
    nodes = range(1, len(space.units) + 1)
    fed, feeding = {b for _, b in joins}, {a for a, _ in joins}
    first = {(0, node) for node in nodes if node not in fed}
    last = {(node, len(nodes) + 1) for node in nodes if node not in feeding}
    return sorted(joins | first | last)


# --- a long chain in rows -----------------------------------------------------------------------------------------


def _rows(cards: Sequence[Card], nodes: dict[int, Place], whole: float) -> tuple[dict[Place, Spot], list[Path]]:
    """Arrange a chain in rows; a line leads from the end of each row to the start of the next."""
    across = math.ceil(len(cards) / math.ceil(whole / PAPER))
    rows = [cards[start : start + across] for start in range(0, len(cards), across)]
    widths = [max(row[place].width for row in rows if place < len(row)) for place in range(across)]
    lefts = [2 * RADIUS + GAP]
    for width in widths:
        lefts.append(lefts[-1] + width + GAP)
    spots: dict[Place, Spot] = {nodes[0]: (0.0, 2 * RADIUS, 0.0)}
    lines, y, node = [], 0.0, 0
    for number, row in enumerate(rows):
        if number:
            y -= max(one.height for one in rows[number - 1]) / 2 + max(one.height for one in row) / 2 + 2 * BETWEEN
        for x, width, _ in zip(lefts, widths, row, strict=False):
            before, node = spots[nodes[node]], node + 1
            spots[nodes[node]] = (x, x + width, y)
            if x == lefts[0] and number:
                lines.append(_back(before, spots[nodes[node]], y + max(one.height for one in row) / 2 + BETWEEN))
            else:
                lines.append(_through([before, spots[nodes[node]]]))
    last = spots[nodes[node]]
    spots[nodes[node + 1]] = (last[1] + GAP, last[1] + GAP + 2 * RADIUS, y)
    return spots, [*lines, _through([last, spots[nodes[node + 1]]])]


def _back(start: Spot, stop: Spot, y: float) -> Path:
    """Line from the end of a row to the start of the next: right, down, left between the rows, down, and right."""
    far, near, r = start[1] + GAP / 2, stop[0] - GAP / 2 - ROUND, ROUND
    corners = [(start[1], start[2]), (far, start[2]), (far, y), (near, y), (near, stop[2]), (stop[0], stop[2])]
    return _rounded(corners, r)


def _rounded(corners: Sequence[tuple[float, float]], r: float) -> Path:
    """A line along the given corners, which are right angles and are rounded."""
    points, codes = [corners[0]], [Path.MOVETO]
    for (ax, ay), (bx, by), (cx, cy) in zip(corners, corners[1:], corners[2:], strict=False):
        into = (bx - math.copysign(r, bx - ax) * (ax != bx), by - math.copysign(r, by - ay) * (ay != by))
        out = (bx + math.copysign(r, cx - bx) * (cx != bx), by + math.copysign(r, cy - by) * (cy != by))
        points += [into, (bx, by), out]
        codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
    return Path([*points, corners[-1]], [*codes, Path.LINETO])


# --- columns ------------------------------------------------------------------------------------------------------


def _columns(
    columns: Columns, edges: Sequence[Edge], nodes: dict[int, Place], cards: dict[int, Card]
) -> tuple[dict[Place, Spot], list[Path]]:
    """Arrange any graph: one stack of cards per column, with lines between, above and below the cards."""
    spots: dict[Place, Spot] = {}
    roofs, floors, x = [], [], 0.0
    for number, entries in enumerate(columns):
        widths = [cards[place.source].width for place in entries if place.target is None and place.source in cards]
        width = max(widths, default=2 * RADIUS)
        half = _stack(entries, x, width, cards, spots) / 2
        roofs.append(half)
        floors.append(-half)
        stacked = sum(place.target is None for entries in columns[number : number + 2] for place in entries) > 2
        x += width + (1.5 * GAP if stacked else GAP if len(columns) < 10 else 0.7 * GAP)
    over = [edge for edge in edges if _over(edge, columns, nodes)]
    lines = []
    for source, target in sorted(edges, key=lambda edge: nodes[edge[1]].column - nodes[edge[0]].column):
        a, b = nodes[source], nodes[target]
        passing = [Place(column, source, target) for column in range(a.column + 1, b.column)]
        if (source, target) in over:
            y = max(roofs[a.column : b.column + 1]) + LANE
            roofs[a.column + 1 : b.column] = [y] * len(passing)
            lines.append(_bridge(y, (source, target), over, spots, nodes, cards))
            continue
        outer = [place for place in passing if math.isnan(spots[place][2])]
        if outer:
            upper = _above(outer[0], columns)
            edge_of = roofs if upper else floors
            reached = [edge_of[place.column] for place in outer]
            y = max(reached) + LANE if upper else min(reached) - LANE
            for place in outer:
                edge_of[place.column] = y
                spots[place] = (*spots[place][:2], y)
        lines.append(_through([spots[place] for place in (a, *passing, b)]))
    return spots, lines


def _stack(entries: Sequence[Place], x: float, width: float, cards: dict[int, Card], spots: dict[Place, Spot]) -> float:
    """Place the cards of a column around height 0, and return the height of the stack.

    Edges that pass above or below all cards get no height yet, because it must be the same in all their columns.
    """
    whole = [number for number, place in enumerate(entries) if place.target is None]
    core = entries[whole[0] : whole[-1] + 1]
    total = sum(_height(place, cards) for place in core) + BETWEEN * (len(core) - 1)
    y = total / 2
    for place in core:
        height = _height(place, cards)
        spots[place] = (x, x + width, y - height / 2)
        y -= height + BETWEEN
    for place in entries:
        spots.setdefault(place, (x, x + width, math.nan))
    return total


def _height(place: Place, cards: dict[int, Card]) -> float:
    if place.target is not None:
        return 0.0
    return cards[place.source].height if place.source in cards else 2 * RADIUS


def _above(place: Place, columns: Columns) -> bool:
    """Whether a place is above all cards of its column."""
    entries = columns[place.column]
    return all(other.target is not None for other in entries[: entries.index(place)])


def _over(edge: Edge, columns: Columns, nodes: dict[int, Place]) -> bool:
    """Whether a long edge can run above all cards from the top of its source to the top of its target."""
    a, b = nodes[edge[0]], nodes[edge[1]]
    passing = [Place(column, *edge) for column in range(a.column + 1, b.column)]
    return bool(passing) and all(_above(place, columns) for place in (a, *passing, b))


def _bridge(
    y: float,
    edge: Edge,
    over: Sequence[Edge],
    spots: dict[Place, Spot],
    nodes: dict[int, Place],
    cards: dict[int, Card],
) -> Path:
    """Line from the top of the source up to height ``y`` and down to the top of the target; longer ones lie outside."""
    ends = []
    for node, side in ((edge[0], 0), (edge[1], 1)):
        left, right, middle = spots[nodes[node]]
        like = sorted({other[1 - side] for other in over if other[side] == node})
        rank = like.index(edge[1 - side]) if side else len(like) - 1 - like.index(edge[1])
        shift = 0.14 * rank + (0.1 if any(other[1 - side] == node for other in over) else 0.0)
        x = (left + right) / 2 + (-shift if side else shift)
        ends.append((x, middle + _height(nodes[node], cards) / 2))
    (xa, ya), (xb, yb) = ends
    return _rounded([(xa, ya), (xa, y), (xb, y), (xb, yb)], ROUND)


def _through(stops: Sequence[Spot]) -> Path:
    """Smooth line from the right of the first stop to the left of the last, through the stops between."""
    points, codes = [(stops[0][1], stops[0][2])], [Path.MOVETO]
    for number, (left, right, y) in enumerate(stops[1:], start=1):
        x0, y0 = points[-1]
        bend = (left - x0) / 2
        points += [(x0 + bend, y0), (left - bend, y), (left, y)]
        codes += [Path.CURVE4] * 3
        if number < len(stops) - 1:
            points.append((right, y))
            codes.append(Path.LINETO)
    return Path(points, codes)
