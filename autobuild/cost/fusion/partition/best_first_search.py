"""The best chain of down-sets, best first: a group's buffer is looked at only when no cheaper chain is left to try."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

from autobuild.cost.fusion.bitmask import Refused, bits
from autobuild.cost.fusion.deadline import Deadline, TimeUp, within
from autobuild.cost.fusion.partition.partition import Minimum, Tensor, TrafficCosts, group_dram
from autobuild.cost.fusion.partition.topology import Order

Hopeless = Callable[[int], bool]


class Borders:
    """All down-sets of a network, and what must be in DRAM where one ends.

    The bytes of any partition are the floor (weights, inputs and outputs of the network, each once) and what lies on
    the borders between groups. A chain of groups from down-set to down-set pays for a tensor when it first lies on a
    border (it is written, and will be read; an output is written anyhow), and again each time that a group reads it
    and a later one still needs it. So the cost of a border does not depend on the group before it, but for tensors
    that lay on the border before, too.

    Args:
        order: The network's order.
        tensors: Its tensors.
        limit: How many down-sets there may be.

    Attributes:
        sets: The down-sets of each size, with the bytes that their border costs.
        full: Whether there are no more than the limit; otherwise nothing else can be asked.
    """

    def __init__(self, order: Order, tensors: Sequence[Tensor], limit: int) -> None:
        self.sizes = [tensor.dram_bytes for tensor in tensors]
        self.consumers = [tensor.consumers for tensor in tensors]
        # An input lies on the first border, where it costs nothing: its one reading is part of the floor.
        self.first_costs = [
            0 if tensor.producer < 0 else tensor.dram_bytes * (1 if tensor.output else 2) for tensor in tensors
        ]
        self.start = sum(1 << t for t, tensor in enumerate(tensors) if tensor.producer < 0 and tensor.consumers)
        written: list[int] = [0] * len(order)
        read: list[int] = [0] * len(order)
        for t, tensor in enumerate(tensors):
            if tensor.producer >= 0 and tensor.consumers:
                written[tensor.producer] |= 1 << t
            for i in bits(tensor.consumers):
                read[i] |= 1 << t
        border = {0: self.start}
        ready = {0: sum(1 << i for i in range(len(order)) if not order.preds[i])}
        left = [0]
        self.full = True
        for done in left:
            for i in bits(ready[done]):
                after = done | 1 << i
                if after in border:
                    continue
                if len(border) >= limit:
                    self.full = False
                    return
                gone = sum(1 << t for t in bits(read[i]) if not self.consumers[t] & ~after)
                border[after] = (border[done] | written[i]) & ~gone
                ready[after] = (ready[done] ^ 1 << i) | sum(
                    1 << j for j in bits(order.succs[i]) if not order.preds[j] & ~after
                )
                left.append(after)
        self.border = border
        cost = {done: sum(self.first_costs[t] for t in bits(on)) for done, on in border.items()}
        self.sets: list[list[tuple[int, int, int, int]]] = [[] for _ in range(len(order) + 1)]
        for done, on in border.items():
            size = done.bit_count()
            self.sets[size].append((cost[done], -size, done, on))
        # the only down-set of its size lies between all smaller and all larger ones
        self.narrow = [(size, sets[0][2]) for size, sets in enumerate(self.sets) if len(sets) == 1]

    def after(self, done: int, hopeless: Hopeless) -> list[tuple[int, int, int]]:
        """Down-sets that hold ``done`` and more, cheapest first: bytes that the step costs above the floor.

        Without those whose step is hopeless as a group because a shorter one is that they all hold.
        """
        before, size, narrow = self.border[done], done.bit_count(), self.narrow
        first = bisect_right(narrow, size, key=itemgetter(0))
        # what holds a hopeless group is hopeless
        end = bisect_left(narrow, True, first, key=lambda between: hopeless(between[1] & ~done))
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


class Lazily(NamedTuple):
    """What a best-first search found.

    Attributes:
        groups: Of the best partition; empty where it did not end.
        bound: Bytes that no partition stays under.
    """

    groups: list[int]
    bound: int


def best_first(costs: TrafficCosts, order: Order, limit: int, deadline: Deadline, hereditary: bool) -> Lazily:
    """Groups of the partition with the fewest DRAM bytes.

    Dijkstra's algorithm on the bytes above the floor. A step is first tried at what it must cost, and the group's own
    cost asked for only when it is the cheapest left, so that most groups are never computed.

    Args:
        costs: The network and the cost of its groups.
        order: Its order.
        limit: Down-sets beyond which it is not tried.
        deadline: When to stop.
        hereditary: Whether an invalid group refuses all that hold it.
    """
    minimum = Minimum(costs, order)
    floor = minimum.of(order.everything)
    borders = Borders(order, costs.tensors, limit)
    hopeless: Hopeless = getattr(costs, "hopeless", lambda group: False)
    if not borders.full:
        return Lazily([], floor)
    known = {0: (0, 0)}  # down-set -> bytes above the floor, last group
    closed: set[int] = set()
    steps: dict[int, Iterator[tuple[int, int, int]]] = {}
    refused = Refused()
    # Entries: bytes above the floor, the larger set first, the set, where the step came from (itself: reached).
    heap = [(0, 0, 0, 0)]
    spent = 0
    try:
        with within(costs, deadline):
            while heap:
                deadline.check()
                spent, _, target, source = heapq.heappop(heap)
                if target == source:  # reached
                    if target in closed:
                        continue
                    if target == order.everything:
                        break
                    closed.add(target)
                    steps[target] = iter(borders.after(target, hopeless))
                elif target not in closed and not refused.within(group := target & ~source):
                    dram = group_dram(costs, group)
                    if (dram >= 0 or hereditary) and not order.connected(group):
                        pass  # no group, and nothing follows for one
                    elif dram >= 0:
                        total = spent + dram - minimum.of(group)
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
        return Lazily([], floor + spent)
    groups = []
    done = order.everything
    while done:
        groups.append(known[done][1])
        done ^= known[done][1]
    return Lazily(groups[::-1], floor + known[order.everything][0])
