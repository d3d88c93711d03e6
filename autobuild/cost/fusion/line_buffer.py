"""LBDF (line-buffer depth-first): all operations of a group run at once, row by row, and keep only the rows they need.

Row r of tensor t is produced at time ``sigma_t r + delta_t``. ``sigma`` is the product of the strides from the inputs
to t; ``delta`` is the delay that windows and reductions over rows cause. The buffer holds the rows of t from the oldest
one that a reader still needs to the newest. The name is from Mills et al., "Applying Graph Explanation to Operator
Fusion", arXiv 2501.00636; docs/fusion.md has the formulas.
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

Moment = tuple[int, int]  # for a row of the reader: its time after row 0, and the oldest row that it reads
Leads = dict[int, tuple[tuple[int, int, int], ...]]  # for each operation: tensor, source, lead
Held = dict[int, tuple[tuple[int, int, int, int, tuple[Moment, ...]], ...]]  # tensor, source, sigma, last, moments


class Edge(NamedTuple):
    """A tensor that an operation reads.

    Attributes:
        tensor: Number of the tensor.
        source: Number of the operation that writes it; -1 for none.
        reader: Number of the operation that reads it.
        lead: Least time between row 0 of the tensor and row 0 of the reader.
        sigma: Time between two rows of the tensor.
        last: Number of the tensor's last row.
        moments: Rows of the reader at which the most rows of the tensor are on chip; empty if only the newest row is.
    """

    tensor: int
    source: int
    reader: int
    lead: int
    sigma: int
    last: int
    moments: tuple[Moment, ...]


class RowSchedule(NamedTuple):
    """A schedule of a group by rows.

    Attributes:
        rows: Tensor -> largest number of rows on chip at once.
        delta: Operation -> time of its row 0.
        required_bytes: Bytes of these rows, of accumulators, and of all weights.
    """

    rows: dict[int, int]
    delta: dict[int, int]
    required_bytes: int


class LineBuffers:
    """Required buffer of the groups of one graph, with line buffers.

    Args:
        graph: The fusion graph.
    """

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
        self.doubtful = self.barriers | self.conflicting  # a group without any of these has a schedule
        self.row_bytes = [tensor.row_bytes for tensor in graph.tensors]
        self.outputs = [op.outputs for op in graph.ops]

    def refusal(self, mask: int) -> str:
        """Why a group has no schedule by rows; empty if it has one."""
        if mask & self.barriers:
            return f"{self.graph.ops[next(bits(mask & self.barriers))].name} is a barrier"
        if mask & self.conflicting:
            conflicts = self._strides(mask).conflicts
            if conflicts:
                name = self.graph.ops[min(conflicts)].name
                return f"paths to {name} have different strides"
        return ""

    def _strides(self, mask: int) -> Strides:
        """Strides of a group. The last one is cached: refusal and bytes of a group are asked for in turn."""
        if self._last is None or self._last[0] != mask:
            self._last = mask, Strides(self.graph, mask)
        return self._last[1]

    def required_bytes(self, mask: int, at_most: int | None = None) -> int:
        """Required buffer of a group in bytes. The group must have no :meth:`refusal`.

        Args:
            mask: The group.
            at_most: If the weights alone need more than this, their bytes are returned.
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
        """The schedule of a group: rows, delays and required buffer. The group must have no :meth:`refusal`."""
        kept, rows, delta = self._smaller(mask)
        members = list(bits(mask))
        required = kept + sum(self.constant[i] for i in members) - self.graph.repeated_bytes(mask)
        return RowSchedule(rows, {i: delta[i] for i in members}, required)

    def _smaller(self, mask: int) -> tuple[int, dict[int, int], list[int]]:
        """Bytes, rows and delays of the better schedule: every operation as soon, or as late, as possible."""
        order = list(bits(mask))
        leads, held = self.tables
        if mask & self.conflicting:  # strides may be consistent in the group and not in the network
            leads, held = _tables(_edges(self.graph, order, self._strides(mask)))
        size = len(self.graph) + 1  # the last entry is for tensors that no operation writes (source -1)
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
        """Bytes and rows for given delays. Tensors from outside arrive as late as their first reader allows."""
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
    """For each operation the values that delays are computed from, and those that rows are computed from."""
    leads = {i: tuple((edge.tensor, edge.source, edge.lead) for edge in read) for i, read in edges.items()}
    held = {i: tuple((edge.tensor, edge.source, edge.sigma, edge.last, edge.moments) for edge in read if edge.moments)
            for i, read in edges.items()}  # fmt: skip
    return leads, held


