"""Best-first search for the cheapest chain of down-sets. The cost of a group is computed only when it is needed."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

from autobuild.cost.fusion.bitmask import InvalidGroups, bits
from autobuild.cost.fusion.deadline import Deadline, TimeUp, within
from autobuild.cost.fusion.partition.partition import MinimumTraffic, Tensor, TrafficCosts, group_dram
from autobuild.cost.fusion.partition.topology import Topology

SurelyInvalid = Callable[[int], bool]


class DownSets:
    """All down-sets of a network, and the tensors that cross from each to the rest of the network.

    The DRAM bytes of a partition are the floor (weights, inputs and outputs of the network, each once) plus the traffic
    of tensors that cross borders. The border of a down-set is the set of tensors that a later operation reads. In a
    chain of down-sets a tensor costs two transfers (one for an output of the network, which is written in any case)
    when it first enters the border. It costs one transfer for each group that reads it while a later group needs it,
    too. So the cost of a border depends on the border before it only through the tensors in both.

    Args:
        topology: Edges of the network.
        tensors: Tensors of the network.
        limit: Largest number of down-sets.

    Attributes:
        sets: For each size the down-sets: bytes of the border, minus the size, the down-set, the border.
        full: Whether there are at most ``limit`` down-sets. If not, nothing else may be used.
    """

    def __init__(self, topology: Topology, tensors: Sequence[Tensor], limit: int) -> None:
        self.sizes = [tensor.dram_bytes for tensor in tensors]
        self.consumers = [tensor.consumers for tensor in tensors]
        # Inputs are in the first border and cost nothing there: one transfer is part of the floor.
        self.first_costs = [
            0 if tensor.producer < 0 else tensor.dram_bytes * (1 if tensor.output else 2) for tensor in tensors
        ]
        self.start = sum(1 << t for t, tensor in enumerate(tensors) if tensor.producer < 0 and tensor.consumers)
        written: list[int] = [0] * len(topology)
        read: list[int] = [0] * len(topology)
        for t, tensor in enumerate(tensors):
            if tensor.producer >= 0 and tensor.consumers:
                written[tensor.producer] |= 1 << t
            for i in bits(tensor.consumers):
                read[i] |= 1 << t
        border = {0: self.start}
        ready = {0: sum(1 << i for i in range(len(topology)) if not topology.preds[i])}
        queue = [0]
        self.full = True
        for done in queue:
            for i in bits(ready[done]):
                after = done | 1 << i
                if after in border:
                    continue
                if len(border) >= limit:
                    self.full = False
                    return
                dead = sum(1 << t for t in bits(read[i]) if not self.consumers[t] & ~after)
                border[after] = (border[done] | written[i]) & ~dead
                ready[after] = (ready[done] ^ 1 << i) | sum(
                    1 << j for j in bits(topology.succs[i]) if not topology.preds[j] & ~after
                )
                queue.append(after)
        self.border = border
        cost = {done: sum(self.first_costs[t] for t in bits(on)) for done, on in border.items()}
        self.sets: list[list[tuple[int, int, int, int]]] = [[] for _ in range(len(topology) + 1)]
        for done, on in border.items():
            size = done.bit_count()
            self.sets[size].append((cost[done], -size, done, on))
        # The only down-set of its size contains all smaller ones and is contained in all larger ones.
        self.narrow = [(size, sets[0][2]) for size, sets in enumerate(self.sets) if len(sets) == 1]

    def after(self, done: int, surely_invalid: SurelyInvalid) -> list[tuple[int, int, int]]:
        """Steps from the down-set ``done`` to larger ones, cheapest first.

        Steps are left out if they contain a group that is surely invalid.

        Args:
            done: The down-set.
            surely_invalid: Whether every superset of a group is invalid.

        Returns:
            For each step the bytes above the floor, minus the size of the larger down-set, and that down-set.
        """
        before, size, narrow = self.border[done], done.bit_count(), self.narrow
        first = bisect_right(narrow, size, key=itemgetter(0))
        # every superset of a surely invalid group is surely invalid
        end = bisect_left(narrow, True, first, key=lambda between: surely_invalid(between[1] & ~done))
        stop = narrow[end][0] if end < len(narrow) else len(self.sets)
        steps = [
            (self._shared(done, before, target, on) if before & on else cost, fewer, target)
            for sets in self.sets[size + 1 : stop]
            for cost, fewer, target, on in sets
            if not done & ~target
        ]
        steps.sort()
        return steps

    def _shared(self, done: int, before: int, target: int, on: int) -> int:
        group = target & ~done
        again = sum(self.sizes[t] for t in bits(before & on) if self.consumers[t] & group)
        return again + sum(self.first_costs[t] for t in bits(on & ~before))


class BestFirstResult(NamedTuple):
    """Result of a best-first search.

    Attributes:
        groups: Groups of the best partition; empty if the search did not end.
        bound: Lower bound on the DRAM bytes of every partition.
    """

    groups: list[int]
    bound: int


def best_first(
    costs: TrafficCosts, topology: Topology, limit: int, deadline: Deadline, hereditary: bool
) -> BestFirstResult:
    """The partition with the fewest DRAM bytes, by Dijkstra's algorithm on the bytes above the floor.

    A step is queued at the least bytes that it can cost. The cost of its group is computed only when the step is the
    cheapest in the queue, so most groups are never computed.

    Args:
        costs: Costs of the groups of a network.
        topology: Edges of the network.
        limit: Largest number of down-sets; networks with more are not searched.
        deadline: When to stop.
        hereditary: Assume that every superset of an invalid group is invalid.
    """
    minimum = MinimumTraffic(costs, topology)
    floor = minimum.dram_bytes(topology.everything)
    down_sets = DownSets(topology, costs.tensors, limit)
    surely_invalid: SurelyInvalid = getattr(costs, "surely_invalid", lambda group: False)
    if not down_sets.full:
        return BestFirstResult([], floor)
    known = {0: (0, 0)}  # down-set -> bytes above the floor, last group
    closed: set[int] = set()
    steps: dict[int, Iterator[tuple[int, int, int]]] = {}
    refused = InvalidGroups()
    # Entries: bytes above the floor, minus the size, the down-set, the down-set before it (itself: cost is final).
    heap = [(0, 0, 0, 0)]
    spent = 0
    try:
        with within(costs, deadline):
            while heap:
                deadline.check()
                spent, _, target, source = heapq.heappop(heap)
                if target == source:  # its cost is final
                    if target in closed:
                        continue
                    if target == topology.everything:
                        break
                    closed.add(target)
                    steps[target] = iter(down_sets.after(target, surely_invalid))
                elif target not in closed and not refused.any_within(group := target & ~source):
                    dram = group_dram(costs, group)
                    if (dram >= 0 or hereditary) and not topology.connected(group):
                        pass  # not a group, and says nothing about other groups
                    elif dram >= 0:
                        total = spent + dram - minimum.dram_bytes(group)
                        if target not in known or total < known[target][0]:
                            known[target] = (total, group)
                            heapq.heappush(heap, (total, -target.bit_count(), target, target))
                    elif hereditary:
                        refused.add(group)
                for more, fewer, onward in steps[source]:
                    if onward not in closed and (onward not in known or known[source][0] + more < known[onward][0]):
                        heapq.heappush(heap, (known[source][0] + more, fewer, onward, source))
                        break
    except TimeUp:
        return BestFirstResult([], floor + spent)
    groups = []
    done = topology.everything
    while done:
        groups.append(known[done][1])
        done ^= known[done][1]
    return BestFirstResult(groups[::-1], floor + known[topology.everything][0])
