"""What a group of operations costs: DRAM bytes, the buffer it needs, and whether it can run at all."""

from __future__ import annotations

import math
from functools import cached_property
from numbers import Real
from typing import NamedTuple

from autobuild.cost.fusion.bitmask import Refused, bits
from autobuild.cost.fusion.deadline import NEVER, Deadline, TimeUp
from autobuild.cost.fusion.dram_traffic import Traffic
from autobuild.cost.fusion.graph import FusionGraph
from autobuild.cost.fusion.line_buffer import LineBuffers
from autobuild.cost.fusion.single_operation import alone
from autobuild.cost.fusion.two_pass import Passes
from autobuild.cost.fusion.whole_tensor import WholeTensors
from autobuild.errors import ConfigError, GraphError, nearest

SCHEMES = ("mixed", "lbdf", "brr")
GROUP_SCHEMES = ("lbdf", "brr", "two_pass")


class GroupCost(NamedTuple):
    """Cost of one group.

    Attributes:
        dram_bytes: What it moves between chip and memory; for a group that is not valid, what it would move.
        buffer_bytes: What it needs on chip; for a group that is not valid, what it needs at least.
        scheme: ``lbdf``, ``brr``, ``two_pass``; ``resident``, ``weight_tiles``, ``row_bands`` or ``twice`` for an
            operation that fits by none of them; empty where nothing fits.
        valid: Whether it can run.
        extra_macs: Multiply-accumulates that are computed twice.
        reason: Why it is not valid.
    """

    dram_bytes: int
    buffer_bytes: int
    scheme: str
    valid: bool
    extra_macs: int = 0
    reason: str = ""


