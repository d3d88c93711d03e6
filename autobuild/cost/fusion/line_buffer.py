"""LBDF, line-buffer depth-first: all operations of a group run at once, row by row, and keep only the rows they need.

Row r of a tensor t exists from the moment ``sigma_t r + delta_t`` on. ``sigma`` is the product of the strides on the
way, ``delta`` the delay that windows and sums over rows cause. A tensor keeps the rows between the oldest that a reader
still needs and the newest. The name is that of Mills et al., "Applying Graph Explanation to Operator Fusion", arXiv
2501.00636; docs/fusion.md has the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.graph import FusionGraph
from autobuild.cost.fusion.row_access import FULL, REDUCE, WINDOW, Access, rows_read

Moment = tuple[int, int]  # for a row of the reader: how much later it comes than its row 0, and the oldest row it reads
Leads = dict[int, tuple[tuple[int, int, int], ...]]  # for each operation: tensor, source, lead
Held = dict[int, tuple[tuple[int, int, int, int, tuple[Moment, ...]], ...]]  # tensor, source, sigma, last, moments


class Edge(NamedTuple):
    """A tensor read by an operation.

    Attributes:
        tensor: Its number.
        source: Operation that writes it; -1 for none.
        reader: The operation.
        lead: The reader's row 0 comes at least so much later than the tensor's row 0.
        sigma: Time between two rows of the tensor.
        last: Number of its last row.
        moments: Rows of the reader at which most rows of the tensor are kept; empty where only the newest is kept.
    """

    tensor: int
    source: int
    reader: int
    lead: int
    sigma: int
    last: int
    moments: tuple[Moment, ...]


class RowSchedule(NamedTuple):
    """What LBDF keeps of a group on chip.

    Attributes:
        rows: For each tensor that the group touches, how many rows.
        delta: For each of its operations, when its row 0 is there.
        required_bytes: Rows, accumulators and all weights.
    """

    rows: dict[int, int]
    delta: dict[int, int]
    required_bytes: int


class LineBuffers:
    """Requirements of groups of one graph."""

    def __init__(self, graph: FusionGraph) -> None:
        self.graph = graph
        self._last: tuple[int, Strides] | None = None
        strides = Strides(graph)
        conflicts = strides.conflicts
        self.conflicting = sum(1 << i for i in conflicts)
        self.edges = _edges(graph, range(len(graph)), strides)
        self.tables = _tables(self.edges)
        self.constant = [op.weight_bytes + op.accumulator_bytes for op in graph.ops]
        self.barriers = sum(1 << i for i, op in enumerate(graph.ops) if op.barrier)
        self.doubtful = self.barriers | self.conflicting  # groups without any of these have a schedule
        self.row_bytes = [tensor.row_bytes for tensor in graph.tensors]
        self.outputs = [op.outputs for op in graph.ops]

    def refusal(self, mask: int) -> str:
        """Why a group has no schedule by rows; empty where it has one."""
        if mask & self.barriers:
            return f"{self.graph.ops[next(bits(mask & self.barriers))].name} is a barrier"
        if mask & self.conflicting:
            found = self._strides(mask).conflicts
            if found:
                name = self.graph.ops[min(found)].name
                return f"paths to {name} have different strides"
        return ""

    def _strides(self, mask: int) -> Strides:
        """Of a group; the last one is kept, since a group is asked for its refusal and its bytes in turn."""
        if self._last is None or self._last[0] != mask:
            self._last = mask, Strides(self.graph, mask)
        return self._last[1]

    def required_bytes(self, mask: int, at_most: int | None = None) -> int:
        """Buffer that a group needs, in bytes; it must have no :meth:`refusal`.

        Where its weights alone are above ``at_most``, their bytes.
        """
        weights, left = 0, mask
        while left:
            bit = left & -left
            left ^= bit
            weights += self.constant[bit.bit_length() - 1]
        weights -= self.graph.repeated_bytes(mask)
        if at_most is not None and weights > at_most:
            return weights
        return weights + self._smaller(mask)[0]

    def schedule(self, mask: int) -> RowSchedule:
        """The same with rows and delays."""
        kept, rows, delta = self._smaller(mask)
        members = list(bits(mask))
        required = kept + sum(self.constant[i] for i in members) - self.graph.repeated_bytes(mask)
        return RowSchedule(rows, {i: delta[i] for i in members}, required)

    def _smaller(self, mask: int) -> tuple[int, dict[int, int], list[int]]:
        """Bytes, rows and delays: operations as soon as operands allow, or as late as readers do, whichever is less."""
        order = list(bits(mask))
        leads, held = self.tables
        if mask & self.conflicting:  # the group may agree on strides where the network does not
            leads, held = _tables(_edges(self.graph, order, self._strides(mask)))
        size = len(self.graph) + 1  # one more for what no operation writes
        inside = [False] * size
        soon = [0] * size
        for i in order:
            inside[i] = True
            soon[i] = max([soon[source] + lead for _, source, lead in leads[i]], default=0)
        late = soon[:]
        limit: list[int | None] = [None] * size
        for i in reversed(order):
            bound = limit[i]
            when = late[i] = late[i] if bound is None else bound
            for _, source, lead in leads[i]:
                bound = limit[source]
                if bound is None or bound > when - lead:
                    limit[source] = when - lead
        first = self._rows(order, leads, held, inside, soon)
        if late == soon:
            return *first, soon
        second = self._rows(order, leads, held, inside, late)
        return (*first, soon) if first[0] <= second[0] else (*second, late)

    def _rows(self, order: list[int], leads: Leads, held: Held, inside: list[bool],
              delta: list[int]) -> tuple[int, dict[int, int]]:  # fmt: skip
        """Bytes and rows under given delays. Tensors from outside come as late as their first reader allows."""
        starts: dict[int, int] = {}
        for i in order:
            when = delta[i]
            for tensor, source, lead in leads[i]:
                if not inside[source] and (tensor not in starts or starts[tensor] > when - lead):
                    starts[tensor] = when - lead
        rows = dict.fromkeys(starts, 1)
        for i in order:
            for tensor in self.outputs[i]:
                rows[tensor] = 1
            when = delta[i]
            for tensor, source, sigma, last, moments in held[i]:
                lag = when - (delta[source] if inside[source] else starts[tensor])
                most = rows[tensor]
                for later, oldest in moments:
                    newest = (lag + later) // sigma
                    many = (newest if newest < last else last) - oldest + 1
                    if many > most:
                        most = rows[tensor] = many
        row_bytes = self.row_bytes
        return sum([many * row_bytes[tensor] for tensor, many in rows.items()]), rows


def _tables(edges: dict[int, tuple[Edge, ...]]) -> tuple[Leads, Held]:
    """What delays follow from, and what rows follow from, of each operation."""
    leads = {i: tuple((edge.tensor, edge.source, edge.lead) for edge in found) for i, found in edges.items()}
    held = {i: tuple((edge.tensor, edge.source, edge.sigma, edge.last, edge.moments) for edge in found if edge.moments)
            for i, found in edges.items()}  # fmt: skip
    return leads, held


class Strides:
    """sigma of every tensor: rows of tensors that are joined by windows step in fixed ratios."""

    def __init__(self, graph: FusionGraph, mask: int | None = None) -> None:
        self.graph = graph
        members = list(bits(graph.full if mask is None else mask))
        links: dict[int, list[tuple[int, Fraction | None]]] = {}  # None: rows step as one
        self.inside = set(members)
        for i in members:
            for tensor, access in graph.ops[i].operands:
                if self.ties(i, tensor, access):
                    source, same = self.node(tensor), access.num == access.den
                    links.setdefault(source, []).append((i, None if same else Fraction(access.num, access.den)))
                    links.setdefault(i, []).append((source, None if same else Fraction(access.den, access.num)))
        self.sigma: dict[int, Fraction] = {}
        self.conflicts: set[int] = set()  # operations of parts in which paths disagree
        for start in links:
            if start not in self.sigma:
                self._walk(start, links)

    def node(self, tensor: int) -> int:
        """An operation, or for a tensor from outside a number below zero."""
        producer = self.graph.tensors[tensor].producer
        return producer if producer in self.inside else -1 - tensor

    def ties(self, i: int, tensor: int, access: Access) -> bool:
        """Whether the reader's rows step with the tensor's."""
        return access.kind == WINDOW and self.graph.tensors[tensor].rows > 1 and self.graph.ops[i].rows > 1

    def _walk(self, start: int, links: dict[int, list[tuple[int, Fraction | None]]]) -> None:
        part = {start: Fraction(1)}
        queue, agree = [start], True
        for here in queue:
            for there, ratio in links[here]:
                value = part[here] if ratio is None else part[here] * ratio
                if there not in part:
                    part[there] = value
                    queue.append(there)
                elif part[there] != value:
                    agree = False
        scale = math.lcm(*{value.denominator for value in part.values()})
        self.sigma |= part if scale == 1 else {node: value * scale for node, value in part.items()}
        if not agree:
            self.conflicts |= {node for node in part if node >= 0}


def _edges(graph: FusionGraph, members: Iterable[int], strides: Strides) -> dict[int, tuple[Edge, ...]]:
    found = {}
    for i in members:
        edges = []
        for number, access in graph.ops[i].operands:
            tensor = graph.tensors[number]
            sigma = int(strides.sigma.get(strides.node(number), 1))
            own = int(strides.sigma.get(i, 1))
            lead, moments = _timing(access, tensor.rows, graph.ops[i].rows, sigma, own)
            edges.append(Edge(number, tensor.producer, i, lead, sigma, tensor.rows - 1, moments))
        found[i] = tuple(edges)
    return found


# Phases of a window (den times step) beyond which its rows are not told apart: an upper bound, a row wide.
MAX_PERIOD = 1024


@lru_cache(maxsize=16384)
def _timing(access: Access, rows: int, out: int, sigma: int, own: int) -> tuple[int, tuple[Moment, ...]]:
    """Lead and moments of an access to a tensor of ``rows`` rows by an operation of ``out`` rows."""
    if rows == 1:
        return 0, ()
    if access.kind == REDUCE:
        return sigma * access.high, ()
    if access.kind == FULL:  # until the reader's last row
        return sigma * access.high, ((own * (out - 1), access.low),)
    period = access.den * access.step
    if period > MAX_PERIOD and out > 8 * MAX_PERIOD:
        return _timing_bound(access, rows, out, sigma, own)
    chosen = telling_rows(access, rows, out)
    oldest = _oldest(access, rows, chosen)
    lead = max(sigma * rows_read(access, r, rows)[1] - own * r for r in chosen)
    moments = [
        (own * r, first)
        for r, first in oldest.items()
        # one row later still needs the same, or den rows before it was as bad; inside a stretch one of both is so
        if (r + 1 == out or oldest.get(r + 1, first) != first)
        and (r < access.den or first - oldest.get(r - access.den, -rows) < access.num)
    ]
    return lead, tuple(moments)


def telling_rows(access: Access, rows: int, out: int) -> list[int]:
    """Rows of a reader that tell what all of its rows read: those near a border of the tensor, or of the reader.

    Between them windows step on evenly, or stay in the border.
    """
    around = 2 * access.den * access.step + 2
    borders = (0, rows * access.den)
    turns = {-(place // -access.num) for end in borders for place in (end - access.low, end - access.high)}
    spans = sorted((max(0, turn - around), min(out, turn + around)) for turn in {0, out, *turns})
    chosen: list[int] = []
    for first, stop in spans:
        chosen += range(max(first, chosen[-1] + 1 if chosen else 0), stop)
    return chosen


def _oldest(access: Access, rows: int, chosen: list[int]) -> dict[int, int]:
    """For each of some rows of the reader the oldest row that it or a later one reads."""
    found: dict[int, int] = {}
    least = rows - 1
    for r in reversed(chosen):
        first, last = rows_read(access, r, rows)
        least = found[r] = min(first if first <= last else rows - 1, least)
    return dict(reversed(found.items()))


def _timing_bound(access: Access, rows: int, out: int, sigma: int, own: int) -> tuple[int, tuple[Moment, ...]]:
    """As :func:`_timing`, for windows that have too many positions: lines that run from turn to turn, not steps."""
    borders = (0, rows * access.den)
    turns = {place // access.num for end in borders for place in (end - access.low, end - access.high)}
    chosen = sorted({min(max(turn + more, 0), out - 1) for turn in {0, out, *turns} for more in (0, 1)})
    first = [max((r * access.num + access.low) // access.den, 0) - 1 for r in chosen]
    last = [min((r * access.num + access.high) // access.den + 1, rows - 1) for r in chosen]
    lead = max(sigma * newest - own * r for r, newest in zip(chosen, last, strict=True))
    return lead, tuple((own * r, min(oldest, rows - 1)) for r, oldest in zip(chosen, first, strict=True))
