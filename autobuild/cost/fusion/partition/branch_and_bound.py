"""Branch and bound over down-sets, for parts with too many down-sets for a shortest path."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.deadline import NEVER, Deadline, TimeUp
from autobuild.cost.fusion.partition.decomposition import PartGroups, PartSolution

BEAM = 200  # beam width (down-sets of each size) of the search for the initial solution
NUMBERS_A_SECOND = 500_000  # nonzeros of the constraint matrix that the LP solver reads in a second
MAX_OPEN = 3_000_000  # down-sets that branch and bound stores: about a gigabyte


def branch_and_bound(
    part_groups: PartGroups, deadline: Deadline, begin: Sequence[int] = (), max_open: int = MAX_OPEN
) -> PartSolution:
    """Best-first search over chains of down-sets, with dual prices of a linear program as lower bounds.

    The linear relaxation of "every operation is in exactly one group" has a dual price for each operation. No feasible
    group costs less than the sum of its operations' prices. So the operations outside a down-set cost at least the sum
    of their prices, and the search adds up only what groups cost above it. Chains that cannot improve on the best known
    partition are dropped.

    Args:
        part_groups: The feasible groups of a part.
        deadline: When to stop.
        begin: Initial partition of the part, in an order of execution. Default: every operation as its own group.
        max_open: Largest number of down-sets to store.

    Returns:
        The best partition found, and a lower bound.
    """
    drams = {group: dram for groups in part_groups.by_first.values() for group, _, dram in groups}
    best_groups = tuple(begin) or tuple(1 << i for i in bits(part_groups.part))
    prices = operation_prices(part_groups, deadline)
    base = sum(prices.values())
    best_extra = sum(drams[group] for group in best_groups) - base
    try:
        extra = {}
        for first, groups in part_groups.by_first.items():
            deadline.check()
            extra[first] = sorted((dram - sum(prices[i] for i in bits(group)), group, needs)
                                  for group, needs, dram in groups)  # fmt: skip
        good_extra, good_groups = _beam(part_groups, extra, deadline)
    except TimeUp:
        return PartSolution(best_groups, base + best_extra, base)
    if good_extra < best_extra:
        best_extra, best_groups = good_extra, good_groups
    known: dict[int, tuple[int, int]] = {0: (0, 0)}  # down-set -> bytes above the prices, last group
    heap: list[tuple[int, int, int, int]] = [(0, 0, 0, part_groups.ready)]
    closed: set[int] = set()
    bound = best_extra
    while heap:
        spent, _, done, ready = heapq.heappop(heap)
        if done in closed:
            continue
        if spent >= best_extra:
            break
        if deadline.passed or len(known) > max_open:
            bound = spent
            break
        closed.add(done)
        for first in bits(ready):
            for more, group, needs in extra[first]:
                total = spent + more
                if total >= best_extra:
                    break
                if group & done or needs & ~done:
                    continue
                after = done | group
                best = known.get(after)
                if best is not None and best[0] <= total:
                    continue
                known[after] = (total, group)
                if after == part_groups.part:
                    best_extra, best_groups = total, _walk(known, after)
                    continue
                heapq.heappush(heap, (total, -after.bit_count(), after, part_groups.ready_after(after, ready, group)))
    return PartSolution(best_groups, base + best_extra, base + min(bound, best_extra))


def operation_prices(part_groups: PartGroups, deadline: Deadline = NEVER) -> dict[int, int]:
    """An integer price in bytes for each operation, so that no feasible group costs less than its operations together.

    These are the dual values of the relaxed set partitioning problem. If it cannot be solved in half of the time, the
    price of an operation is its equal share of the group in which that share is lowest.

    Args:
        part_groups: The feasible groups of a part.
        deadline: When to stop.

    Returns:
        Operation -> bytes.
    """
    from scipy.optimize import linprog
    from scipy.sparse import csc_array

    number = {i: row for row, i in enumerate(bits(part_groups.part))}
    groups = [(group, dram) for listed in part_groups.by_first.values() for group, _, dram in listed]
    rows = [[number[i] for i in bits(group)] for group, _ in groups]
    drams = np.array([dram for _, dram in groups], dtype=float)
    starts = np.cumsum([0, *map(len, rows)])
    members = np.concatenate([np.array(row) for row in rows])
    table = csc_array((np.ones(len(members)), members, starts), shape=(len(number), len(groups)))
    # The solver checks its time limit only between iterations, and reads the matrix before the first one.
    solved = None
    if deadline is NEVER or len(members) < NUMBERS_A_SECOND * deadline.left:
        limit = {} if deadline is NEVER else {"time_limit": deadline.left / 2}
        solved = linprog(drams, A_eq=table, b_eq=np.ones(len(number)), method="highs", options=limit)
    if solved is not None and solved.status == 0:
        prices = np.asarray(solved.eqlin.marginals)
    else:
        prices = np.full(len(number), np.inf)
        np.minimum.at(prices, members, np.repeat(drams / np.diff(starts), np.diff(starts)))
    whole = np.floor(prices + 1e-6).astype(np.int64)
    over = np.add.reduceat(whole[members], starts[:-1]) - drams.astype(np.int64)
    for column in np.flatnonzero(over > 0):  # rounding errors of the solver are taken off the first operation
        excess = int(whole[rows[column]].sum()) - groups[column][1]
        whole[rows[column][0]] -= max(excess, 0)
    return {i: int(whole[row]) for i, row in number.items()}


def _beam(
    part_groups: PartGroups, extra: dict[int, list[tuple[int, int, int]]], deadline: Deadline
) -> tuple[int, tuple[int, ...]]:
    """Beam search for a good chain: of each size only the cheapest down-sets are expanded."""
    size = part_groups.part.bit_count()
    levels: list[dict[int, tuple[int, int]]] = [{} for _ in range(size + 1)]
    known: dict[int, tuple[int, int]] = {0: (0, 0)}
    levels[0][0] = (0, part_groups.ready)
    for level in levels[:-1]:
        for done, (spent, ready) in sorted(level.items(), key=lambda item: item[1][0])[:BEAM]:
            deadline.check()
            for first in bits(ready):
                for more, group, needs in extra[first]:
                    after = done | group
                    if group & done or needs & ~done or (after in known and known[after][0] <= spent + more):
                        continue
                    known[after] = (spent + more, group)
                    levels[after.bit_count()][after] = (spent + more, part_groups.ready_after(after, ready, group))
    return known[part_groups.part][0], _walk(known, part_groups.part)


def _walk(known: dict[int, tuple[int, int]], done: int) -> tuple[int, ...]:
    """The groups of the best chain to a down-set."""
    groups: list[int] = []
    while done:
        groups.append(known[done][1])
        done ^= known[done][1]
    return tuple(reversed(groups))
