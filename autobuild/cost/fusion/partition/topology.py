"""Edges of a graph of operations, and what follows from them: ancestors, connected and convex sets, execution order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from autobuild.cost.fusion.bitmask import bits, union


class Wiring(Protocol):
    """What a graph says about its operations; numbers are a topological order (see :class:`GroupCosts`)."""

    @property
    def n(self) -> int:
        """How many operations there are."""

    @property
    def preds(self) -> Sequence[int]:
        """For each operation the operations that feed it."""

    @property
    def succs(self) -> Sequence[int]:
        """For each operation the operations that it feeds."""

    @property
    def neighbours(self) -> Sequence[int]:
        """For each operation those that it is connected to: an edge, or an input that both read."""


@dataclass(frozen=True)
class Order:
    """A graph's edges and what follows from them; every list has one set for each operation.

    Attributes:
        preds: Operations that feed it.
        succs: Operations that it feeds.
        neighbours: Operations that it is connected to.
        ancestors: Operations that it needs, through any path.
        descendants: Operations that need it.
    """

    preds: tuple[int, ...]
    succs: tuple[int, ...]
    neighbours: tuple[int, ...]
    ancestors: tuple[int, ...]
    descendants: tuple[int, ...]

    @staticmethod
    def of(wiring: Wiring) -> Order:
        """Read a graph's wiring.

        Raises:
            ValueError: If an operation is fed by one that does not come before it.
        """
        n = wiring.n
        ancestors: list[int] = []
        for i in range(n):
            if wiring.preds[i] >> i:
                raise ValueError(f"operation {i} is fed by one that does not come before it: no topological order")
            ancestors.append(wiring.preds[i] | union(ancestors, wiring.preds[i]))
        descendants = [0] * n
        for i in reversed(range(n)):
            descendants[i] = wiring.succs[i] | union(descendants, wiring.succs[i])
        return Order(tuple(wiring.preds), tuple(wiring.succs), tuple(wiring.neighbours), tuple(ancestors),
                     tuple(descendants))  # fmt: skip

    def __len__(self) -> int:
        return len(self.preds)

    @property
    def everything(self) -> int:
        """The set of all operations."""
        return (1 << len(self.preds)) - 1

    def convex(self, mask: int) -> bool:
        """Whether no path leaves the set and comes back."""
        return not union(self.descendants, mask) & union(self.ancestors, mask) & ~mask

    def connected(self, mask: int) -> bool:
        """Whether a set is one piece (the empty set is none)."""
        return bool(mask) and self._piece(mask) == mask

    def pieces(self, mask: int) -> list[int]:
        """The weakly connected pieces of a set, by their first operation."""
        found = []
        while mask:
            piece = self._piece(mask)
            found.append(piece)
            mask ^= piece
        return found

    def _piece(self, mask: int) -> int:
        piece = edge = mask & -mask
        while edge:
            edge = union(self.neighbours, edge) & mask & ~piece
            piece |= edge
        return piece

    def order_groups(self, groups: Sequence[int]) -> tuple[int, ...] | None:
        """Disjoint groups in an order in which they can be executed; None where they wait for one another."""
        owner = {i: number for number, group in enumerate(groups) for i in bits(group)}
        waits = [{owner[i] for i in bits(union(self.preds, group) & ~group) if i in owner} for group in groups]
        feeds: list[list[int]] = [[] for _ in groups]
        for number, others in enumerate(waits):
            for other in others:
                feeds[other].append(number)
        missing = [len(others) for others in waits]
        ready = [number for number in range(len(groups)) if not missing[number]]
        placed: list[int] = []
        while ready:
            number = min(ready, key=lambda k: groups[k] & -groups[k])
            ready.remove(number)
            placed.append(groups[number])
            for fed in feeds[number]:
                missing[fed] -= 1
                if not missing[fed]:
                    ready.append(fed)
        return tuple(placed) if len(placed) == len(groups) else None
