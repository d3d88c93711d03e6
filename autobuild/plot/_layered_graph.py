"""Arrange a directed acyclic graph in columns from left to right, with few crossings.

The layered drawing of Sugiyama, Tagawa and Toda (1981): a node's column is the length of the longest path that leads to
it; an edge over several columns passes through an extra place in each column between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean

SWEEPS = 12
MAX_LINKS = 400  # with more links, the declared order is kept

Edge = tuple[int, int]


@dataclass(frozen=True)
class Place:
    """An entry of a column: node ``source``, or where the edge ``source -> target`` passes by."""

    column: int
    source: int
    target: int | None = None


Columns = list[list[Place]]


def layered(nodes: int, edges: Sequence[Edge]) -> Columns:
    """Columns from left to right, the entries of each from top to bottom.

    Args:
        nodes: How many.
        edges: Pairs ``(source, target)`` of node numbers, source < target.
    """
    depth = [0] * nodes
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        depth[target] = max(depth[target], depth[source] + 1)
    columns: Columns = [[] for _ in range(max(depth) + 1)]
    links: list[tuple[Place, Place]] = []
    for source, target in sorted(edges):  # passing edges come first, so that long edges run above the nodes
        passing = [Place(column, source, target) for column in range(depth[source] + 1, depth[target])]
        for place in passing:
            columns[place.column].append(place)
        links += pairwise([Place(depth[source], source), *passing, Place(depth[target], target)])
    for node in range(nodes):
        columns[depth[node]].append(Place(depth[node], node))
    return _untangled(columns, links) if len(links) <= MAX_LINKS else columns


def crossings(columns: Columns, links: Sequence[tuple[Place, Place]]) -> int:
    """How many pairs of links between neighbouring columns cross."""
    row = {place: number for entries in columns for number, place in enumerate(entries)}
    return sum(
        a.column == c.column and (row[a] - row[c]) * (row[b] - row[d]) < 0 for (a, b), (c, d) in combinations(links, 2)
    )


def _untangled(columns: Columns, links: Sequence[tuple[Place, Place]]) -> Columns:
    """Sort each column by the mean row of its neighbours, in both directions, and keep the order with fewest crossings.

    Entries with equal means are reversed in every second sweep, so that pairs can exchange places together.
    """
    before: dict[Place, list[Place]] = {place: [] for entries in columns for place in entries}
    after: dict[Place, list[Place]] = {place: [] for entries in columns for place in entries}
    for a, b in links:
        before[b].append(a)
        after[a].append(b)
    best, fewest = columns, crossings(columns, links)
    tried = [list(entries) for entries in columns]
    for sweep in range(SWEEPS):
        if not fewest:
            break
        forward = sweep % 2 == 0
        turned = sweep // 2 % 2 == 0
        for number in range(len(tried)) if forward else range(len(tried) - 1, -1, -1):
            row = {place: at / len(entries) for entries in tried for at, place in enumerate(entries)}
            beside = before if forward else after

            def mean(place: Place, row: dict[Place, float] = row, beside: dict[Place, list[Place]] = beside) -> float:
                return fmean([row[other] for other in beside[place]] or [row[place]])

            tried[number] = sorted(reversed(tried[number]) if turned else tried[number], key=mean)
        count = crossings(tried, links)
        if count < fewest:
            best, fewest = [list(entries) for entries in tried], count
    return best
