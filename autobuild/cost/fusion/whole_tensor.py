"""BRR, buffer requirement reduction: the operations of a group run one after another on whole tensors.

After Optimus (Cai et al., 2022), which the fusion paper builds on; the paper gives no formula, so this one is ours.
Weights are streamed once, a tile of 16 output channels is resident. A tensor is on chip from the operation that writes
or first reads it to the last one that reads it; one that only leaves the group needs one row. The requirement is the
minimum over all orders of the maximum over the steps.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.deadline import NEVER
from autobuild.cost.fusion.graph import FusionGraph

Step = tuple[int, int, int, int]  # bytes while it runs, bytes that stay, the operation's bit, what can run next
TILE_CHANNELS = 16
MAX_STATES = 20_000
CHECKED = 32  # states between two looks at the clock: some milliseconds


class Fit(NamedTuple):
    """What a search for an order found.

    Attributes:
        fits: Whether one needs at most so much; None where the search was given up, and the simple orders need more.
        bytes: The limit where one fits, otherwise a lower bound of the requirement; an upper bound where given up.
    """

    fits: bool | None
    bytes: int


class WholeTensors:
    """Requirements of groups of one graph.

    Attributes:
        deadline: When to stop. :meth:`fits` raises then, :meth:`required_bytes` answers with an upper bound.
    """

    def __init__(self, graph: FusionGraph) -> None:
        self.deadline = NEVER
        self.graph, self.preds, self.succs = graph, graph.preds, graph.succs
        self.unknown = sum(1 << i for i, op in enumerate(graph.ops) if op.barrier)
        self.outputs = [op.outputs for op in graph.ops]
        self.replaces = [op.pointwise and len(op.outputs) == 1 for op in graph.ops]
        self.inputs = [tuple(dict.fromkeys(tensor for tensor, _ in op.operands)) for op in graph.ops]
        self.resident = [weight_tile(op.weight_bytes, op.weight_tiles) + op.accumulator_bytes for op in graph.ops]
        self.held = [tensor.held_bytes for tensor in graph.tensors]
        self.row = [tensor.row_bytes for tensor in graph.tensors]
        self.readers = [tensor.consumers for tensor in graph.tensors]
        self.producer = [tensor.producer for tensor in graph.tensors]
        self.least = [self._least(i) for i in range(len(graph))]

    def refusal(self, mask: int) -> str:
        """Why a group cannot run in this way; empty where it can."""
        if mask & self.unknown:
            return f"{self.graph.ops[next(bits(mask & self.unknown))].name} is a barrier"
        return ""

    def required_bytes(self, mask: int, at_most: int | None = None) -> int:
        """Buffer that a group needs, in bytes: exact where it has up to 20,000 down-sets, an upper bound beyond.

        Weights that several of its operations read stay whole while it runs, beside the tiles: an upper bound, too.

        Args:
            mask: The group.
            at_most: Orders that need more than this are not looked at.

        Returns:
            The requirement; where it is above ``at_most``, some lower bound of it above ``at_most``.
        """
        common = self._common(mask)
        if at_most is None:
            return common + self._least_peak(mask, self._greedy(mask))
        found = self.fits(mask, at_most)
        return common + self._least_peak(mask, at_most - common) if found.fits else found.bytes

    def fits(self, mask: int, at_most: int) -> Fit:
        """Whether a group has an order that needs at most so many bytes: depth first, what leaves least behind first.

        Raises:
            TimeUp: Past the deadline.
        """
        common = self._common(mask)
        limit = at_most - common
        floor, ready = self._begin(mask)
        if floor > limit:
            return Fit(False, common + floor)
        beyond = None
        seen: set[int] = set()
        stack = [(0, 0, ready)]  # which are done, bytes that stay, which can run next
        while stack:
            done, live, ready = stack.pop()
            if done in seen:
                continue
            seen.add(done)
            if not len(seen) % CHECKED:
                self.deadline.check()
            if len(seen) > MAX_STATES:
                least = self._greedy(mask)
                return Fit(True, at_most) if least <= limit else Fit(None, common + least)
            done, live, ready, steps = self._surely(mask, limit, done, live, ready)
            if done == mask:
                return Fit(True, at_most)
            onward = []
            for step, stays, bit, following in steps:
                if step <= limit:
                    onward.append((stays, done | bit, following))
                elif beyond is None or step < beyond:
                    beyond = step
            onward.sort(reverse=True)
            stack += [(after, stays, following) for stays, after, following in onward]
        return Fit(False, common + (floor if beyond is None else beyond))

    def _common(self, mask: int) -> int:
        return self.graph.common_bytes(mask) if self.graph.shared else 0

    def _begin(self, mask: int) -> tuple[int, int]:
        """What its operations need at least, and those that can run first."""
        floor = ready = 0
        left = mask
        while left:
            bit = left & -left
            left ^= bit
            i = bit.bit_length() - 1
            if self.least[i] > floor:
                floor = self.least[i]
            if not self.preds[i] & mask:
                ready |= bit
        return floor, ready

    def _least_peak(self, mask: int, at_most: int) -> int:
        """Minimax path over sets of operations that are done, where one within ``at_most`` is known to be there; of
        equal peaks the set with most operations goes first."""
        floor, ready = self._begin(mask)
        heap = [(floor, 0, 0, 0, ready)]  # peak, -operations done, which, bytes that stay, which can run next
        settled: set[int] = set()
        while heap:
            peak, _, done, live, ready = heapq.heappop(heap)
            if done in settled:
                continue
            settled.add(done)
            if len(settled) > MAX_STATES or (not len(settled) % CHECKED and self.deadline.passed):
                return min(self._greedy(mask), at_most)
            done, live, ready, steps = self._surely(mask, peak, done, live, ready)
            if done == mask:
                return peak
            for step, stays, bit, following in steps:
                if step <= at_most:
                    after = done | bit
                    heapq.heappush(heap, (step if step > peak else peak, -after.bit_count(), after, stays, following))
        return at_most

    def _surely(self, mask: int, peak: int, done: int, live: int, ready: int) -> tuple[int, int, int, list[Step]]:
        """Run what raises no peak and leaves no more behind than was there: no order gains by putting it off.

        Returns the state then, and the steps that can follow.
        """
        steps: list[Step] = []
        left = ready
        while left:
            bit = left & -left
            left ^= bit
            i = bit.bit_length() - 1
            step, stays = self._step(mask, done, i, live)
            following = ready ^ bit | self._freed(mask, done | bit, i)
            if step <= peak and stays <= live:
                done, live, ready, left, steps = done | bit, stays, following, following, []
            else:
                steps.append((step, stays, bit, following))
        return done, live, ready, steps

    def _freed(self, mask: int, done: int, i: int) -> int:
        """Operations that operation i was the last to keep from running."""
        found, left = 0, self.succs[i] & mask
        while left:
            bit = left & -left
            left ^= bit
            if not self.preds[bit.bit_length() - 1] & mask & ~done:
                found |= bit
        return found

    def _least(self, i: int) -> int:
        """What an operation needs in every group."""
        inputs = sum(self.held[tensor] for tensor in self.inputs[i])
        return inputs + self.resident[i] + (0 if self.replaces[i] else sum(self.row[t] for t in self.outputs[i]))

    def _step(self, mask: int, done: int, i: int, live: int) -> tuple[int, int]:
        """Bytes on chip while operation i runs behind those in ``done``, and after it."""
        bit = 1 << i
        later = mask & ~(done | bit)
        held, readers, producer = self.held, self.readers, self.producer
        gone = largest = 0
        for tensor in self.inputs[i]:
            who = producer[tensor]
            outside = who < 0 or not mask >> who & 1
            if outside and not readers[tensor] & done & mask:
                live += held[tensor]
            if not readers[tensor] & later:
                gone += held[tensor]
                if held[tensor] > largest:
                    largest = held[tensor]
        written = stays = 0
        for tensor in self.outputs[i]:
            if readers[tensor] & later:
                stays += held[tensor]
                written += held[tensor]
            else:
                written += self.row[tensor]
        in_place = self.replaces[i] and written <= largest
        return live + self.resident[i] + (0 if in_place else written), live - gone + stays

    def _greedy(self, mask: int) -> int:
        """An order that always takes the operation that leaves least behind, and the graph's own: the better one."""
        return min(self._in_order(mask, True), self._in_order(mask, False))

    def _in_order(self, mask: int, greedy: bool) -> int:
        done = live = peak = 0
        while done != mask:
            ready = [i for i in bits(mask & ~done) if not self.preds[i] & mask & ~done]
            steps = [(self._step(mask, done, i, live), i) for i in (ready if greedy else ready[:1])]
            (step, live), i = min(steps, key=lambda found: (found[0][1], found[0][0]))
            peak, done = max(peak, step), done | 1 << i
        return peak


def weight_tile(weight_bytes: int, channels: int, tile: int = TILE_CHANNELS) -> int:
    """Bytes of the weights of ``tile`` output channels, rounded up."""
    return -(-weight_bytes * min(tile, channels) // channels)
