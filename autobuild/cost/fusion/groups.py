"""What a group of operations costs: DRAM bytes, the buffer it needs, and whether it can run at all."""

from __future__ import annotations

from typing import NamedTuple

from autobuild.cost.fusion.alone import alone
from autobuild.cost.fusion.graph import FusionGraph, bits
from autobuild.cost.fusion.lines import LineBuffers
from autobuild.cost.fusion.passes import Passes
from autobuild.cost.fusion.traffic import Traffic
from autobuild.cost.fusion.whole import WholeTensors
from autobuild.errors import ConfigError, nearest

SCHEMES = ("mixed", "lbdf", "brr")


class GroupCost(NamedTuple):
    """Cost of one group.

    Attributes:
        dram_bytes: What it moves between chip and memory; for a group that is not valid, what it would move.
        buffer_bytes: What it needs on chip; for a group that is not valid, what it needs at least.
        scheme: ``lbdf``, ``brr``, ``two_pass``; ``resident``, ``weight_tiles`` or ``row_bands`` for an operation that
            fits by none of them; empty where nothing fits.
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

    Attributes:
        n: Number of operations.
        preds: For each operation the mask of those that it reads from.
        succs: For each operation the mask of those that read from it.
        neighbours: For each operation the mask of those that share a tensor with it.
        fallback: Mask of the operations that fit by no scheme of groups: they run as ``resident``, ``weight_tiles`` or
            ``row_bands``, or not at all, and never fuse.
    """

    def __init__(self, graph: FusionGraph, buffer_bytes: int, scheme: str = "mixed", recompute: bool = False) -> None:
        if isinstance(buffer_bytes, bool) or int(buffer_bytes) != buffer_bytes or buffer_bytes < 1:
            raise ConfigError(f"buffer_bytes: given {buffer_bytes!r}, accepted: a positive whole number of bytes")
        if scheme not in SCHEMES:
            raise ConfigError(f"scheme {scheme!r}: {nearest(scheme, SCHEMES)}")
        self.graph, self.buffer_bytes, self.scheme, self.recompute = graph, int(buffer_bytes), scheme, recompute
        self.n, self.preds, self.succs, self.neighbours = len(graph), graph.preds, graph.succs, graph.neighbours
        self.traffic, self.passes = Traffic(graph), Passes(graph)
        self.line_buffers, self.whole_tensors = LineBuffers(graph), WholeTensors(graph)
        self._costs: dict[int, GroupCost] = {}
        self._dram: dict[int, int] = {}
        self.fallback = 0
        for i in range(self.n):
            if self(1 << i).scheme not in ("lbdf", "brr", "two_pass"):
                self.fallback |= 1 << i

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
            cost = self(mask)
            found = self._dram[mask] = cost.dram_bytes if cost.valid else -1
        return found

    def _cost(self, mask: int) -> GroupCost:
        graph, buffer = self.graph, self.buffer_bytes
        if not 0 < mask <= graph.full:
            raise ConfigError(f"group {mask}: accepted: masks from 1 to {graph.full}")
        moved = self.traffic.dram_bytes(mask)
        ways: list[tuple[int, str]] = []
        reasons: list[str] = []
        single = not mask & (mask - 1)
        barrier = single and bool(graph.ops[mask.bit_length() - 1].barrier)
        for name, way in (("lbdf", self.line_buffers), ("brr", self.whole_tensors)):
            if self.scheme not in ("mixed", name) or barrier:
                continue
            if refusal := way.refusal(mask):
                reasons.append(f"{name}: {refusal}")
            else:
                ways.append((way.required_bytes(mask, buffer), name))
        fitting = [way for way in ways if way[0] <= buffer]
        if fitting:
            needed, name = min(fitting)
            return GroupCost(moved, needed, name, True)
        if self.recompute and mask & self.passes.sums and (twice := self._two_passes(mask, moved)) is not None:
            return twice
        reasons += [f"{name}: needs at least {needed:,} bytes, the buffer has {buffer:,}" for needed, name in ways]
        if single:
            return self._alone(mask.bit_length() - 1, reasons)
        needed = min(ways)[0] if ways else 0
        return GroupCost(moved, needed, "", False, 0, "; ".join(reasons))

    def _two_passes(self, mask: int, moved: int) -> GroupCost | None:
        """The cheapest cut into two passes that fits."""
        found = []
        for way in self.passes.ways(mask):
            if not self.line_buffers.refusal(way.first) and not self.line_buffers.refusal(way.second):
                needed = max(self.line_buffers.required_bytes(part, self.buffer_bytes) for part in way[:2])
                if needed <= self.buffer_bytes:
                    found.append(GroupCost(moved + way.extra_bytes, needed, "two_pass", True, way.extra_macs))
        return min(found, default=None)

    def _alone(self, i: int, reasons: list[str]) -> GroupCost:
        op = self.graph.ops[i]
        lines = 0 if op.barrier else self.line_buffers.required_bytes(1 << i) - op.weight_bytes
        found = alone(self.graph, i, lines, self.buffer_bytes)
        if found.scheme:
            return GroupCost(found.dram_bytes, found.required_bytes, found.scheme, True)
        reason = f"{op.name} cannot be scheduled: needs {found.required_bytes:,} bytes, the buffer has " \
                 f"{self.buffer_bytes:,}"  # fmt: skip
        return GroupCost(found.dram_bytes, found.required_bytes, "", False, 0, reason)

    def unschedulable(self) -> dict[str, str]:
        """Operations that no way fits, with what they would need."""
        return {self.graph.ops[i].name: cost.reason for i in bits(self.fallback) if not (cost := self(1 << i)).valid}
