"""The partition with the fewest DRAM bytes: a shortest path over down-sets of the graph of operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.deadline import NEVER, Deadline, TimeUp
from autobuild.cost.fusion.partition.best_first_search import best_first
from autobuild.cost.fusion.partition.branch_and_bound import branch_and_bound
from autobuild.cost.fusion.partition.decomposition import PartGroups, PartSolution, independent_parts
from autobuild.cost.fusion.partition.dynamic_programming import best_intervals, interval_partition
from autobuild.cost.fusion.partition.feasible_groups import TooManyGroups, feasible_groups
from autobuild.cost.fusion.partition.partition import (
    AnyGroupCosts,
    Partition,
    Status,
    floor_bytes,
    has_tensor_traffic,
    partition_of,
)
from autobuild.cost.fusion.partition.topology import Topology

MAX_BEST_FIRST = 3_000  # down-sets of the network up to which best-first search is used
MAX_STATES = 200_000  # down-sets of one part up to which a shortest path is computed; beyond, branch and bound
# Shares of the remaining time: for a proof of optimality, and for all methods better than intervals of one order.
PROVING, SEARCHING = 0.5, 0.65


def exact_partition(
    costs: AnyGroupCosts,
    time_limit_s: float | Deadline = 60.0,
    max_best_first: int = MAX_BEST_FIRST,
    max_states: int = MAX_STATES,
    max_groups: int = 500_000,
    hereditary: bool | None = None,
) -> Partition:
    """The partition with the fewest DRAM bytes.

    A down-set contains all ancestors of its operations. A partition with an acyclic quotient graph is a chain of
    down-sets, each larger by one group than the one before. So the best partition is a shortest path from the empty set
    to the set of all operations.

    If the costs list their tensors and the network has few down-sets, a best-first search computes only those groups
    that a best partition could contain (:func:`~autobuild.cost.fusion.partition.best_first_search.best_first`).
    Otherwise all feasible groups are enumerated. The network is split into parts that no feasible group joins
    (:func:`~autobuild.cost.fusion.partition.decomposition.independent_parts`). Each part is solved by a shortest path,
    or by branch and bound if it has more than ``max_states`` down-sets. If neither ends in its share of the time, the
    result is the best partition under the assumption that validity is hereditary, or else the best partition into
    intervals of one topological order. In the worst case every operation is its own group.

    Args:
        costs: Costs of the groups of a network.
        time_limit_s: Seconds, or a deadline that already runs.
        max_best_first: Number of down-sets up to which best-first search is used. Its time is quadratic in this number.
        max_states: Number of down-sets of one part up to which a shortest path is computed.
        max_groups: Number of groups to enumerate.
        hereditary: Assume that every part of a valid group is valid. Then every superset of an invalid group is
            invalid, which is faster. Default: the attribute ``hereditary`` of the costs.

    Returns:
        The partition, with status ``optimal``, or ``bounded`` if a limit was reached.
    """
    deadline = Deadline.of(time_limit_s)
    topology = Topology.of(costs)
    if not len(topology):
        return Partition((), 0, "optimal", 0)
    strict = not (getattr(costs, "hereditary", True) if hereditary is None else hereditary)
    proving, searching = deadline.share(PROVING if strict else SEARCHING), deadline.share(SEARCHING)
    floor = floor_bytes(costs, topology)
    if has_tensor_traffic(costs):
        lazily = best_first(costs, topology, max_best_first, proving, not strict)
        if lazily.groups:
            return _partition(costs, topology, lazily.groups, None, deadline)
        floor = max(floor, lazily.bound)
        if strict and (assuming := best_first(costs, topology, max_best_first, searching, True)).groups:
            return _partition(costs, topology, assuming.groups, floor, deadline)
    for assumed in (False, True) if strict else (True,):
        stop = searching if assumed else proving
        try:
            groups = feasible_groups(costs, topology, max_groups, stop, assumed)
            chosen, bound = _by_parts(topology, groups, max_states, stop)
        except (TooManyGroups, TimeUp):
            continue
        known = floor if assumed and strict else None if bound is None else max(floor, bound)
        return _partition(costs, topology, chosen, known, deadline)
    return _partition(costs, topology, interval_partition(costs, topology, None, deadline).groups, floor, deadline)


def _by_parts(
    topology: Topology, groups: dict[int, int], max_states: int, deadline: Deadline
) -> tuple[list[int], int | None]:
    """The best partition into the given groups, and a lower bound if it is not proven optimal."""
    parts = independent_parts(topology, groups, deadline)
    part_of = {i: number for number, part in enumerate(parts) for i in bits(part)}
    inside: list[dict[int, int]] = [{} for _ in parts]
    for group, dram in groups.items():
        inside[part_of[(group & -group).bit_length() - 1]][group] = dram
    solved = []
    for part, drams in zip(parts, inside, strict=True):
        part_groups = PartGroups.of(topology, part, drams)
        try:
            best = shortest_path(part_groups, max_states, deadline)
        except TimeUp:
            best = None
        if best is None:
            chosen, _ = best_intervals(topology, list(bits(part)), lambda group: drams.get(group, -1), NEVER)  # noqa: B023
            best = branch_and_bound(part_groups, deadline, chosen)
        solved.append(best)
    bound = None if all(one.optimal for one in solved) else sum(one.lower_bound for one in solved)
    return [group for one in solved for group in one.groups], bound


def _partition(
    costs: AnyGroupCosts, topology: Topology, groups: Sequence[int], bound: int | None, deadline: Deadline
) -> Partition:
    """A partition with its status: optimal if no bound is given, or if the bytes equal the bound."""
    partition = partition_of(costs, groups, topology)
    bound = partition.dram_bytes if bound is None else min(bound, partition.dram_bytes)
    status: Status = "optimal" if bound == partition.dram_bytes else "bounded"
    return replace(partition, status=status, lower_bound=bound, seconds=deadline.elapsed)


def shortest_path(
    part_groups: PartGroups, max_states: int = MAX_STATES, deadline: Deadline = NEVER
) -> PartSolution | None:
    """The best chain of down-sets of a part; None if it has more than ``max_states`` down-sets.

    Raises:
        TimeUp: The deadline has passed.
    """
    # Down-sets by size: all paths to one are known before it is expanded. State: bytes, last group, ready operations.
    levels: list[dict[int, tuple[int, int, int]]] = [{} for _ in range(part_groups.part.bit_count() + 1)]
    levels[0][0] = (0, 0, part_groups.ready)
    states = 1
    for level in levels:
        for done, (spent, _, ready) in level.items():
            deadline.check()
            for first in bits(ready):
                for group, needs, dram in part_groups.by_first[first]:
                    if group & done or needs & ~done:
                        continue
                    after = done | group
                    there = levels[after.bit_count()]
                    known = there.get(after)
                    if known is None:
                        states += 1
                        if states > max_states:
                            return None
                        there[after] = (spent + dram, group, part_groups.ready_after(after, ready, group))
                    elif spent + dram < known[0]:
                        there[after] = (spent + dram, group, known[2])
    total = levels[-1][part_groups.part][0]
    groups: list[int] = []
    done = part_groups.part
    while done:
        group = levels[done.bit_count()][done][1]
        groups.append(group)
        done ^= group
    return PartSolution(tuple(reversed(groups)), total, total)
