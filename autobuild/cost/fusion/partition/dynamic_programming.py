"""The best partition into stretches of one topological order: fast, and a heuristic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from autobuild.cost.fusion.deadline import NEVER, Deadline, TimeUp, within
from autobuild.cost.fusion.partition.partition import GroupCosts, Partition, floor_bytes, group_dram, partition_of
from autobuild.cost.fusion.partition.topology import Order

Dram = Callable[[int], int]  # bytes of a group, below zero where it may not be in a partition


def interval_partition(
    costs: GroupCosts,
    order: Order | None = None,
    sequence: Sequence[int] | None = None,
    time_limit_s: float | Deadline = NEVER,
) -> Partition:
    """The partition with the fewest DRAM bytes among those whose groups are stretches of one topological order.

    A heuristic: the best partition consists of stretches of some topological order, but not of any given one.

    Args:
        costs: The network and the cost of its groups.
        order: Its order, where it is at hand.
        sequence: The topological order (default: that of the operations' numbers).
        time_limit_s: Seconds after which the best found so far is the answer, at least every operation alone.
    """
    deadline = Deadline.of(time_limit_s)
    order = order or Order.of(costs)
    sequence = range(len(order)) if sequence is None else sequence
    # As if no invalid stretch were part of a valid one: a plan in little time, should there be no more. Then all.
    tries = (True,) if getattr(costs, "hereditary", True) else (True, False) if deadline is not NEVER else (False,)
    best: list[int] = []
    hopeless = getattr(costs, "hopeless", lambda group: False)
    with within(costs, deadline):
        for hereditary in tries:
            groups, complete = stretches(order, sequence, lambda group: group_dram(costs, group), deadline,
                                         hopeless, hereditary)  # fmt: skip
            if not best or complete:
                best = groups
    found = partition_of(costs, best, order)
    floor = min(floor_bytes(costs, order), found.dram_bytes)
    return replace(found, lower_bound=floor, seconds=deadline.elapsed)


def stretches(
    order: Order,
    sequence: Sequence[int],
    dram: Dram,
    deadline: Deadline,
    hopeless: Callable[[int], bool] = lambda group: False,
    hereditary: bool = False,
) -> tuple[list[int], bool]:
    """The groups of the cheapest way to cut a sequence of operations into valid stretches, and whether all were tried.

    Args:
        order: Of the network.
        sequence: Operations in an order in which they can run.
        dram: Bytes of groups; a lone operation has some in any case.
        deadline: When to stop. What was found until then is completed by operations alone.
        hopeless: Whether no group that holds these is valid.
        hereditary: Whether an invalid stretch ends the search for longer ones.
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
                elif not complete or hopeless(group):
                    break
                elif not order.connected(group):
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
