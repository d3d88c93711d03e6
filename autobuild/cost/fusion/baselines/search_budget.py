"""What the searches share: partitions written as fused links, chance plans, and the count of what was looked at."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import TracebackType

from autobuild.cost.fusion.baselines.group_splitting import Splitter, split_tree
from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.deadline import NEVER, Deadline, TimeUp, within
from autobuild.cost.fusion.partition.partition import GroupCosts, Partition, floor_bytes, group_dram, partition_of
from autobuild.cost.fusion.partition.topology import Order

PROPOSALS = 20  # a search gives up after this many proposals for each distinct plan it may look at


@dataclass(frozen=True)
class Links:
    """Pairs of operations that a group may join; a plan says of each whether it is fused.

    Every partition is a plan: the links inside its groups are fused, unless they are cut off.

    Attributes:
        order: The network's order.
        pairs: Connected operations, the first before the second. Pairs that do not even fit by themselves are cut off:
            no group should hold them (where validity is hereditary, none can).
    """

    order: Order
    pairs: tuple[tuple[int, int], ...]
    into: tuple[tuple[tuple[int, int], ...], ...] = field(repr=False)

    @staticmethod
    def of(costs: GroupCosts, order: Order) -> Links:
        """All links of a network that may be fused."""
        pairs = []
        for j in range(len(order)):
            for i in bits(order.neighbours[j] & ((1 << j) - 1)):
                pair = 1 << i | 1 << j
                if not (order.convex(pair) and costs.dram(pair) < 0):
                    pairs.append((i, j))
        into: list[list[tuple[int, int]]] = [[] for _ in range(len(order))]
        for number, (i, j) in enumerate(pairs):
            into[j].append((number, i))
        return Links(order, tuple(pairs), tuple(map(tuple, into)))

    def groups(self, plan: Sequence[bool]) -> list[int]:
        """Groups of a plan, with an acyclic quotient: a link that would close a circle is left out."""
        groups = self._fuse(plan, careful=False)
        return groups if self.order.order_groups(groups) is not None else self._fuse(plan, careful=True)

    def _fuse(self, plan: Sequence[bool], careful: bool) -> list[int]:
        # Operations are placed in order, each with all its links: what lies before it then holds every partition's
        # beginning, whose groups are convex and wait for one another in no circle.
        order = self.order
        owner: list[int] = []
        span: dict[int, tuple[int, int]] = {}  # group -> ancestors, descendants
        for j, links in enumerate(self.into):
            group = 1 << j
            owner.append(group)
            span[group] = (order.ancestors[j], order.descendants[j])
            for number, i in links:
                other, group = owner[i], owner[j]
                if not plan[number] or other == group:
                    continue
                merged = other | group
                above, below = span[other][0] | span[group][0], span[other][1] | span[group][1]
                if above & below & ~merged:
                    continue
                if careful and order.order_groups([*span.keys() - {other, group}, merged]) is None:
                    continue
                del span[other], span[group]
                span[merged] = (above, below)
                for k in bits(merged):
                    owner[k] = merged
        return list(span)

    def plan(self, groups: Iterable[int]) -> list[bool]:
        """A partition as a plan."""
        owner = {i: group for group in groups for i in bits(group)}
        return [owner[i] == owner[j] for i, j in self.pairs]


def chance_plans(links: Links, count: int, seed: int) -> list[list[bool]]:
    """Plans by chance: for each a share of fused links is drawn, then the links."""
    rng = random.Random(seed)
    plans = []
    for _ in range(count):
        share = rng.random()
        plans.append([rng.random() < share for _ in links.pairs])
    return plans


class Trial:
    """The books of one search: invalid groups are split, distinct partitions counted, the best one kept.

    As a context, it ends the search inside when the time is up, wherever that is.

    Args:
        costs: The network and the cost of its groups.
        splitter: Names where an invalid group is cut.
        budget: Distinct partitions that may be looked at.
        seed: For every choice by chance.
        time_limit_s: Seconds, or a deadline that runs already, after which the search ends.
    """

    def __init__(
        self,
        costs: GroupCosts,
        splitter: Splitter,
        budget: int,
        seed: int = 0,
        time_limit_s: float | Deadline = NEVER,
    ) -> None:
        self.deadline = Deadline.of(time_limit_s)
        self.costs, self.splitter, self.budget = costs, splitter, budget
        self.order = Order.of(costs)
        self.rng = random.Random(seed)
        self.seen: set[frozenset[int]] = set()
        self.trace: list[int] = []  # fewest bytes after each distinct partition
        self.best: tuple[int, tuple[int, ...]] | None = None
        self.proposals = 0
        self.cuts: dict[int, tuple[int, ...]] = {}
        self._held = ExitStack()

    def __enter__(self) -> Trial:
        self._held.enter_context(within(self.costs, self.deadline))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        self._held.close()
        return kind is TimeUp

    @cached_property
    def links(self) -> Links:
        """All that may be fused."""
        return Links.of(self.costs, self.order)

    @property
    def done(self) -> bool:
        """Whether the search has looked at all it may."""
        spent = len(self.seen) >= self.budget or self.proposals >= PROPOSALS * self.budget
        return spent or self.deadline.passed

    def look_at(self, groups: Sequence[int], explore: float = 0.0) -> tuple[int, tuple[int, ...]]:
        """DRAM bytes of a partition, and the partition after its invalid groups are split.

        Args:
            groups: Connected groups with an acyclic quotient.
            explore: How often an invalid group is cut by chance instead of where the splitter says.
        """
        self.proposals += 1
        valid: list[int] = []
        for group in groups:
            if group_dram(self.costs, group) >= 0:
                valid.append(group)
            else:
                valid += split_tree(
                    self.costs, self.order, group, self.splitter, self.rng, self.cuts, explore, self.deadline
                )
        dram = sum(group_dram(self.costs, group) for group in valid)
        found = dram, tuple(valid)
        if (key := frozenset(valid)) not in self.seen and not self.done:
            self.seen.add(key)
            if self.best is None or dram < self.best[0]:
                self.best = found
            self.trace.append(self.best[0])
        return found

    def result(self) -> Partition:
        """The best partition that was looked at; every operation alone where the time sufficed for none."""
        groups = self.best[1] if self.best else [1 << i for i in range(len(self.order))]
        found = partition_of(self.costs, groups, self.order)
        floor = min(floor_bytes(self.costs, self.order), found.dram_bytes)
        return replace(found, lower_bound=floor, seconds=self.deadline.elapsed, plans=len(self.seen),
                       trace=tuple(self.trace))  # fmt: skip