class GroupCosts:
    """Costs of the groups of a graph, each computed once.

    >>> costs = GroupCosts(fold(graph), buffer_bytes=2**20)
    >>> costs(0b111).dram_bytes

    Args:
        graph: What :func:`~autobuild.cost.fusion.fold` made.
        buffer_bytes: Of the on-chip buffer.
        scheme: ``lbdf``: row by row through line buffers; ``brr``: one after another on whole tensors; ``mixed``:
            whichever is valid and cheaper.
        recompute: Also run a group in two passes over its inputs where that lets it fit.

    Raises:
        ConfigError: For a buffer that is not positive, or an unknown scheme.
        GraphError: For a graph that is not folded.

    Attributes:
        n: Number of operations.
        preds: For each operation the mask of those that it reads from.
        succs: For each operation the mask of those that read from it.
        neighbours: For each operation the mask of those that share a tensor with it.
        tensors: Those of the graph.
        weights: For each operation the bytes of its weights.
        hereditary: Whether every connected convex part of a valid group is valid.
    """

    def __init__(self, graph: FusionGraph, buffer_bytes: int, scheme: str = "mixed", recompute: bool = False) -> None:
        number = isinstance(buffer_bytes, Real) and not isinstance(buffer_bytes, bool)
        if not number or not math.isfinite(buffer_bytes) or buffer_bytes < 1 or buffer_bytes != int(buffer_bytes):
            raise ConfigError(f"buffer_bytes: given {buffer_bytes!r}, accepted: a positive whole number of bytes")
        if not isinstance(graph, FusionGraph):
            raise GraphError(f"GroupCosts: given a {type(graph).__name__}, accepted: the FusionGraph that fold makes")
        if scheme not in SCHEMES:
            raise ConfigError(f"scheme {scheme!r}: {nearest(scheme, SCHEMES)}")
        self.graph, self.buffer_bytes, self.scheme, self.recompute = graph, int(buffer_bytes), scheme, recompute
        self.n, self.preds, self.succs, self.neighbours = len(graph), graph.preds, graph.succs, graph.neighbours
        self.tensors, self.weights = graph.read_tensors, graph.own_weight_bytes
        # An order of a group in whole tensors orders its parts, too. Line buffers follow one of two schedules, and both
        # can be unlucky with a part.
        self.hereditary = scheme == "brr" and not recompute
        self.traffic = Traffic(graph)
        self._costs: dict[int, GroupCost] = {}
        self._dram: dict[int, int] = {}
        self._lines: dict[int, int] = {}
        self._refused_whole = Refused()
        self._deadline = NEVER

    @property
    def deadline(self) -> Deadline:
        """When to stop: asked for a group of two operations or more that is not known yet, they raise then."""
        return self._deadline

    @deadline.setter
    def deadline(self, deadline: Deadline) -> None:
        self._deadline = self.whole_tensors.deadline = deadline

    @cached_property
    def line_buffers(self) -> LineBuffers:
        """What LBDF needs."""
        return LineBuffers(self.graph)

    @cached_property
    def whole_tensors(self) -> WholeTensors:
        """What BRR needs."""
        return WholeTensors(self.graph)

    @cached_property
    def passes(self) -> Passes:
        """Ways to cut groups into passes."""
        return Passes(self.graph)

    @cached_property
    def fallback(self) -> int:
        """Mask of the operations that fit by no scheme of groups, and so never fuse: they run as ``resident``,
        ``weight_tiles``, ``row_bands`` or ``twice``, or not at all."""
        return sum(1 << i for i in range(self.n) if self(1 << i).scheme not in GROUP_SCHEMES)

    @cached_property
    def _never(self) -> tuple[int, int]:
        """Operations that fit alone neither by LBDF nor by BRR: so does no group with them."""
        lines, whole = self.line_buffers, self.whole_tensors
        ops = [1 << i for i in range(self.n)]
        return (
            sum(op for op in ops if lines.refusal(op) or lines.required_bytes(op) > self.buffer_bytes),
            sum(op for op in ops if whole.refusal(op) or whole.least[op.bit_length() - 1] > self.buffer_bytes),
        )

    def __call__(self, mask: int) -> GroupCost:
        """Cost of a group, given as a mask of operations; it need not be connected."""
        found = self._costs.get(mask)
        if found is None:
            found = self._costs[mask] = self._cost(mask)
        return found

    def dram(self, mask: int) -> int:
        """DRAM bytes of a group, -1 where it is not valid."""
        found = self._dram.get(mask)
        if found is None:
            found = self._dram[mask] = self._dram_bytes(mask)
        return found

    def hopeless(self, mask: int) -> bool:
        """Whether no group of two or more operations that holds these is valid, as far as quick sums tell.

        By LBDF all weights and a row of every output are on chip at once; by BRR an operation needs its inputs whole.
        """
        by_lines, by_whole = self._never
        if self.scheme != "lbdf" and not mask & by_whole:
            return False
        if self.scheme == "brr" or mask & by_lines:
            return bool(mask & (mask - 1))
        if self.recompute:  # passes hold less each
            return False
        held = sum(self._held[i] for i in bits(mask)) - self.graph.repeated_bytes(mask)
        return bool(mask & (mask - 1)) and held > self.buffer_bytes

    @cached_property
    def _held(self) -> list[int]:
        """What each operation keeps on chip at least in every group by LBDF."""
        lines = self.line_buffers
        return [
            constant + sum(lines.row_bytes[tensor] for tensor in outputs)
            for constant, outputs in zip(lines.constant, lines.outputs, strict=True)
        ]

    def _dram_bytes(self, mask: int) -> int:
        """The first scheme that fits will do: they move the same bytes, but for two passes, which move more."""
        if not mask & (mask - 1):
            cost = self(mask)
            return cost.dram_bytes if cost.valid else -1
        self._deadline.check()
        buffer = self.buffer_bytes
        by_lines, by_whole = self._never
        if self.scheme != "brr" and not mask & by_lines and self._by_lines(mask) <= buffer:
            return self.traffic.dram_bytes(mask)
        if self.scheme != "lbdf" and not mask & by_whole and self._fits_whole(mask):
            return self.traffic.dram_bytes(mask)
        twice = self._two_passes(mask)
        return -1 if twice is None else twice.dram_bytes

    def _fits_whole(self, mask: int) -> bool:
        """Whether a group fits by BRR. What holds a group that certainly does not, does not either."""
        if self._refused_whole.within(mask):
            return False
        fits = self.whole_tensors.fits(mask, self.buffer_bytes).fits
        if fits is False:
            self._refused_whole.add(mask)
        return bool(fits)

    def _by_lines(self, mask: int) -> int:
        """Buffer that LBDF needs; more than there is where it has no schedule. Passes of many groups are the same."""
        found = self._lines.get(mask)
        if found is None:
            lines = self.line_buffers
            refused = mask & lines.doubtful and lines.refusal(mask)
            found = self.buffer_bytes + 1 if refused else lines.required_bytes(mask, self.buffer_bytes)
            self._lines[mask] = found
        return found

    def _cost(self, mask: int) -> GroupCost:
        if not 0 < mask <= self.graph.full:
            raise ConfigError(f"group {mask}: accepted: masks from 1 to {self.graph.full}")
        moved, buffer = self.traffic.dram_bytes(mask), self.buffer_bytes
        needs: list[tuple[int, str]] = []
        reasons: list[str] = []
        for name, way in (("lbdf", self.line_buffers), ("brr", self.whole_tensors)):
            if self.scheme not in ("mixed", name):
                continue
            if refusal := way.refusal(mask):
                reasons.append(f"{name}: {refusal}")
                continue
            try:
                needs.append((way.required_bytes(mask, buffer), name))
            except TimeUp:  # a group that is known to fit needs the buffer at most
                if any(needed <= buffer for needed, _ in needs):
                    continue
                if self._dram.get(mask, -1) < 0 or (mask & self.passes.sums and self.recompute):
                    raise
                needs.append((buffer, name))
        least = min(needs, key=lambda need: need[0], default=(0, ""))
        if needs and least[0] <= buffer:
            return GroupCost(moved, *least, True)
        if (twice := self._two_passes(mask)) is not None:
            return twice
        if not mask & (mask - 1):
            return self._alone(mask.bit_length() - 1)
        reasons += [f"{name}: needs at least {needed:,} bytes, the buffer has {buffer:,}" for needed, name in needs]
        return GroupCost(moved, least[0], "", False, 0, "; ".join(reasons))

    def _two_passes(self, mask: int) -> GroupCost | None:
        """The cheapest cut into two passes that fits; None where none does or none is wanted."""
        if not self.recompute or self.scheme == "brr" or mask & self._never[0] or not mask & self.passes.sums:
            return None
        found = []
        for way in self.passes.ways(mask):
            needed = self._by_lines(way.first)
            if needed > self.buffer_bytes:
                break  # later cuts have longer first passes
            needed = max(needed, self._by_lines(way.second))
            if needed <= self.buffer_bytes:
                moved = self.traffic.dram_bytes(mask) + self.passes.read_twice(mask, way)
                found.append(GroupCost(moved, needed, "two_pass", True, self.passes.macs(way.first & way.second)))
        return min(found, default=None)

    def _alone(self, i: int) -> GroupCost:
        op = self.graph.ops[i]
        lines = 0 if op.barrier else self.line_buffers.required_bytes(1 << i) - op.weight_bytes
        found = alone(self.graph, i, lines, self.buffer_bytes)
        if found.scheme:
            return GroupCost(found.dram_bytes, found.required_bytes, found.scheme, True)
        reason = f"{op.name} cannot be scheduled: needs {found.required_bytes:,} bytes, has {self.buffer_bytes:,}"
        return GroupCost(found.dram_bytes, found.required_bytes, "", False, 0, reason)

    def unschedulable(self) -> dict[str, str]:
        """Operations that no way fits, with what they would need."""
        return {self.graph.ops[i].name: cost.reason for i in bits(self.fallback) if not (cost := self(1 << i)).valid}
