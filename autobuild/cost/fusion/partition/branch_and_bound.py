"""Branch and bound over down-sets, for networks with too many of them to hold."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csc_array

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.deadline import NEVER, Deadline, TimeUp
from autobuild.cost.fusion.partition.decomposition import Choices, Solved

BEAM = 200  # down-sets of each size that the first answer is found among
NUMBERS_A_SECOND = 500_000  # of the table that the solver may be asked to read
MAX_OPEN = 3_000_000  # down-sets that branch and bound holds: about a gigabyte


def branch_and_bound(
    choices: Choices, deadline: Deadline, begin: Sequence[int] = (), max_open: int = MAX_OPEN
) -> Solved:
    """Search the chains of down-sets best first, with prices from linear programming as the bound of what is left.

    The relaxation of "every operation in exactly one group" has a price for each operation such that no feasible group
    costs less than its operations' prices together. What is left to do after a down-set costs at least the prices of
    the operations left, so that the search pays only what a group costs above them; chains that cannot undercut the
    best one known are dropped.

    Args:
        choices: The feasible groups of a part.
        deadline: When to stop.
        begin: A partition of the part, in an order of execution: the answer where the time does not suffice for a
            better one; where none is given, every operation alone.
        max_open: Down-sets that are held at most.
    """
    drams = {group: dram for groups in choices.by_first.values() for group, _, dram in groups}
    best_groups = tuple(begin) or tuple(1 << i for i in bits(choices.part))
    prices = operation_prices(choices, deadline)
    base = sum(prices.values())
    best_extra = sum(drams[group] for group in best_groups) - base
    try:
        extra = {}
        for first, groups in choices.by_first.items():
            deadline.check()
            extra[first] = sorted((dram - sum(prices[i] for i in bits(group)), group, needs)
                                  for group, needs, dram in groups)  # fmt: skip
        good_extra, good_groups = _beam(choices, extra, deadline)
    except TimeUp:
        return Solved(best_groups, base + best_extra, base)
    if good_extra < best_extra:
        best_extra, best_groups = good_extra, good_groups
    known: dict[int, tuple[int, int]] = {0: (0, 0)}  # down-set -> what it cost above the prices, its last group
    heap: list[tuple[int, int, int, int]] = [(0, 0, 0, choices.ready)]
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
                there = known.get(after)
                if there is not None and there[0] <= total:
                    continue
                known[after] = (total, group)
                if after == choices.part:
                    best_extra, best_groups = total, _walk(known, after)
                    continue
                heapq.heappush(heap, (total, -after.bit_count(), after, choices.ready_after(after, ready, group)))
    return Solved(best_groups, base + best_extra, base + min(bound, best_extra))


def operation_prices(choices: Choices, deadline: Deadline = NEVER) -> dict[int, int]:
    """Whole bytes for each operation, so that no feasible group costs less than its operations together.

    The dual of the relaxed set partitioning problem, or, where that cannot be solved in half of the time, each
    operation's share of the group that is cheapest for it.
    """
    number = {i: row for row, i in enumerate(bits(choices.part))}
    groups = [(group, dram) for listed in choices.by_first.values() for group, _, dram in listed]
    rows = [[number[i] for i in bits(group)] for group, _ in groups]
    drams = np.array([dram for _, dram in groups], dtype=float)
    starts = np.cumsum([0, *map(len, rows)])
    members = np.concatenate([np.array(row) for row in rows])
    table = csc_array((np.ones(len(members)), members, starts), shape=(len(number), len(groups)))
    # The solver looks at its limit between iterations only, and reads the table before it begins.
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
    for column in np.flatnonzero(over > 0):  # the solver's tolerance: taken off the first operation
        excess = int(whole[rows[column]].sum()) - groups[column][1]
        whole[rows[column][0]] -= max(excess, 0)
    return {i: int(whole[row]) for i, row in number.items()}


def _beam(
    choices: Choices, extra: dict[int, list[tuple[int, int, int]]], deadline: Deadline
) -> tuple[int, tuple[int, ...]]:
    """A good chain of down-sets: of each size only the few that cost least above the prices go on."""
    size = choices.part.bit_count()
    levels: list[dict[int, tuple[int, int]]] = [{} for _ in range(size + 1)]
    known: dict[int, tuple[int, int]] = {0: (0, 0)}
    levels[0][0] = (0, choices.ready)
    for level in levels[:-1]:
        for done, (spent, ready) in sorted(level.items(), key=lambda item: item[1][0])[:BEAM]:
            deadline.check()
            for first in bits(ready):
                for more, group, needs in extra[first]:
                    after = done | group
                    if group & done or needs & ~done or (after in known and known[after][0] <= spent + more):
                        continue
                    known[after] = (spent + more, group)
                    levels[after.bit_count()][after] = (spent + more, choices.ready_after(after, ready, group))
    return known[choices.part][0], _walk(known, choices.part)


def _walk(known: dict[int, tuple[int, int]], done: int) -> tuple[int, ...]:
    """The groups on the way to a down-set."""
    groups: list[int] = []
    while done:
        groups.append(known[done][1])
        done ^= known[done][1]
    return tuple(reversed(groups))
