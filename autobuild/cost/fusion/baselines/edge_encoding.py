"""Partitions as bit vectors over edges: each bit says whether two adjacent operations are fused."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.partition.partition import AnyGroupCosts
from autobuild.cost.fusion.partition.topology import Topology

INITIAL_PLANS = 100  # random plans that local search and NSGA-II start from


@dataclass(frozen=True)
class FusibleEdges:
    """Pairs of adjacent operations that a group may contain. A plan holds one bit for each pair: fused or not.

    Every partition can be written as a plan that fuses the pairs inside its groups. Pairs that do not fit the buffer as
    a group of two are left out. If validity is hereditary, no valid group contains such a pair.

    Attributes:
        topology: Edges of the network.
        pairs: Pairs of adjacent operations, the lower number first.
        into: For each operation j, the pairs (i, j): position in ``pairs``, and i.
    """

    topology: Topology
    pairs: tuple[tuple[int, int], ...]
    into: tuple[tuple[tuple[int, int], ...], ...] = field(repr=False)

    @staticmethod
    def of(costs: AnyGroupCosts, topology: Topology) -> FusibleEdges:
        """All pairs of a network that may be fused."""
        pairs = []
        for j in range(len(topology)):
            for i in bits(topology.neighbours[j] & ((1 << j) - 1)):
                pair = 1 << i | 1 << j
                if not (topology.convex(pair) and costs.dram(pair) < 0):
                    pairs.append((i, j))
        into: list[list[tuple[int, int]]] = [[] for _ in range(len(topology))]
        for number, (i, j) in enumerate(pairs):
            into[j].append((number, i))
        return FusibleEdges(topology, tuple(pairs), tuple(map(tuple, into)))

    def groups(self, plan: Sequence[bool]) -> list[int]:
        """Groups of a plan. Pairs whose fusion would close a cycle between groups are not fused."""
        groups = self._fuse(plan, check_cycles=False)
        return groups if self.topology.order_groups(groups) is not None else self._fuse(plan, check_cycles=True)

    def _fuse(self, plan: Sequence[bool], check_cycles: bool) -> list[int]:
        # Operations are added in topological order, each with all its pairs. So any acyclic partition can be reached:
        # its restriction to the first operations is acyclic and has convex groups.
        topology = self.topology
        group_of: list[int] = []
        span: dict[int, tuple[int, int]] = {}  # group -> ancestors, descendants
        for j, pairs in enumerate(self.into):
            group = 1 << j
            group_of.append(group)
            span[group] = (topology.ancestors[j], topology.descendants[j])
            for number, i in pairs:
                other, group = group_of[i], group_of[j]
                if not plan[number] or other == group:
                    continue
                merged = other | group
                above, below = span[other][0] | span[group][0], span[other][1] | span[group][1]
                if above & below & ~merged:
                    continue
                if check_cycles and topology.order_groups([*span.keys() - {other, group}, merged]) is None:
                    continue
                del span[other], span[group]
                span[merged] = (above, below)
                for k in bits(merged):
                    group_of[k] = merged
        return list(span)

    def plan(self, groups: Iterable[int]) -> list[bool]:
        """The plan of a partition: one bit for each of ``pairs``."""
        group_of = {i: group for group in groups for i in bits(group)}
        return [group_of[i] == group_of[j] for i, j in self.pairs]


def random_plans(edges: FusibleEdges, count: int, seed: int) -> list[list[bool]]:
    """Random plans. For each plan the probability of a fused pair is drawn first, then every pair."""
    rng = random.Random(seed)
    plans = []
    for _ in range(count):
        share = rng.random()
        plans.append([rng.random() < share for _ in edges.pairs])
    return plans
