"""The partition with the fewest DRAM bytes: a shortest path over what can have been executed."""

from __future__ import annotations

import time

from autobuild.cost.fusion.partition.bounded import branch_and_bound
from autobuild.cost.fusion.partition.feasible import TooManyGroups, feasible_groups
from autobuild.cost.fusion.partition.interval import interval_partition
from autobuild.cost.fusion.partition.masks import Order, bits
from autobuild.cost.fusion.partition.partition import GroupCosts, Partition, partition_of
from autobuild.cost.fusion.partition.parts import Choices, Solved, parts

MAX_STATES = 200_000  # down-sets of one part; beyond, branch and bound


def exact_partition(
    costs: GroupCosts, time_limit_s: float = 60.0, max_states: int = MAX_STATES, max_groups: int = 500_000
) -> Partition:
    """The partition with the fewest DRAM bytes.

    A partition with an acyclic quotient is a chain of down-sets (sets that hold the ancestors of all they hold), each
    larger by one group than the one before. So the best is a shortest path from the empty set to the full one. The
    network is taken apart first, at operations that no feasible group joins to others (:func:`parts`). A part with
    more than ``max_states`` down-sets goes to branch and bound.

    Args:
        costs: The network and the cost of its groups.
        time_limit_s: Seconds for listing the groups and for branch and bound together.
        max_states: Down-sets of one part that are held.
        max_groups: Groups that are looked at. Where there are more, the answer is the best of one topological order,
            and the bound that of the whole network as one group.

    Returns:
        ``optimal``, or ``bounded`` where a limit was met.
    """
    start = time.perf_counter()
    order = Order.of(costs)
    if not len(order):
        return Partition((), 0, "optimal", 0)
    deadline = start + time_limit_s
    try:
        groups = feasible_groups(costs, order, max_groups, deadline)
    except TooManyGroups:
        found = interval_partition(costs, order)
        floor = max(costs(order.everything).dram_bytes, 0)
        return partition_of(costs, found.groups, order, status="bounded", lower_bound=min(floor, found.dram_bytes),
                            seconds=time.perf_counter() - start)  # fmt: skip
    chosen: list[int] = []
    bound = 0
    optimal = True
    for part in parts(order, groups):
        inside = Choices.of(order, part, groups)
        solved = shortest_path(inside, max_states) or branch_and_bound(inside, deadline)
        chosen += solved.groups
        bound += solved.lower_bound
        optimal &= solved.optimal
    status = "optimal" if optimal else "bounded"
    return partition_of(costs, chosen, order, status=status, lower_bound=bound, seconds=time.perf_counter() - start)


def shortest_path(choices: Choices, max_states: int = MAX_STATES) -> Solved | None:
    """The best chain of down-sets of a part; None where there are more than ``max_states`` of them."""
    # Down-sets by size: all ways into one are known before it is left. A state: bytes, the last group, what is ready.
    levels: list[dict[int, tuple[int, int, int]]] = [{} for _ in range(choices.part.bit_count() + 1)]
    levels[0][0] = (0, 0, choices.ready)
    states = 1
    for level in levels:
        for done, (spent, _, ready) in level.items():
            for first in bits(ready):
                for group, needs, dram in choices.by_first[first]:
                    if group & done or needs & ~done:
                        continue
                    after = done | group
                    there = levels[after.bit_count()]
                    known = there.get(after)
                    if known is None:
                        states += 1
                        if states > max_states:
                            return None
                        there[after] = (spent + dram, group, choices.ready_after(after, ready, group))
                    elif spent + dram < known[0]:
                        there[after] = (spent + dram, group, known[2])
    total = levels[-1][choices.part][0]
    groups: list[int] = []
    done = choices.part
    while done:
        group = levels[done.bit_count()][done][1]
        groups.append(group)
        done ^= group
    return Solved(tuple(reversed(groups)), total, total)
