"""Walks and paths through graphs of architectures whose stages do not form a chain."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autobuild.spaces import SearchSpace
from autobuild.spaces.isomorphism import CELL_INPUT, simplified_cell
from autobuild.spaces.stage import Digits, Stage

FloatArray = NDArray[np.float64]
Runs = tuple[Digits, ...]
Terms = list[tuple[int, int]]  # (node or CELL_INPUT, how often it is added)

WALK_HOPS = 3
MAX_LABELS = 16  # kinds of layers for which paths are counted; with more, each kind occurs too rarely
KEPT = 2**14  # networks whose walks are kept: searches ask for the same ones in every round


@dataclass(frozen=True)
class Flow:
    """The graph of an architecture without identity layers and layers that do not affect the output.

    Attributes:
        feeders: Node -> terms that are summed as its input; a node has a larger number than those that feed it.
        labels: Node -> text of its layer.
        output: Terms that are summed as the output.
    """

    feeders: dict[int, Terms]
    labels: dict[int, str]
    output: Terms


def flow(space: SearchSpace, runs: Runs) -> Flow:
    """The graph of an architecture, simplified by the identities and zero operations that the space declares."""
    identity = space.identity
    if identity is not None and identity.cut is not None:
        inputs, labels, output = simplified_cell(space, runs)
        return Flow({node: list(fed) for node, fed in inputs.items()}, labels, list(output))
    feeders: dict[int, Terms] = {}
    texts: dict[int, str] = {}
    first, last, node = [], [], 0
    for stage, run in zip(space.stages, runs, strict=True):
        first.append(node)
        for digit in run:
            feeders[node] = [(node - 1, 1)] if node > first[-1] else []
            texts[node] = _text(stage, digit)
            node += 1
        last.append(node - 1)
    for source, target in space.joins:
        feeders[first[target]].append((last[source], 1))
    for start in first:
        feeders[start] = feeders[start] or [(CELL_INPUT, 1)]
    feeding = {source for fed in feeders.values() for source, _ in fed}
    return Flow(feeders, texts, [(end, 1) for end in last if end not in feeding])


def _text(stage: Stage, digit: int) -> str:
    """A layer as text of its feature values, as in :func:`autobuild.spaces.isomorphism.simplified_cell`."""
    return "_".join(str(value) for value in stage.layers[digit])


@functools.lru_cache(maxsize=KEPT)
def walks_and_paths(space: SearchSpace, runs: Runs) -> tuple[Counter[str], FloatArray]:
    """:func:`walks_of` and :func:`path_numbers` of one network; both are shared and must not be changed."""
    graph = flow(space, runs)
    return walks_of(graph), path_numbers(space, [graph])[0]


def walks_of(graph: Flow) -> Counter[str]:
    """Count the walks of up to three hops through the graph, named by the texts of their layers.

    The walks of m hops that end in a node are what an m-hop embedding of the node can distinguish. The input and the
    output count as nodes, so that a short path from input to output is one walk.
    """
    ends: dict[int, Counter[str]] = {CELL_INPUT: Counter({"in": 1})}
    walks: Counter[str] = Counter()
    for node in [*sorted(graph.labels), None]:
        label, fed = ("out", graph.output) if node is None else (graph.labels[node], graph.feeders[node])
        ending: Counter[str] = Counter({label: 1})
        for source, times in fed:
            for walk, count in ends[source].items():
                if walk.count(">") < WALK_HOPS:
                    ending[f"{walk}>{label}"] += times * count
        if node is not None:
            ends[node] = ending
        walks.update(ending)
    return walks


@dataclass
class _Paths:
    """Statistics of all paths from the input to a node: number, length, and number of layers of each kind."""

    count: float
    total: FloatArray  # sums over paths; the first entry counts all layers, every other one a kind of layer
    most: FloatArray
    least: FloatArray


def path_numbers(space: SearchSpace, graphs: Sequence[Flow]) -> FloatArray:
    """Number of paths from input to output; mean, maximum and minimum of their layers, in all and of each kind.

    A network without any path has -1 instead of lengths. Shape ``(n, columns)``.
    """
    places = _places(space)
    return np.array([_numbers(graph, places) for graph in graphs]).reshape(len(graphs), -1)


@functools.lru_cache(maxsize=16)
def _places(space: SearchSpace) -> dict[str, int]:
    """Number, from 1 on, of each kind of layer whose paths are counted."""
    kinds = list(dict.fromkeys(_text(stage, digit) for stage in space.stages for digit in range(len(stage.layers))))
    return {kind: place for place, kind in enumerate(kinds, start=1)} if len(kinds) <= MAX_LABELS else {}


def _numbers(graph: Flow, places: dict[str, int]) -> FloatArray:
    width = 1 + len(places)
    paths = {CELL_INPUT: _Paths(1.0, np.zeros(width), np.zeros(width), np.zeros(width))}
    for node in sorted(graph.labels):
        step = np.zeros(width)
        step[0] = 1
        place = places.get(graph.labels[node])
        if place is not None:
            step[place] = 1
        joined = _joined([(paths[source], times) for source, times in graph.feeders[node]], width)
        paths[node] = _Paths(joined.count, joined.total + joined.count * step, joined.most + step, joined.least + step)
    out = _joined([(paths[source], times) for source, times in graph.output], width)
    if not out.count:
        return np.concatenate([[0.0, 0.0], np.full(3 * width, -1.0)])
    direct = float(sum(times for source, times in graph.output if source == CELL_INPUT))
    return np.concatenate([[np.log1p(out.count), direct], out.total / out.count, out.most, out.least])


def _joined(parts: Sequence[tuple[_Paths, int]], width: int) -> _Paths:
    parts = [(part, times) for part, times in parts if part.count]
    if not parts:
        return _Paths(0.0, np.zeros(width), np.zeros(width), np.zeros(width))
    (first, times), *others = parts
    count, total, most, least = first.count * times, first.total * times, first.most, first.least
    for part, times in others:
        count, total = count + part.count * times, total + part.total * times
        most, least = np.maximum(most, part.most), np.minimum(least, part.least)
    return _Paths(count, total, most, least)
