"""The partition with the fewest DRAM bytes: a shortest path over what can have been executed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.deadline import NEVER, Deadline, TimeUp
from autobuild.cost.fusion.partition.best_first_search import best_first
from autobuild.cost.fusion.partition.branch_and_bound import branch_and_bound
from autobuild.cost.fusion.partition.decomposition import Choices, Solved, parts
from autobuild.cost.fusion.partition.dynamic_programming import interval_partition, stretches
from autobuild.cost.fusion.partition.feasible_groups import TooManyGroups, feasible_groups
from autobuild.cost.fusion.partition.partition import (
    GroupCosts,
    Partition,
    Status,
    floor_bytes,
    follows_rule,
    partition_of,
)
from autobuild.cost.fusion.partition.topology import Order

MAX_LAZY = 3_000  # down-sets that are searched best first
MAX_STATES = 200_000  # down-sets of one part; beyond, branch and bound
# Shares of the time that is left: for a proof, and for all that is better than stretches of one order.
PROVING, SEARCHING = 0.5, 0.65


def exact_partition(
    costs: GroupCosts,
    time_limit_s: float | Deadline = 60.0,
    max_lazy: int = MAX_LAZY,
    max_states: int = MAX_STATES,
    max_groups: int = 500_000,
    hereditary: bool | None = None,
) -> Partition:
    """The partition with the fewest DRAM bytes.

    A partition with an acyclic quotient is a chain of down-sets (sets that hold the ancestors of all they hold), each
    larger by one group than the one before. So the best is a shortest path from the empty set to the full one.

    If the costs list their tensors and the network has few down-sets, a best-first search computes only those groups
    that a best partition could contain (:func:`~autobuild.cost.fusion.partition.best_first_search.best_first`).
    Otherwise all feasible groups are enumerated. The network is split into parts that no feasible group joins
    (:func:`~autobuild.cost.fusion.partition.decomposition.parts`), and each part is solved by a shortest path; a part
    with more than ``max_states`` down-sets is solved by branch and bound. If neither ends in its share of the time, the
    result is the best partition under the assumption that validity is hereditary, or else the best partition into
    intervals of one topological order. In the worst case every operation is its own group.

    Args:
        costs: The network and the cost of its groups.
        time_limit_s: Seconds, or a deadline that runs already.
        max_lazy: Down-sets up to which it is searched best first; each is held against each.
        max_states: Down-sets of one part that are held.
        max_groups: Groups that are looked at where all are listed.
        hereditary: Whether no valid group has invalid parts, so that an invalid one refuses all that hold it; faster.
            Default: what the costs say of themselves.

    Returns:
        ``optimal``, or ``bounded`` where a limit was met.
    """
    deadline = Deadline.of(time_limit_s)
    order = Order.of(costs)
    if not len(order):
        return Partition((), 0, "optimal", 0)
    strict = not (getattr(costs, "hereditary", True) if hereditary is None else hereditary)
    proving, searching = deadline.share(PROVING if strict else SEARCHING), deadline.share(SEARCHING)
    floor = floor_bytes(costs, order)
    if follows_rule(costs):
        lazily = best_first(costs, order, max_lazy, proving, not strict)
        if lazily.groups:
            return _partition(costs, order, lazily.groups, None, deadline)
        floor = max(floor, lazily.bound)
        if strict and (assuming := best_first(costs, order, max_lazy, searching, True)).groups:
            return _partition(costs, order, assuming.groups, floor, deadline)
    for assumed in (False, True) if strict else (True,):
        stop = searching if assumed else proving
        try:
            groups = feasible_groups(costs, order, max_groups, stop, assumed)
            chosen, bound = _by_parts(order, groups, max_states, stop)
        except (TooManyGroups, TimeUp):
            continue
        known = floor if assumed and strict else None if bound is None else max(floor, bound)
        return _partition(costs, order, chosen, known, deadline)
    return _partition(costs, order, interval_partition(costs, order, None, deadline).groups, floor, deadline)


def _by_parts(
    order: Order, groups: dict[int, int], max_states: int, deadline: Deadline
) -> tuple[list[int], int | None]:
    """The best of all feasible groups, and a bound where that is not sure."""
    found = parts(order, groups, deadline)
    where = {i: number for number, part in enumerate(found) for i in bits(part)}
    inside: list[dict[int, int]] = [{} for _ in found]
    for group, dram in groups.items():
        inside[where[(group & -group).bit_length() - 1]][group] = dram
    solved = []
    for part, held in zip(found, inside, strict=True):
        choices = Choices.of(order, part, held)
        try:
            best = shortest_path(choices, max_states, deadline)
        except TimeUp:
            best = None
        if best is None:
            chosen, _ = stretches(order, list(bits(part)), lambda group: held.get(group, -1), NEVER)  # noqa: B023
            best = branch_and_bound(choices, deadline, chosen)
        solved.append(best)
    bound = None if all(one.optimal for one in solved) else sum(one.lower_bound for one in solved)
    return [group for one in solved for group in one.groups], bound


def _partition(
    costs: GroupCosts, order: Order, groups: Sequence[int], bound: int | None, deadline: Deadline
) -> Partition:
    """Groups as an answer; optimal where no bound is given, or where it is met."""
    found = partition_of(costs, groups, order)
    bound = found.dram_bytes if bound is None else min(bound, found.dram_bytes)
    status: Status = "optimal" if bound == found.dram_bytes else "bounded"
    return replace(found, status=status, lower_bound=bound, seconds=deadline.elapsed)


def shortest_path(choices: Choices, max_states: int = MAX_STATES, deadline: Deadline = NEVER) -> Solved | None:
    """The best chain of down-sets of a part; None where there are more than ``max_states`` of them.

    Raises:
        TimeUp: Past the deadline.
    """
    # Down-sets by size: all ways into one are known before it is left. A state: bytes, the last group, what is ready.
    levels: list[dict[int, tuple[int, int, int]]] = [{} for _ in range(choices.part.bit_count() + 1)]
    levels[0][0] = (0, 0, choices.ready)
    states = 1
    for level in levels:
        for done, (spent, _, ready) in level.items():
            deadline.check()
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
