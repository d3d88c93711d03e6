"""Cost of a fusion group: DRAM bytes, required buffer, and whether the group is valid."""

from __future__ import annotations

import math
from functools import cached_property
from numbers import Real
from typing import NamedTuple

from autobuild.cost.fusion.bitmask import InvalidGroups, bits
from autobuild.cost.fusion.deadline import NEVER, Deadline, TimeUp
from autobuild.cost.fusion.dram_traffic import DramTraffic
from autobuild.cost.fusion.graph import FusionGraph
from autobuild.cost.fusion.line_buffer import LineBuffers
from autobuild.cost.fusion.single_operation import schedule_alone
from autobuild.cost.fusion.two_pass import TwoPassCuts
from autobuild.cost.fusion.whole_tensor import WholeTensors
from autobuild.errors import ConfigError, GraphError, nearest

SCHEMES = ("mixed", "lbdf", "brr")
GROUP_SCHEMES = ("lbdf", "brr", "two_pass")


class GroupCost(NamedTuple):
    """Cost of one group.

    Attributes:
        dram_bytes: DRAM bytes of the group; for an invalid group, as if it fitted the buffer.
        buffer_bytes: Required buffer; for an invalid group a lower bound.
        scheme: ``lbdf``, ``brr`` or ``two_pass``; for a single operation that fits by none of these ``resident``,
            ``weight_tiles``, ``row_bands`` or ``twice``; empty for an invalid group.
        valid: Whether the group can be executed in the buffer.
        extra_macs: Multiply-accumulates that are computed a second time.
        reason: Why the group is invalid.
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
        graph: A fusion graph, as :func:`~autobuild.cost.fusion.fold` returns it.
        buffer_bytes: Size of the on-chip buffer, bytes.
        scheme: ``lbdf``: operations run at once, row by row through line buffers; ``brr``: operations run one after
            another on whole tensors; ``mixed``: of both the one that needs less buffer.
        recompute: Also try to run a group in two passes over its inputs.

    Raises:
        ConfigError: The buffer is not a positive whole number, or the scheme is unknown.
        GraphError: The graph is not a fusion graph.

    Attributes:
        n: Number of operations.
        preds: For each operation the mask of its producers.
        succs: For each operation the mask of its consumers.
        neighbours: For each operation the mask of those that share a tensor with it.
        tensors: Tensors of the graph, shared weights included.
        weights: For each operation the bytes of the weights that no other operation reads.
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
        # With whole tensors, an order of execution of a group is also one of its parts. With line buffers, only two
        # schedules are tried, and a part of a valid group may fit by neither.
        self.hereditary = scheme == "brr" and not recompute
        self.traffic = DramTraffic(graph)
        self._costs: dict[int, GroupCost] = {}
        self._dram: dict[int, int] = {}
        self._lines: dict[int, int] = {}
        self._refused_whole = InvalidGroups()
        self._deadline = NEVER

    @property
    def deadline(self) -> Deadline:
        """Time limit. After it, the cost of a new group of at least two operations raises :class:`TimeUp`."""
        return self._deadline

    @deadline.setter
    def deadline(self, deadline: Deadline) -> None:
        self._deadline = self.whole_tensors.deadline = deadline

    @cached_property
    def line_buffers(self) -> LineBuffers:
        """Buffer requirements with line buffers (LBDF)."""
        return LineBuffers(self.graph)

    @cached_property
    def whole_tensors(self) -> WholeTensors:
        """Buffer requirements with whole tensors (BRR)."""
        return WholeTensors(self.graph)

    @cached_property
    def passes(self) -> TwoPassCuts:
        """Divisions of groups into two passes."""
        return TwoPassCuts(self.graph)

    @cached_property
    def fallback(self) -> int:
        """Mask of the operations that fit by no scheme for groups and so never fuse.

        They run as ``resident``, ``weight_tiles``, ``row_bands`` or ``twice``, or cannot run.
        """
        return sum(1 << i for i in range(self.n) if self(1 << i).scheme not in GROUP_SCHEMES)

    @cached_property
    def _never(self) -> tuple[int, int]:
        """Masks of the operations that do not fit on their own, by LBDF and by BRR. No group with them fits either."""
        lines, whole = self.line_buffers, self.whole_tensors
        ops = [1 << i for i in range(self.n)]
        return (
            sum(op for op in ops if lines.refusal(op) or lines.required_bytes(op) > self.buffer_bytes),
            sum(op for op in ops if whole.refusal(op) or whole.least[op.bit_length() - 1] > self.buffer_bytes),
        )

    def __call__(self, mask: int) -> GroupCost:
        """Cost of a group, given as a bitmask of operations. It need not be connected.

        Raises:
            ConfigError: The mask is empty, or has a bit that is no operation.
            TimeUp: The deadline has passed.
        """
        cost = self._costs.get(mask)
        if cost is None:
            cost = self._costs[mask] = self._cost(mask)
        return cost

    def dram(self, mask: int) -> int:
        """DRAM bytes of a group; -1 if it is invalid."""
        dram = self._dram.get(mask)
        if dram is None:
            dram = self._dram[mask] = self._dram_bytes(mask)
        return dram

    def surely_invalid(self, mask: int) -> bool:
        """Whether a lower bound shows that no group of at least two operations that contains ``mask`` is valid.

        By LBDF, all weights and one row of every output are on chip at once. By BRR, an operation needs its whole
        inputs.
        """
        by_lines, by_whole = self._never
        if self.scheme != "lbdf" and not mask & by_whole:
            return False
        if self.scheme == "brr" or mask & by_lines:
            return bool(mask & (mask - 1))
        if self.recompute:  # each of two passes may need less
            return False
        least = sum(self._least_line_bytes[i] for i in bits(mask)) - self.graph.repeated_bytes(mask)
        return bool(mask & (mask - 1)) and least > self.buffer_bytes

    @cached_property
    def _least_line_bytes(self) -> list[int]:
        """Least bytes that each operation adds to the LBDF requirement of every group."""
        lines = self.line_buffers
        return [
            constant + sum(lines.row_bytes[tensor] for tensor in outputs)
            for constant, outputs in zip(lines.constant, lines.outputs, strict=True)
        ]

    def _dram_bytes(self, mask: int) -> int:
        """DRAM bytes by the first scheme that fits. All move the same bytes, except two passes, which move more."""
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
        """Whether a group fits by BRR. Groups that contain one that certainly does not fit are not examined."""
        if self._refused_whole.any_within(mask):
            return False
        fits = self.whole_tensors.fits(mask, self.buffer_bytes).fits
        if fits is False:
            self._refused_whole.add(mask)
        return bool(fits)

    def _by_lines(self, mask: int) -> int:
        """LBDF requirement; more than the buffer if there is no schedule. Cached: many groups share passes."""
        required = self._lines.get(mask)
        if required is None:
            lines = self.line_buffers
            refused = mask & lines.doubtful and lines.refusal(mask)
            required = self.buffer_bytes + 1 if refused else lines.required_bytes(mask, self.buffer_bytes)
            self._lines[mask] = required
        return required

    def _cost(self, mask: int) -> GroupCost:
        if not 0 < mask <= self.graph.full:
            raise ConfigError(f"group {mask}: accepted: masks from 1 to {self.graph.full}")
        moved, buffer = self.traffic.dram_bytes(mask), self.buffer_bytes
        needs: list[tuple[int, str]] = []
        reasons: list[str] = []
        for name, requirement in (("lbdf", self.line_buffers), ("brr", self.whole_tensors)):
            if self.scheme not in ("mixed", name):
                continue
            if refusal := requirement.refusal(mask):
                reasons.append(f"{name}: {refusal}")
                continue
            try:
                needs.append((requirement.required_bytes(mask, buffer), name))
            except TimeUp:  # a group that is known to fit needs at most the buffer
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
        """The cheapest division into two passes that fits; None if there is none, or ``recompute`` is off."""
        if not self.recompute or self.scheme == "brr" or mask & self._never[0] or not mask & self.passes.sums:
            return None
        fitting = []
        for cut in self.passes.cuts(mask):
            needed = self._by_lines(cut.first)
            if needed > self.buffer_bytes:
                break  # the first passes of later cuts contain this one
            needed = max(needed, self._by_lines(cut.second))
            if needed <= self.buffer_bytes:
                moved = self.traffic.dram_bytes(mask) + self.passes.read_twice(mask, cut)
                fitting.append(GroupCost(moved, needed, "two_pass", True, self.passes.macs(cut.first & cut.second)))
        return min(fitting, default=None)

    def _alone(self, i: int) -> GroupCost:
        op = self.graph.ops[i]
        lines = 0 if op.barrier else self.line_buffers.required_bytes(1 << i) - op.weight_bytes
        schedule = schedule_alone(self.graph, i, lines, self.buffer_bytes)
        if schedule.scheme:
            return GroupCost(schedule.dram_bytes, schedule.required_bytes, schedule.scheme, True)
        reason = f"{op.name} cannot be scheduled: needs {schedule.required_bytes:,} bytes, has {self.buffer_bytes:,}"
        return GroupCost(schedule.dram_bytes, schedule.required_bytes, "", False, 0, reason)

    def unschedulable(self) -> dict[str, str]:
        """Names of the operations that cannot run in the buffer, with the reason."""
        return {self.graph.ops[i].name: cost.reason for i in bits(self.fallback) if not (cost := self(1 << i)).valid}
