"""All groups that may be in a partition: connected, convex, within the buffer."""

from __future__ import annotations

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.deadline import NEVER, Deadline, within
from autobuild.cost.fusion.partition.partition import GroupCosts, group_dram
from autobuild.cost.fusion.partition.topology import Order


class TooManyGroups(Exception):
    """The groups are more than asked for."""


def feasible_groups(
    costs: GroupCosts,
    order: Order,
    limit: int = 500_000,
    deadline: Deadline = NEVER,
    hereditary: bool | None = None,
) -> dict[int, int]:
    """DRAM bytes of every group that may be in a partition.

    Every connected convex group of two operations or more has a source or a sink that can be taken away so that the
    rest is connected and convex (an end block of the group has a source and a sink, and at most one of them joins it
    to the other blocks). So groups are grown by one operation at a time, and, where validity is hereditary (default:
    what the costs say of themselves), only from valid ones. Lone operations are always grown, whether they fit or not.

    Raises:
        TooManyGroups: Beyond ``limit`` groups looked at.
        TimeUp: Past the deadline.
    """
    if hereditary is None:
        hereditary = getattr(costs, "hereditary", True)
    ancestors, descendants, neighbours = order.ancestors, order.descendants, order.neighbours
    found = {1 << i: group_dram(costs, 1 << i) for i in range(len(order))}
    seen = set(found)
    frontier = [(1 << i, ancestors[i], descendants[i], neighbours[i]) for i in range(len(order))]
    with within(costs, deadline):
        while frontier:
            deadline.check()
            if len(seen) > limit:
                raise TooManyGroups
            group, above, below, around = frontier.pop()
            for i in bits(around & ~group):
                grown = group | 1 << i
                if grown in seen or (ancestors[i] & below | descendants[i] & above) & ~group:
                    continue
                seen.add(grown)
                dram = costs.dram(grown)
                if dram >= 0:
                    found[grown] = dram
                elif hereditary:
                    continue
                frontier.append((grown, above | ancestors[i], below | descendants[i], around | neighbours[i]))
    return found


def is_hereditary(costs: GroupCosts, order: Order, limit: int = 500_000) -> bool:
    """Whether every connected convex part of two operations or more of a valid group is valid, by looking at all.

    Raises:
        TooManyGroups: Beyond ``limit`` groups.
    """
    return _first_exception(costs, order, limit) is None


def _first_exception(costs: GroupCosts, order: Order, limit: int) -> tuple[int, int] | None:
    for group in connected_convex(order, limit):
        if costs.dram(group) < 0:
            continue
        for i in bits(group):
            part = group & ~(1 << i)
            if part & (part - 1) and order.connected(part) and order.convex(part) and costs.dram(part) < 0:
                return group, part
    return None


def connected_convex(order: Order, limit: int = 500_000) -> list[int]:
    """All connected convex groups.

    Raises:
        TooManyGroups: Beyond ``limit``.
    """
    seen = {1 << i for i in range(len(order))}
    frontier = list(seen)
    while frontier:
        if len(seen) > limit:
            raise TooManyGroups
        group = frontier.pop()
        around = 0
        for i in bits(group):
            around |= order.neighbours[i]
        for i in bits(around & ~group):
            grown = group | 1 << i
            if grown not in seen and order.convex(grown):
                seen.add(grown)
                frontier.append(grown)
    return sorted(seen)
