"""The parts of a network that can be partitioned one by one, and the groups that each may be made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autobuild.cost.fusion.bitmask import bits, union
from autobuild.cost.fusion.deadline import NEVER, Deadline
from autobuild.cost.fusion.partition.topology import Order


def parts(order: Order, groups: Iterable[int], deadline: Deadline = NEVER) -> list[int]:
    """Sets of operations that can be partitioned one by one, in an order of execution.

    Operations that some feasible group joins stand together, and so do such sets where each waits for the other. Then
    no group reaches out of a part, and no path leaves a part and comes back, so that partitions of the parts with
    acyclic quotients are together one of the network.
    """
    owner = [1 << i for i in range(len(order))]
    for number, group in enumerate(groups):
        if not number & 1023:
            deadline.check()
        if group & (group - 1) and (joined := union(owner, group)) != owner[group.bit_length() - 1]:
            for i in bits(joined):
                owner[i] = joined
    sets = list(dict.fromkeys(owner))
    while (placed := order.order_groups(sets)) is None:
        deadline.check()
        # Two sets wait for each other exactly if each holds an ancestor of the other, perhaps through further sets.
        sets = _join_circles(order, sets)
    return list(placed)


def _join_circles(order: Order, sets: list[int]) -> list[int]:
    """Sets in a circle made one; what a set reaches is followed through whole sets."""
    owner = {i: mask for mask in sets for i in bits(mask)}

    def closure(mask: int, table: tuple[int, ...]) -> int:
        reached = edge = mask
        while edge:
            touched = 0
            for i in bits(union(table, edge) & ~reached):
                touched |= owner[i]
            edge = touched & ~reached
            reached |= touched
        return reached

    joined: list[int] = []
    left = 0
    for mask in sets:
        left |= mask
    for mask in sets:
        if mask & left:
            circle = closure(mask, order.succs) & closure(mask, order.preds)
            joined.append(circle)
            left &= ~circle
    return joined


@dataclass(frozen=True)
class Choices:
    """The feasible groups of one part, ready to be appended to a down-set.

    Attributes:
        part: The operations.
        preds: What feeds each operation, inside the part.
        succs: What each operation feeds, inside the part.
        by_first: For each operation the groups that it is the first of: the set, what must have been executed before,
            DRAM bytes. The first operation of a group waits for nothing inside it.
    """

    part: int
    preds: tuple[int, ...]
    succs: tuple[int, ...]
    by_first: dict[int, list[tuple[int, int, int]]]

    @staticmethod
    def of(order: Order, part: int, groups: Mapping[int, int]) -> Choices:
        """Groups inside a part; those elsewhere are left out."""
        by_first: dict[int, list[tuple[int, int, int]]] = {i: [] for i in bits(part)}
        preds = tuple(mask & part for mask in order.preds)
        for group, dram in groups.items():
            if group & part:
                needs = union(preds, group) & ~group
                by_first[(group & -group).bit_length() - 1].append((group, needs, dram))
        return Choices(part, preds, tuple(mask & part for mask in order.succs), by_first)

    @property
    def ready(self) -> int:
        """Operations that wait for nothing."""
        return sum(1 << i for i in bits(self.part) if not self.preds[i])

    def ready_after(self, done: int, ready: int, group: int) -> int:
        """Operations that wait for nothing once ``group`` is executed, given those (``ready``) before it."""
        after = (ready | union(self.succs, group)) & ~done
        for i in bits(after & ~ready):
            if self.preds[i] & ~done:
                after ^= 1 << i
        return after


@dataclass(frozen=True)
class Solved:
    """A partition of a part, and how good one can at most be.

    Attributes:
        groups: In an order of execution.
        dram_bytes: Their bytes.
        lower_bound: Bytes that no partition of the part stays under.
    """

    groups: tuple[int, ...]
    dram_bytes: int
    lower_bound: int

    @property
    def optimal(self) -> bool:
        """Whether no partition has fewer bytes."""
        return self.dram_bytes == self.lower_bound
