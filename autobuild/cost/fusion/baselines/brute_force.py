"""Baseline: enumeration of all partitions of a small network. The tests compare the exact solver with it."""

from __future__ import annotations

from collections.abc import Iterator

from autobuild.cost.fusion.partition.partition import (
    AnyGroupCosts,
    Partition,
    group_dram,
    partition_of,
    partition_violation,
)
from autobuild.cost.fusion.partition.topology import Topology


def all_partitions(topology: Topology) -> Iterator[tuple[int, ...]]:
    """All partitions into connected groups with an acyclic quotient graph.

    Operations are added one by one, each to an existing group or to a new one. More operations never remove a cycle
    between groups, so a partial partition with a cycle is dropped at once.
    """

    def place(i: int, groups: list[int]) -> Iterator[tuple[int, ...]]:
        if i == len(topology):
            if partition_violation(topology, groups) is None:
                yield tuple(groups)
            return
        for k in range(len(groups) + 1):
            grown = (
                [*groups, 1 << i] if k == len(groups) else [g | 1 << i if j == k else g for j, g in enumerate(groups)]
            )
            if topology.order_groups(grown) is not None:
                yield from place(i + 1, grown)

    yield from place(0, [])


def brute_force_partition(costs: AnyGroupCosts) -> Partition:
    """The partition with the fewest DRAM bytes, found by enumeration. For networks of up to about ten operations."""
    topology = Topology.of(costs)
    best: tuple[int, tuple[int, ...]] | None = None
    for groups in all_partitions(topology):
        drams = [group_dram(costs, group) for group in groups]
        if min(drams) >= 0 and (best is None or sum(drams) < best[0]):
            best = sum(drams), groups
    assert best is not None  # every operation alone is a partition
    return partition_of(costs, best[1], topology, status="optimal", lower_bound=best[0])
