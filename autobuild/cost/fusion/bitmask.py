"""Sets of operations as bitmasks: bit i of a whole number stands for operation i."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

MAX_KEPT = 16  # invalid groups that are stored for each first operation


def bits(mask: int) -> Iterator[int]:
    """Numbers of the operations in a set, in ascending order."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def union(table: Sequence[int], mask: int) -> int:
    """Union of ``table[i]`` over the operations i of a set."""
    joined = 0
    while mask:  # the innermost loop of all searches, so it avoids a generator
        low = mask & -mask
        joined |= table[low.bit_length() - 1]
        mask ^= low
    return joined


class InvalidGroups:
    """Invalid groups, where validity is hereditary: every superset of one is invalid. The smallest ones are kept."""

    def __init__(self) -> None:
        self.by_first: dict[int, list[int]] = {}
        self.firsts = 0

    def add(self, group: int) -> None:
        """Add an invalid group."""
        first = group & -group
        self.firsts |= first
        smaller = [bad for bad in self.by_first.get(first, []) if group & ~bad]
        self.by_first[first] = sorted([*smaller, group], key=int.bit_count)[:MAX_KEPT]

    def any_within(self, group: int) -> bool:
        """Whether a group contains one of them."""
        left = self.firsts & group
        while left:
            first = left & -left
            for bad in self.by_first[first]:
                if not bad & ~group:
                    return True
            left ^= first
        return False
