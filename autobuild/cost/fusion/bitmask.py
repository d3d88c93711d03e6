"""Sets of operations as bitmasks: bit i of a whole number stands for operation i."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
