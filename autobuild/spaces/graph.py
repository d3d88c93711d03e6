"""One architecture as a graph with named features, for people, exporters and other libraries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autobuild.spaces.stage import Digits, Value

if TYPE_CHECKING:
    from autobuild.spaces.space import Architecture, SearchSpace
    from autobuild.spaces.unit import Candidate


@dataclass(frozen=True)
class ArchitectureGraph:
    """A directed acyclic graph; a node is a layer.

    Attributes:
        nodes: For each node, ``{feature name: value}`` including ``unit`` and ``layer``.
        edges: Pairs ``(source, target)`` of node numbers; source < target.
        roots: For each stage of the graph, the number of its last node, the root of its m-hop subgraphs.
    """

    nodes: tuple[dict[str, Value | None], ...]
    edges: tuple[tuple[int, int], ...]
    roots: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """The graph as JSON-ready data."""
        return {"nodes": list(self.nodes), "edges": [list(e) for e in self.edges], "roots": list(self.roots)}


def architecture_graph(space: SearchSpace, arch: Architecture) -> ArchitectureGraph:
    """Graph of an architecture: each stage is a chain, and stages are joined as the space declares."""
    return _graph(space, arch.runs, range(len(space.stages)), space.joins)


def candidate_graph(space: SearchSpace, unit: str | int, candidate: Candidate) -> ArchitectureGraph:
    """Graph of one candidate alone; its nodes have the same ``unit`` and ``layer`` as in a whole architecture."""
    number = space.unit_number(unit)
    part = range(*space._unit_stages[number].indices(len(space.stages)))
    place = {stage: i for i, stage in enumerate(part)}
    joins = [(place[a], place[b]) for a, b in space.joins if a in place and b in place]
    return _graph(space, candidate.digits, part, joins)


def _graph(
    space: SearchSpace, runs: Sequence[Digits], stages: range, joins: Sequence[tuple[int, int]]
) -> ArchitectureGraph:
    names = [feature.name for feature in space.features]
    nodes: list[dict[str, Value | None]] = []
    edges: list[tuple[int, int]] = []
    firsts, lasts = [], []
    for number, run in zip(stages, runs, strict=True):
        stage = space.stages[number]
        firsts.append(len(nodes))
        for position, digit in enumerate(run, start=1):
            if position > 1:
                edges.append((len(nodes) - 1, len(nodes)))
            own = stage.layer_dict(digit)
            nodes.append({**{name: own.get(name) for name in names}, "unit": stage.name, "layer": position})
        lasts.append(len(nodes) - 1)
    edges += [(lasts[a], firsts[b]) for a, b in joins]
    return ArchitectureGraph(tuple(nodes), tuple(sorted(edges)), tuple(lasts))
