"""BRR (buffer requirement reduction): the operations of a group run one after another on whole tensors.

After Optimus (Cai et al., 2022), which Mills et al. (2025) build on. The papers give no formula; this one is ours.
Weights are streamed once, and a tile of 16 output channels is on chip. A tensor is on chip from the operation that
writes it or first reads it to the last one in the group that reads it. A tensor that is only read outside the group
needs one row. The required buffer is the minimum over all orders of execution of the maximum over the steps.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.deadline import NEVER
from autobuild.cost.fusion.graph import FusionGraph

Step = tuple[int, int, int, int]  # bytes while it runs, bytes after it, bit of the operation, mask of ready operations
TILE_CHANNELS = 16
MAX_STATES = 20_000  # sets of executed operations up to which the search is exact
CHECKED = 32  # states between two checks of the deadline: some milliseconds


class Fit(NamedTuple):
    """Result of a search for an order of execution within a limit.

    Attributes:
        fits: Whether such an order exists; None if the search was given up and two simple orders need more.
        bytes: If True, the limit. If False, a lower bound of the requirement. If None, an upper bound.
    """

    fits: bool | None
    bytes: int


class WholeTensors:
    """Required buffer of the groups of one graph, with whole tensors.

    Args:
        graph: The fusion graph.

    Attributes:
        deadline: When to stop. After it :meth:`fits` raises, and :meth:`required_bytes` returns an upper bound.
        least: For each operation the bytes that it needs in every group.
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
        """Why a group has no schedule with whole tensors; empty if it has one."""
        if mask & self.unknown:
            return f"{self.graph.ops[next(bits(mask & self.unknown))].name} is a barrier"
        return ""

    def required_bytes(self, mask: int, at_most: int | None = None) -> int:
        """Required buffer of a group in bytes: exact for up to 20,000 down-sets, an upper bound beyond.

        Weights that several operations of the group read stay whole on chip, in addition to the tiles. This, too, is an
        upper bound.

        Args:
            mask: The group.
            at_most: Orders of execution that need more than this are not examined.

        Returns:
            The requirement. If it is above ``at_most``, a lower bound of it that is above ``at_most``.
        """
        common = self._common(mask)
        if at_most is None:
            return common + self._least_peak(mask, self._greedy(mask))
        fit = self.fits(mask, at_most)
        return common + self._least_peak(mask, at_most - common) if fit.fits else fit.bytes

    def fits(self, mask: int, at_most: int) -> Fit:
        """Whether a group has an order of execution within a limit. Depth-first search, fewest remaining bytes first.

        Args:
            mask: The group.
            at_most: The limit, bytes.

        Raises:
            TimeUp: The deadline has passed.
        """
        common = self._common(mask)
        limit = at_most - common
        floor, ready = self._begin(mask)
        if floor > limit:
            return Fit(False, common + floor)
        beyond = None
        seen: set[int] = set()
        stack = [(0, 0, ready)]  # mask of executed operations, bytes on chip, mask of ready operations
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
            done, live, ready, steps = self._run_free_steps(mask, limit, done, live, ready)
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
        """The largest least requirement of its operations, and the mask of those that can run first."""
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
        """Minimax path over sets of executed operations; a path within ``at_most`` must exist.

        Of equal peaks, the set with most operations is expanded first.
        """
        floor, ready = self._begin(mask)
        heap = [(floor, 0, 0, 0, ready)]  # peak, minus the number executed, their mask, bytes on chip, ready
        settled: set[int] = set()
        while heap:
            peak, _, done, live, ready = heapq.heappop(heap)
            if done in settled:
                continue
            settled.add(done)
            if len(settled) > MAX_STATES or (not len(settled) % CHECKED and self.deadline.passed):
                return min(self._greedy(mask), at_most)
            done, live, ready, steps = self._run_free_steps(mask, peak, done, live, ready)
            if done == mask:
                return peak
            for step, stays, bit, following in steps:
                if step <= at_most:
                    after = done | bit
                    heapq.heappush(heap, (step if step > peak else peak, -after.bit_count(), after, stays, following))
        return at_most

    def _run_free_steps(
        self, mask: int, peak: int, done: int, live: int, ready: int
    ) -> tuple[int, int, int, list[Step]]:
        """Run all steps that neither raise the peak nor leave more bytes on chip: no order gains by delaying them.

        Returns:
            Executed operations, bytes on chip and ready operations after these steps, and the steps that can follow.
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
        """Mask of the operations that become ready by operation i."""
        freed, left = 0, self.succs[i] & mask
        while left:
            bit = left & -left
            left ^= bit
            if not self.preds[bit.bit_length() - 1] & mask & ~done:
                freed |= bit
        return freed

    def _least(self, i: int) -> int:
        """Bytes that an operation needs in every group."""
        inputs = sum(self.held[tensor] for tensor in self.inputs[i])
        return inputs + self.resident[i] + (0 if self.replaces[i] else sum(self.row[t] for t in self.outputs[i]))

    def _step(self, mask: int, done: int, i: int, live: int) -> tuple[int, int]:
        """Bytes on chip while operation i runs after those in ``done``, and after it has run."""
        bit = 1 << i
        later = mask & ~(done | bit)
        held, readers, producer = self.held, self.readers, self.producer
        gone = largest = 0
        for tensor in self.inputs[i]:
            source = producer[tensor]
            outside = source < 0 or not mask >> source & 1
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
        """Peak of the better one of two orders: fewest bytes left on chip first, and the order of the graph."""
        return min(self._in_order(mask, True), self._in_order(mask, False))

    def _in_order(self, mask: int, greedy: bool) -> int:
        done = live = peak = 0
        while done != mask:
            ready = [i for i in bits(mask & ~done) if not self.preds[i] & mask & ~done]
            steps = [(self._step(mask, done, i, live), i) for i in (ready if greedy else ready[:1])]
            (step, live), i = min(steps, key=lambda candidate: (candidate[0][1], candidate[0][0]))
            peak, done = max(peak, step), done | 1 << i
        return peak


def weight_tile(weight_bytes: int, channels: int, tile: int = TILE_CHANNELS) -> int:
    """Bytes of the weights of ``tile`` output channels, rounded up."""
    return -(-weight_bytes * min(tile, channels) // channels)
