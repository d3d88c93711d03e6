"""The best partition into intervals of one topological order, by dynamic programming: a fast heuristic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from autobuild.cost.fusion.deadline import NEVER, Deadline, TimeUp, within
from autobuild.cost.fusion.partition.partition import AnyGroupCosts, Partition, floor_bytes, group_dram, partition_of
from autobuild.cost.fusion.partition.topology import Topology

Dram = Callable[[int], int]  # bytes of a group, below zero where it may not be in a partition


def interval_partition(
    costs: AnyGroupCosts,
    topology: Topology | None = None,
    sequence: Sequence[int] | None = None,
    time_limit_s: float | Deadline = NEVER,
) -> Partition:
    """The partition with the fewest DRAM bytes among those whose groups are intervals of one topological order.

    This is a heuristic: the optimal partition consists of intervals of some topological order, not of a given one.

    Args:
        costs: Costs of the groups of a network.
        topology: Edges of the network, if already computed.
        sequence: The topological order. Default: the numbers of the operations.
        time_limit_s: Seconds, or a deadline that already runs. When it passes, the best partition so far is returned,
            in the worst case every operation as its own group.

    Returns:
        The partition, with status ``heuristic`` and the traffic that no partition can avoid as ``lower_bound``.
    """
    deadline = Deadline.of(time_limit_s)
    topology = topology or Topology.of(costs)
    sequence = range(len(topology)) if sequence is None else sequence
    # First assume that no valid interval contains an invalid one: this gives a partition in little time. Then try all.
    assumptions = (
        (True,) if getattr(costs, "hereditary", True) else (True, False) if deadline is not NEVER else (False,)
    )
    best: list[int] = []
    surely_invalid = getattr(costs, "surely_invalid", lambda group: False)
    with within(costs, deadline):
        for hereditary in assumptions:
            groups, complete = best_intervals(topology, sequence, lambda group: group_dram(costs, group), deadline,
                                         surely_invalid, hereditary)  # fmt: skip
            if not best or complete:
                best = groups
    partition = partition_of(costs, best, topology)
    floor = min(floor_bytes(costs, topology), partition.dram_bytes)
    return replace(partition, lower_bound=floor, seconds=deadline.elapsed)


def best_intervals(
    topology: Topology,
    sequence: Sequence[int],
    dram: Dram,
    deadline: Deadline,
    surely_invalid: Callable[[int], bool] = lambda group: False,
    hereditary: bool = False,
) -> tuple[list[int], bool]:
    """The cheapest division of a sequence of operations into valid intervals.

    Args:
        topology: Edges of the network.
        sequence: Operations in topological order.
        dram: DRAM bytes of a group, negative if it is invalid. A single operation is never invalid.
        deadline: When to stop. The remaining operations then become groups of their own.
        surely_invalid: Whether every superset of a set of operations is invalid.
        hereditary: Whether an invalid interval ends the search for longer ones.

    Returns:
        The groups, and whether all intervals were tried.
    """
    n = len(sequence)
    alone = [dram(1 << i) for i in sequence]
    best = [0, *[-1] * n]  # bytes of the first j operations
    last = [0] * (n + 1)
    complete = True
    for i in range(n):
        try:
            if complete:
                deadline.check()
            group = 0
            for j in range(i, n):
                group |= 1 << sequence[j]
                if j == i:
                    moved = alone[i]
                elif not complete or surely_invalid(group):
                    break
                elif not topology.connected(group):
                    continue
                else:
                    moved = dram(group)
                if moved >= 0 and (best[j + 1] < 0 or best[i] + moved < best[j + 1]):
                    best[j + 1], last[j + 1] = best[i] + moved, group
                elif moved < 0 and hereditary:
                    break
        except TimeUp:
            complete = False
            if best[i + 1] < 0 or best[i] + alone[i] < best[i + 1]:
                best[i + 1], last[i + 1] = best[i] + alone[i], 1 << sequence[i]
    groups: list[int] = []
    j = n
    while j:
        groups.append(last[j])
        j -= last[j].bit_count()
    return groups, complete
