"""Splitting of invalid groups: cut a group at an operation that a splitter names, until all pieces are valid."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.deadline import NEVER, Deadline
from autobuild.cost.fusion.partition.partition import AnyGroupCosts, group_dram
from autobuild.cost.fusion.partition.topology import Topology


class Splitter(Protocol):
    """Names the operations of an invalid group at which it may be cut, the best one first.

    A splitter with ``fixed = True`` always names the same operations for a group, so the cut is computed once.
    """

    def __call__(self, costs: AnyGroupCosts, mask: int, rng: random.Random, /) -> Sequence[int]:
        """At least one operation of the group.

        Args:
            costs: Costs of the groups of a network.
            mask: An invalid connected convex group of at least two operations.
            rng: Source of all random choices.
        """


def split_randomly(costs: AnyGroupCosts, mask: int, rng: random.Random) -> Sequence[int]:
    """One random operation: the baseline of the explainers."""
    return [rng.choice(list(bits(mask)))]


def split_randomly_of_three(costs: AnyGroupCosts, mask: int, rng: random.Random) -> Sequence[int]:
    """Three random operations: as many as an explainer names, so both choose among equally many cuts."""
    members = list(bits(mask))
    return rng.sample(members, min(3, len(members)))


class SplitAnywhere:
    """Every operation, so every cut is tried: an upper bound for what explainers can reach."""

    fixed = True

    def __call__(self, costs: AnyGroupCosts, mask: int, rng: random.Random) -> Sequence[int]:
        """All operations of the group."""
        return list(bits(mask))


STILL_TO_CUT = 0.25  # expected share of the bytes that cutting an invalid group into single operations would add

SPLITTERS: dict[str, Splitter] = {
    "random": split_randomly,
    "random3": split_randomly_of_three,
    "oracle": SplitAnywhere(),
}


def cuts_at(topology: Topology, group: int, operation: int) -> list[tuple[int, ...]]:
    """The two cuts of a connected convex group at an operation: after it, and before it.

    After: the operation and its ancestors form one half. Before: the operation and its descendants form one half. Each
    half is divided into its connected pieces. One half contains all its ancestors in the group, so a cut never creates
    a cycle between groups.

    Args:
        topology: Edges of the network.
        group: A connected convex group.
        operation: Number of one of its operations.

    Returns:
        The pieces of each cut; fewer than two cuts if one half would be empty.
    """
    cuts = []
    for half in (
        group & (topology.ancestors[operation] | 1 << operation),
        group & ~(topology.descendants[operation] | 1 << operation),
    ):
        if half and half != group:
            pieces = (*topology.pieces(half), *topology.pieces(group & ~half))
            if pieces not in cuts:
                cuts.append(pieces)
    return cuts


def best_cut(costs: AnyGroupCosts, topology: Topology, group: int, operations: Sequence[int]) -> tuple[int, ...]:
    """The cut at one of the operations after which the expected DRAM bytes are fewest."""
    cuts = [pieces for operation in operations for pieces in cuts_at(topology, group, operation)]
    return min(cuts, key=lambda pieces: sum(expected_bytes(costs, piece) for piece in pieces))


def expected_bytes(costs: AnyGroupCosts, group: int) -> float:
    """DRAM bytes of a group; for an invalid group, an estimate of its bytes after further cuts.

    These lie between its bytes as one group and the bytes of its single operations. The estimate is a quarter of the
    way. (The lower end would favour cuts that leave large invalid pieces, the upper end cuts with many bytes.)
    """
    dram = group_dram(costs, group)
    if dram >= 0:
        return dram
    whole = costs(group).dram_bytes
    return whole + STILL_TO_CUT * (sum(group_dram(costs, 1 << i) for i in bits(group)) - whole)


def split_tree(
    costs: AnyGroupCosts,
    topology: Topology,
    group: int,
    splitter: Splitter,
    rng: random.Random,
    known: dict[int, tuple[int, ...]] | None = None,
    explore: float = 0.0,
    deadline: Deadline = NEVER,
) -> list[int]:
    """Cut an invalid group, and its pieces, until all are valid.

    Every cut is the best one (:func:`best_cut`) at the operations that the splitter names.

    Args:
        costs: Costs of the groups of a network.
        topology: Edges of the network.
        group: A connected convex group.
        splitter: Names the operations.
        rng: Source of all random choices.
        known: Cuts of earlier groups, used and extended if the splitter is ``fixed``.
        explore: Probability of a cut at a random operation instead.
        deadline: When to stop.

    Returns:
        Valid groups and single operations; the group itself if it is valid.

    Raises:
        TimeUp: The deadline has passed.
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
            left += best_cut(costs, topology, piece, split_randomly(costs, piece, rng))
            continue
        pieces = None if kept is None else kept.get(piece)
        if pieces is None:
            pieces = best_cut(costs, topology, piece, splitter(costs, piece, rng))
            if kept is not None:
                kept[piece] = pieces
        left += pieces
    return done
