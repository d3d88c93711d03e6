"""Every partition of a small network, one after the other: what the exact search is held against."""

from __future__ import annotations

from collections.abc import Iterator

from autobuild.cost.fusion.partition.partition import GroupCosts, Partition, flaw, group_dram, partition_of
from autobuild.cost.fusion.partition.topology import Order


def all_partitions(order: Order) -> Iterator[tuple[int, ...]]:
    """All partitions into connected groups whose quotient has no cycle.

    Operations are placed one by one, each into a group there is or a new one; a cycle between groups never goes away
    when operations are added, so such beginnings are dropped at once.
    """

    def place(i: int, groups: list[int]) -> Iterator[tuple[int, ...]]:
        if i == len(order):
            if flaw(order, groups) is None:
                yield tuple(groups)
            return
        for k in range(len(groups) + 1):
            grown = (
                [*groups, 1 << i] if k == len(groups) else [g | 1 << i if j == k else g for j, g in enumerate(groups)]
            )
            if order.order_groups(grown) is not None:
                yield from place(i + 1, grown)

    yield from place(0, [])


def brute_partition(costs: GroupCosts) -> Partition:
    """The partition with the fewest DRAM bytes, by trying all; for about ten operations."""
    order = Order.of(costs)
    best: tuple[int, tuple[int, ...]] | None = None
    for groups in all_partitions(order):
        drams = [group_dram(costs, group) for group in groups]
        if min(drams) >= 0 and (best is None or sum(drams) < best[0]):
            best = sum(drams), groups
    assert best is not None  # every operation alone is a partition
    return partition_of(costs, best[1], order, status="optimal", lower_bound=best[0])
