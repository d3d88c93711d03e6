"""Edges of a graph of operations: ancestors, descendants, connected and convex sets, execution order of groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Protocol

from autobuild.cost.fusion.bitmask import bits, union


class Adjacency(Protocol):
    """Adjacency of operations, as bitmasks. Operations are numbered in a topological order."""

    @property
    def n(self) -> int:
        """Number of operations."""

    @property
    def preds(self) -> Sequence[int]:
        """For each operation the mask of its producers."""

    @property
    def succs(self) -> Sequence[int]:
        """For each operation the mask of its consumers."""

    @property
    def neighbours(self) -> Sequence[int]:
        """For each operation the mask of its neighbours: those with a common edge or a common input tensor."""


@dataclass(frozen=True)
class Topology:
    """Edges of a graph and their transitive closure. Every tuple has one bitmask for each operation.

    Attributes:
        preds: Producers.
        succs: Consumers.
        neighbours: Operations with a common edge or a common input tensor.
        ancestors: Operations with a path to it.
        descendants: Operations with a path from it.
    """

    preds: tuple[int, ...]
    succs: tuple[int, ...]
    neighbours: tuple[int, ...]
    ancestors: tuple[int, ...]
    descendants: tuple[int, ...]

    @staticmethod
    def of(wiring: Adjacency) -> Topology:
        """Compute ancestors and descendants from the edges of a graph.

        Raises:
            ValueError: An operation has a producer with a higher number.
        """
        n = wiring.n
        ancestors: list[int] = []
        for i in range(n):
            if wiring.preds[i] >> i:
                raise ValueError(
                    f"operation {i} reads from a later operation; accepted: operations numbered in topological order"
                )
            ancestors.append(wiring.preds[i] | union(ancestors, wiring.preds[i]))
        descendants = [0] * n
        for i in reversed(range(n)):
            descendants[i] = wiring.succs[i] | union(descendants, wiring.succs[i])
        return Topology(tuple(wiring.preds), tuple(wiring.succs), tuple(wiring.neighbours), tuple(ancestors),
                     tuple(descendants))  # fmt: skip

    def __len__(self) -> int:
        return len(self.preds)

    @property
    def everything(self) -> int:
        """The set of all operations."""
        return (1 << len(self.preds)) - 1

    def convex(self, mask: int) -> bool:
        """Whether no path leaves the set and returns to it."""
        return not union(self.descendants, mask) & union(self.ancestors, mask) & ~mask

    def connected(self, mask: int) -> bool:
        """Whether a set is not empty and weakly connected."""
        return bool(mask) and self._piece(mask) == mask

    def pieces(self, mask: int) -> list[int]:
        """Weakly connected components of a set, sorted by their first operation."""
        components = []
        while mask:
            piece = self._piece(mask)
            components.append(piece)
            mask ^= piece
        return components

    def _piece(self, mask: int) -> int:
        piece = edge = mask & -mask
        while edge:
            edge = union(self.neighbours, edge) & mask & ~piece
            piece |= edge
        return piece

    def order_groups(self, groups: Sequence[int]) -> tuple[int, ...] | None:
        """Disjoint groups in an order of execution; None if the graph of groups has a cycle."""
        group_of = {i: number for number, group in enumerate(groups) for i in bits(group)}
        producers = [
            {group_of[i] for i in bits(union(self.preds, group) & ~group) if i in group_of} for group in groups
        ]
        feeds: list[list[int]] = [[] for _ in groups]
        for number, others in enumerate(producers):
            for other in others:
                feeds[other].append(number)
        missing = [len(others) for others in producers]
        first = [group & -group for group in groups]
        ready = [(first[number], number) for number in range(len(groups)) if not missing[number]]
        heapify(ready)
        placed: list[int] = []
        while ready:
            _, number = heappop(ready)
            placed.append(groups[number])
            for fed in feeds[number]:
                missing[fed] -= 1
                if not missing[fed]:
                    heappush(ready, (first[fed], fed))
        return tuple(placed) if len(placed) == len(groups) else None
