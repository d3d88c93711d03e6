"""The best partition into stretches of one topological order: fast, and a heuristic."""

from __future__ import annotations

import time
from collections.abc import Sequence

from autobuild.cost.fusion.partition.masks import Order
from autobuild.cost.fusion.partition.partition import GroupCosts, Partition, group_dram, partition_of


def interval_partition(
    costs: GroupCosts, order: Order | None = None, sequence: Sequence[int] | None = None
) -> Partition:
    """The partition with the fewest DRAM bytes among those whose groups are stretches of one topological order.

    A heuristic: the best partition consists of stretches of some topological order, but not of any given one.

    Args:
        costs: The network and the cost of its groups.
        order: Its order, where it is at hand.
        sequence: The topological order (default: that of the operations' numbers).
    """
    start = time.perf_counter()
    order = order or Order.of(costs)
    sequence = range(len(order)) if sequence is None else sequence
    hereditary = getattr(costs, "hereditary", True)
    n = len(sequence)
    best = [0, *[-1] * n]  # bytes of the first j operations
    last = [0] * (n + 1)
    for i in range(n):
        group = 0
        for j in range(i, n):
            group |= 1 << sequence[j]
            if not order.connected(group):
                continue
            dram = group_dram(costs, group)
            if dram >= 0 and (best[j + 1] < 0 or best[i] + dram < best[j + 1]):
                best[j + 1], last[j + 1] = best[i] + dram, group
            elif dram < 0 and hereditary:
                break
    groups: list[int] = []
    j = n
    while j:
        groups.append(last[j])
        j -= last[j].bit_count()
    return partition_of(costs, groups, order, seconds=time.perf_counter() - start)
