"""Decomposition of a network into parts that can be partitioned independently, and the feasible groups of each part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autobuild.cost.fusion.bitmask import bits, union
from autobuild.cost.fusion.deadline import NEVER, Deadline
from autobuild.cost.fusion.partition.topology import Topology


def independent_parts(topology: Topology, groups: Iterable[int], deadline: Deadline = NEVER) -> list[int]:
    """Sets of operations that can be partitioned independently, in an order of execution.

    Operations of one feasible group are in the same part. Sets with a cycle between them are joined. So no group spans
    two parts, and no path leaves a part and returns. Then acyclic partitions of the parts together are an acyclic
    partition of the network.

    Args:
        topology: Edges of the network.
        groups: All feasible groups.
        deadline: When to stop.

    Raises:
        TimeUp: The deadline has passed.
    """
    owner = [1 << i for i in range(len(topology))]
    for number, group in enumerate(groups):
        if not number & 1023:
            deadline.check()
        if group & (group - 1) and (joined := union(owner, group)) != owner[group.bit_length() - 1]:
            for i in bits(joined):
                owner[i] = joined
    sets = list(dict.fromkeys(owner))
    while (placed := topology.order_groups(sets)) is None:
        deadline.check()
        # Two sets are in a cycle if each contains an ancestor of the other, possibly through further sets.
        sets = _join_cycles(topology, sets)
    return list(placed)


def _join_cycles(topology: Topology, sets: list[int]) -> list[int]:
    """Join the sets of every cycle between sets."""
    owner = {i: mask for mask in sets for i in bits(mask)}

    def closure(mask: int, table: tuple[int, ...]) -> int:
        reached = edge = mask
        while edge:
            touched = 0
            for i in bits(union(table, edge) & ~reached):
                touched |= owner[i]
            edge = touched & ~reached
            reached |= touched
        return reached

    joined: list[int] = []
    left = 0
    for mask in sets:
        left |= mask
    for mask in sets:
        if mask & left:
            cycle = closure(mask, topology.succs) & closure(mask, topology.preds)
            joined.append(cycle)
            left &= ~cycle
    return joined


@dataclass(frozen=True)
class PartGroups:
    """The feasible groups of one part, indexed by their first operation.

    Attributes:
        part: The operations of the part.
        preds: For each operation the mask of its producers inside the part.
        succs: For each operation the mask of its consumers inside the part.
        by_first: First operation of a group -> groups: their mask, the mask of their producers, DRAM bytes.
    """

    part: int
    preds: tuple[int, ...]
    succs: tuple[int, ...]
    by_first: dict[int, list[tuple[int, int, int]]]

    @staticmethod
    def of(topology: Topology, part: int, groups: Mapping[int, int]) -> PartGroups:
        """Select the groups inside a part from all groups (mask -> DRAM bytes)."""
        by_first: dict[int, list[tuple[int, int, int]]] = {i: [] for i in bits(part)}
        preds = tuple(mask & part for mask in topology.preds)
        for group, dram in groups.items():
            if group & part:
                needs = union(preds, group) & ~group
                by_first[(group & -group).bit_length() - 1].append((group, needs, dram))
        return PartGroups(part, preds, tuple(mask & part for mask in topology.succs), by_first)

    @property
    def ready(self) -> int:
        """Operations without producers in the part."""
        return sum(1 << i for i in bits(self.part) if not self.preds[i])

    def ready_after(self, done: int, ready: int, group: int) -> int:
        """Operations outside ``done`` with all producers in it; ``ready`` are those before ``group`` was added."""
        after = (ready | union(self.succs, group)) & ~done
        for i in bits(after & ~ready):
            if self.preds[i] & ~done:
                after ^= 1 << i
        return after


@dataclass(frozen=True)
class PartSolution:
    """A partition of a part, with a lower bound.

    Attributes:
        groups: Bitmasks in an order of execution.
        dram_bytes: DRAM bytes of all groups.
        lower_bound: Lower bound on the DRAM bytes of every partition of the part.
    """

    groups: tuple[int, ...]
    dram_bytes: int
    lower_bound: int

    @property
    def optimal(self) -> bool:
        """Whether the bytes equal the lower bound."""
        return self.dram_bytes == self.lower_bound
