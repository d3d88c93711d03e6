"""Enumeration of the groups that may be in a partition: connected, convex, and valid for the buffer."""

from __future__ import annotations

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.deadline import NEVER, Deadline, within
from autobuild.cost.fusion.partition.partition import AnyGroupCosts, group_dram
from autobuild.cost.fusion.partition.topology import Topology


class TooManyGroups(Exception):
    """There are more groups than the limit."""


def feasible_groups(
    costs: AnyGroupCosts,
    topology: Topology,
    limit: int = 500_000,
    deadline: Deadline = NEVER,
    hereditary: bool | None = None,
) -> dict[int, int]:
    """DRAM bytes of every group that may be in a partition.

    Groups grow by one operation at a time. This reaches all of them: every connected convex group of at least two
    operations has a source or a sink whose removal leaves a connected convex group. (An end block of the group has a
    source and a sink, and at most one of them joins it to the other blocks.) If validity is hereditary, only valid
    groups grow. Single operations always grow.

    Args:
        costs: Costs of the groups of a network.
        topology: Edges of the network.
        limit: Number of groups to examine.
        deadline: When to stop.
        hereditary: Assume that every part of a valid group is valid. Default: the attribute of the costs.

    Returns:
        Bitmask of the group -> DRAM bytes. Single operations are always included.

    Raises:
        TooManyGroups: There are more than ``limit`` groups.
        TimeUp: The deadline has passed.
    """
    if hereditary is None:
        hereditary = getattr(costs, "hereditary", True)
    ancestors, descendants, neighbours = topology.ancestors, topology.descendants, topology.neighbours
    drams = {1 << i: group_dram(costs, 1 << i) for i in range(len(topology))}
    seen = set(drams)
    frontier = [(1 << i, ancestors[i], descendants[i], neighbours[i]) for i in range(len(topology))]
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
                    drams[grown] = dram
                elif hereditary:
                    continue
                frontier.append((grown, above | ancestors[i], below | descendants[i], around | neighbours[i]))
    return drams


def is_hereditary(costs: AnyGroupCosts, topology: Topology, limit: int = 500_000) -> bool:
    """Whether every connected convex part of at least two operations of every valid group is valid, by enumeration.

    Raises:
        TooManyGroups: There are more than ``limit`` groups.
    """
    return _first_exception(costs, topology, limit) is None


def _first_exception(costs: AnyGroupCosts, topology: Topology, limit: int) -> tuple[int, int] | None:
    for group in connected_convex(topology, limit):
        if costs.dram(group) < 0:
            continue
        for i in bits(group):
            part = group & ~(1 << i)
            if part & (part - 1) and topology.connected(part) and topology.convex(part) and costs.dram(part) < 0:
                return group, part
    return None


def connected_convex(topology: Topology, limit: int = 500_000) -> list[int]:
    """All connected convex groups, as sorted bitmasks.

    Raises:
        TooManyGroups: There are more than ``limit`` groups.
    """
    seen = {1 << i for i in range(len(topology))}
    frontier = list(seen)
    while frontier:
        if len(seen) > limit:
            raise TooManyGroups
        group = frontier.pop()
        around = 0
        for i in bits(group):
            around |= topology.neighbours[i]
        for i in bits(around & ~group):
            grown = group | 1 << i
            if grown not in seen and topology.convex(grown):
                seen.add(grown)
                frontier.append(grown)
    return sorted(seen)
