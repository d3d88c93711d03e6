"""Sets of operations as whole numbers (bit i: operation i), and the order that a graph puts on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Protocol


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


MAX_REFUSED = 16  # sets that are remembered for each first operation


def bits(mask: int) -> Iterator[int]:
    """Numbers of the operations of a set, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def union(table: Sequence[int], mask: int) -> int:
    """All that ``table`` gives for the operations of a set."""
    found = 0
    while mask:  # the innermost loop of all searches: no generator
        low = mask & -mask
        found |= table[low.bit_length() - 1]
        mask ^= low
    return found


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


class Refused:
    """Invalid groups: what holds one is invalid, too. For each operation the smallest that begin with it are kept."""

    def __init__(self) -> None:
        self.by_first: dict[int, list[int]] = {}
        self.firsts = 0

    def add(self, group: int) -> None:
        """Remember an invalid group."""
        first = group & -group
        self.firsts |= first
        there = [bad for bad in self.by_first.get(first, []) if group & ~bad]
        self.by_first[first] = sorted([*there, group], key=int.bit_count)[:MAX_REFUSED]

    def within(self, group: int) -> bool:
        """Whether a group holds one of them."""
        left = self.firsts & group
        while left:
            first = left & -left
            for bad in self.by_first[first]:
                if not bad & ~group:
                    return True
            left ^= first
        return False
