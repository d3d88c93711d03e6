"""One run of a partition search: repair of invalid groups, evaluation budget, time limit, best partition."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from types import TracebackType

from autobuild.cost.fusion.baselines.edge_encoding import FusibleEdges
from autobuild.cost.fusion.baselines.group_splitting import Splitter, split_randomly, split_tree
from autobuild.cost.fusion.deadline import NEVER, Deadline, TimeUp, within
from autobuild.cost.fusion.partition.partition import AnyGroupCosts, Partition, floor_bytes, group_dram, partition_of
from autobuild.cost.fusion.partition.topology import Topology

PROPOSALS = 20  # a search ends after this many proposals for each distinct partition of its budget


class SearchRun:
    """State of one search. Used as a context manager, it ends the search when the time limit passes.

    Args:
        costs: Costs of the groups of a network.
        splitter: Names the operations at which an invalid group may be cut.
        budget: Number of distinct partitions to evaluate.
        seed: Seed of all random choices.
        time_limit_s: Seconds, or a deadline that already runs.
    """

    def __init__(
        self,
        costs: AnyGroupCosts,
        splitter: Splitter,
        budget: int,
        seed: int = 0,
        time_limit_s: float | Deadline = NEVER,
    ) -> None:
        self.deadline = Deadline.of(time_limit_s)
        self.costs, self.splitter, self.budget = costs, splitter, budget
        self.topology = Topology.of(costs)
        self.rng = random.Random(seed)
        self.seen: set[frozenset[int]] = set()
        self.trace: list[int] = []  # fewest DRAM bytes after each distinct partition
        self.best: tuple[int, tuple[int, ...]] | None = None
        self.proposals = 0
        self.cuts: dict[int, tuple[int, ...]] = {}
        self._contexts = ExitStack()

    def __enter__(self) -> SearchRun:
        self._contexts.enter_context(within(self.costs, self.deadline))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        self._contexts.close()
        return kind is TimeUp

    @cached_property
    def edges(self) -> FusibleEdges:
        """Pairs of operations that may be fused."""
        return FusibleEdges.of(self.costs, self.topology)

    @property
    def done(self) -> bool:
        """Whether the budget is used up or the time limit has passed."""
        spent = len(self.seen) >= self.budget or self.proposals >= PROPOSALS * self.budget
        return spent or self.deadline.passed

    def evaluate(self, groups: Sequence[int], explore: float = 0.0) -> tuple[int, tuple[int, ...]]:
        """Split the invalid groups of a partition, and count its DRAM bytes.

        Args:
            groups: Connected groups with an acyclic quotient graph.
            explore: Probability that an invalid group is cut at a random operation instead of where the splitter says.

        Returns:
            DRAM bytes, and the valid groups.
        """
        self.proposals += 1
        valid: list[int] = []
        for group in groups:
            if group_dram(self.costs, group) >= 0:
                valid.append(group)
            else:
                valid += split_tree(
                    self.costs, self.topology, group, self.splitter, self.rng, self.cuts, explore, self.deadline
                )
        dram = sum(group_dram(self.costs, group) for group in valid)
        evaluated = dram, tuple(valid)
        if (key := frozenset(valid)) not in self.seen and not self.done:
            self.seen.add(key)
            if self.best is None or dram < self.best[0]:
                self.best = evaluated
            self.trace.append(self.best[0])
        return evaluated

    def result(self) -> Partition:
        """The best partition that was evaluated. If there is none, every operation is its own group."""
        groups = self.best[1] if self.best else [1 << i for i in range(len(self.topology))]
        partition = partition_of(self.costs, groups, self.topology)
        floor = min(floor_bytes(self.costs, self.topology), partition.dram_bytes)
        return replace(partition, lower_bound=floor, seconds=self.deadline.elapsed, plans=len(self.seen),
                       trace=tuple(self.trace))  # fmt: skip


def run_search(
    search: Callable[[SearchRun, int], None],
    costs: AnyGroupCosts,
    splitter: Splitter = split_randomly,
    budget: int = 5000,
    seed: int = 0,
    time_limit_s: float | Deadline = NEVER,
) -> Partition:
    """Run a search and return the best partition that it evaluated.

    Args:
        search: ``random_search``, ``local_search`` or ``nsga2``: evaluates partitions until the run is done.
        costs: Costs of the groups of a network.
        splitter: Names the operations at which an invalid group may be cut.
        budget: Number of distinct partitions to evaluate, the initial ones included.
        seed: Seed of the initial plans, the steps and the splits. Equal seeds give all searches the same initial plans.
        time_limit_s: Seconds, or a deadline that already runs.

    Raises:
        ConfigError: NSGA-II is asked for and pymoo is not installed.
    """
    run = SearchRun(costs, splitter, budget, seed, time_limit_s)
    with run:
        search(run, seed)
    return run.result()