class Strides:
    """``sigma`` of every tensor: rows of tensors that are connected by windows advance in fixed ratios.

    Args:
        graph: The fusion graph.
        mask: A group; default: all operations.

    Attributes:
        sigma: Operation, or ``-1 - tensor`` for a tensor from outside -> time between two rows.
        conflicts: Operations of components in which two paths give different strides.
    """

    def __init__(self, graph: FusionGraph, mask: int | None = None) -> None:
        self.graph = graph
        members = list(bits(graph.full if mask is None else mask))
        links: dict[int, list[tuple[int, Fraction | None]]] = {}  # None: ratio 1
        self.inside = set(members)
        for i in members:
            for tensor, access in graph.ops[i].operands:
                if self.ties(i, tensor, access):
                    source, same = self.node(tensor), access.num == access.den
                    links.setdefault(source, []).append((i, None if same else Fraction(access.num, access.den)))
                    links.setdefault(i, []).append((source, None if same else Fraction(access.den, access.num)))
        self.sigma: dict[int, Fraction] = {}
        self.conflicts: set[int] = set()
        for start in links:
            if start not in self.sigma:
                self._walk(start, links)

    def node(self, tensor: int) -> int:
        """Number of the operation that writes a tensor; ``-1 - tensor`` for a tensor from outside."""
        producer = self.graph.tensors[tensor].producer
        return producer if producer in self.inside else -1 - tensor

    def ties(self, i: int, tensor: int, access: Access) -> bool:
        """Whether the rows of a reader advance in a fixed ratio to those of a tensor."""
        return access.kind == WINDOW and self.graph.tensors[tensor].rows > 1 and self.graph.ops[i].rows > 1

    def _walk(self, start: int, links: dict[int, list[tuple[int, Fraction | None]]]) -> None:
        component = {start: Fraction(1)}
        queue, agree = [start], True
        for here in queue:
            for there, ratio in links[here]:
                value = component[here] if ratio is None else component[here] * ratio
                if there not in component:
                    component[there] = value
                    queue.append(there)
                elif component[there] != value:
                    agree = False
        scale = math.lcm(*{value.denominator for value in component.values()})
        self.sigma |= component if scale == 1 else {node: value * scale for node, value in component.items()}
        if not agree:
            self.conflicts |= {node for node in component if node >= 0}


def _edges(graph: FusionGraph, members: Iterable[int], strides: Strides) -> dict[int, tuple[Edge, ...]]:
    all_edges = {}
    for i in members:
        edges = []
        for number, access in graph.ops[i].operands:
            tensor = graph.tensors[number]
            sigma = int(strides.sigma.get(strides.node(number), 1))
            reader_sigma = int(strides.sigma.get(i, 1))
            lead, moments = _timing(access, tensor.rows, graph.ops[i].rows, sigma, reader_sigma)
            edges.append(Edge(number, tensor.producer, i, lead, sigma, tensor.rows - 1, moments))
        all_edges[i] = tuple(edges)
    return all_edges


# Number of phases of a window (den times step) up to which rows are exact; beyond, an upper bound (about one row more).
MAX_PERIOD = 1024


@lru_cache(maxsize=16384)
def _timing(access: Access, rows: int, out: int, sigma: int, reader_sigma: int) -> tuple[int, tuple[Moment, ...]]:
    """``lead`` and ``moments`` of an access by an operation of ``out`` rows to a tensor of ``rows`` rows.

    ``sigma`` and ``reader_sigma`` are the times between two rows of the tensor and of the operation.
    """
    if rows == 1:
        return 0, ()
    if access.kind == REDUCE:
        return sigma * access.high, ()
    if access.kind == FULL:  # all rows stay until the last row of the reader
        return sigma * access.high, ((reader_sigma * (out - 1), access.low),)
    period = access.den * access.step
    if period > MAX_PERIOD and out > 8 * MAX_PERIOD:
        return _timing_bound(access, rows, out, sigma, reader_sigma)
    chosen = critical_rows(access, rows, out)
    oldest = _oldest(access, rows, chosen)
    lead = max(sigma * rows_read(access, r, rows)[1] - reader_sigma * r for r in chosen)
    moments = [
        (reader_sigma * r, first)
        for r, first in oldest.items()
        # Left out: rows whose next row needs the same oldest row, and rows that need no more than the row den before.
        if (r + 1 == out or oldest.get(r + 1, first) != first)
        and (r < access.den or first - oldest.get(r - access.den, -rows) < access.num)
    ]
    return lead, tuple(moments)


def critical_rows(access: Access, rows: int, out: int) -> list[int]:
    """Rows of a reader that determine its requirement: those near a border of the tensor or of the reader.

    Between them windows advance evenly, or stay in the padding.
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
    """For each of some rows of the reader, the oldest row that it or a later one reads."""
    oldest: dict[int, int] = {}
    least = rows - 1
    for r in reversed(chosen):
        first, last = rows_read(access, r, rows)
        least = oldest[r] = min(first if first <= last else rows - 1, least)
    return dict(reversed(oldest.items()))


def _timing_bound(access: Access, rows: int, out: int, sigma: int, reader_sigma: int) -> tuple[int, tuple[Moment, ...]]:
    """Upper bound of :func:`_timing` for windows with too many phases: linear between the critical rows."""
    borders = (0, rows * access.den)
    turns = {place // access.num for end in borders for place in (end - access.low, end - access.high)}
    chosen = sorted({min(max(turn + more, 0), out - 1) for turn in {0, out, *turns} for more in (0, 1)})
    first = [max((r * access.num + access.low) // access.den, 0) - 1 for r in chosen]
    last = [min((r * access.num + access.high) // access.den + 1, rows - 1) for r in chosen]
    lead = max(sigma * newest - reader_sigma * r for r, newest in zip(chosen, last, strict=True))
    return lead, tuple((reader_sigma * r, min(oldest, rows - 1)) for r, oldest in zip(chosen, first, strict=True))
