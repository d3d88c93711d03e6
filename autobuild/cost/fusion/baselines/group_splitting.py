"""Invalid groups made valid: a tree of cuts, at operations that a splitter names."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.deadline import NEVER, Deadline
from autobuild.cost.fusion.partition.partition import GroupCosts, group_dram
from autobuild.cost.fusion.partition.topology import Order


class Splitter(Protocol):
    """Names the operations of an invalid group at which it may be cut, most responsible first.

    One that says ``fixed = True`` always names the same ones for a group, so that each group is cut once.
    """

    def __call__(self, costs: GroupCosts, mask: int, rng: random.Random, /) -> Sequence[int]:
        """Operations of the group, at least one.

        Args:
            costs: The network and the cost of its groups.
            mask: An invalid connected convex group of two operations or more.
            rng: The only source of chance.
        """


def split_randomly(costs: GroupCosts, mask: int, rng: random.Random) -> Sequence[int]:
    """One operation by chance: what explanations are compared with."""
    return [rng.choice(list(bits(mask)))]


def split_randomly_of_three(costs: GroupCosts, mask: int, rng: random.Random) -> Sequence[int]:
    """Three operations by chance: as many as an explanation names, so that only what it knows is compared."""
    members = list(bits(mask))
    return rng.sample(members, min(3, len(members)))


class SplitAnywhere:
    """Every operation, so that every cut is tried: as good as any explanation can be in this tree."""

    fixed = True

    def __call__(self, costs: GroupCosts, mask: int, rng: random.Random) -> Sequence[int]:
        """All operations of the group."""
        return list(bits(mask))


STILL_TO_CUT = 0.25  # of what cutting an invalid group into its operations would add

SPLITTERS: dict[str, Splitter] = {
    "random": split_randomly,
    "random3": split_randomly_of_three,
    "oracle": SplitAnywhere(),
}


def cuts_at(order: Order, group: int, operation: int) -> list[tuple[int, ...]]:
    """The ways to cut a connected convex group at one of its operations: behind it, and in front of it.

    Behind: the operation and what it needs, and the rest. In front: the operation and what needs it, and the rest. Both
    halves fall into connected pieces. What is cut off holds its ancestors or its descendants in the group, so that
    cutting never closes a circle of groups.
    """
    found = []
    for half in (
        group & (order.ancestors[operation] | 1 << operation),
        group & ~(order.descendants[operation] | 1 << operation),
    ):
        if half and half != group:
            pieces = (*order.pieces(half), *order.pieces(group & ~half))
            if pieces not in found:
                found.append(pieces)
    return found


def best_cut(costs: GroupCosts, order: Order, group: int, operations: Sequence[int]) -> tuple[int, ...]:
    """The cut at one of the operations that leaves the fewest DRAM bytes."""
    cuts = [pieces for operation in operations for pieces in cuts_at(order, group, operation)]
    return min(cuts, key=lambda pieces: sum(expected_bytes(costs, piece) for piece in pieces))


def expected_bytes(costs: GroupCosts, group: int) -> float:
    """DRAM bytes of a group, or what an invalid one may end up with.

    It will be cut further, and then moves more than it would as one, and less than its operations alone: a quarter of
    the way is assumed. (At the first, cuts were chosen that leave the work to do; at the second, long valid pieces with
    expensive ends.)
    """
    dram = group_dram(costs, group)
    if dram >= 0:
        return dram
    whole = costs(group).dram_bytes
    return whole + STILL_TO_CUT * (sum(group_dram(costs, 1 << i) for i in bits(group)) - whole)


def split_tree(
    costs: GroupCosts,
    order: Order,
    group: int,
    splitter: Splitter,
    rng: random.Random,
    known: dict[int, tuple[int, ...]] | None = None,
    explore: float = 0.0,
    deadline: Deadline = NEVER,
) -> list[int]:
    """Cut an invalid group, and its pieces, until all are valid.

    Each time the splitter names operations, and the cut at one of them with the fewest DRAM bytes is kept.

    Args:
        costs: The network and the cost of its groups.
        order: Its order.
        group: A connected convex group.
        splitter: Names the operations.
        rng: What the splitter draws from.
        known: Cuts of groups, for splitters that always name the same operations; new ones are added.
        explore: How often a group is cut at an operation by chance instead.
        deadline: When to stop.

    Returns:
        Valid groups, and lone operations; the group itself where it is valid.

    Raises:
        TimeUp: Past the deadline.
    """
    kept = known if known is not None and getattr(splitter, "fixed", False) else None
    done: list[int] = []
    left = [group]
    while left:
        deadline.check()
        piece = left.pop()
        if group_dram(costs, piece) >= 0:
            done.append(piece)
            continue
        if explore and rng.random() < explore:
            left += best_cut(costs, order, piece, split_randomly(costs, piece, rng))
            continue
        pieces = None if kept is None else kept.get(piece)
        if pieces is None:
            pieces = best_cut(costs, order, piece, splitter(costs, piece, rng))
            if kept is not None:
                kept[piece] = pieces
        left += pieces
    return done
