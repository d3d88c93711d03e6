"""A row-by-row simulator of a fusion group: dependencies by experiment, delays and rows by looking at every moment.

Nothing here is taken from the code under test but which operations were folded together and what a row weighs. Which
rows depend on which is found by running the network's own modules: a row is set to NaN, and the rows of the output that
turn NaN read it. An interpolation multiplies rows by zero at its borders; there the row is changed by a little instead.
"""

import math
import re
from fractions import Fraction

import torch

from autobuild.cost.fusion.bitmask import bits


class Simulator:
    """Of one random network (:mod:`random_nets`) and its fusion graph."""

    def __init__(self, net, graph):
        self.net, self.graph = net, graph
        of_step = {}
        for i, op in enumerate(graph.ops):
            for member in op.members:
                of_step[int(re.match(r"steps\.(\d+)", member).group(1))] = i
        self.value_of = [max(s for s, i in of_step.items() if i == op) + 1 for op in range(len(graph))]
        self.of_step = of_step
        self.kind = [net.steps[min(s for s, i in of_step.items() if i == op)].kind for op in range(len(graph))]
        self.sigma = [net.stride[v] or Fraction(1) for v in self.value_of]
        self.reads = {}
        for i, op in enumerate(graph.ops):
            for tensor in dict.fromkeys(tensor for tensor, _ in op.operands):
                self.reads[i, tensor] = self._probe(i, tensor)

    def _source(self, tensor):
        """The value that a tensor is, or is some channels of, and which."""
        found = self.graph.tensors[tensor]
        value = 0 if found.producer < 0 else self.value_of[found.producer]
        span = re.search(r"\[(\d+):(\d+)\]$", found.name)
        width = math.prod(self.net.values[value].shape) // found.rows
        low, stop = map(int, span.groups()) if span else (0, width)
        across = width // self.net.values[value].shape[1]
        return value, slice(low // across, -(-stop // across))

    def _probe(self, i, tensor):
        """For each row of operation i the rows of the tensor that it reads."""
        source, channels = self._source(tensor)
        shape = self.net.values[source].shape
        rows = self.graph.tensors[tensor].rows
        probe = torch.ones((rows, *shape[1:]))
        for q in range(rows):
            probe[q, channels, q] = 1.5 if self.kind[i] == "up" else math.nan
        result = self._evaluate(self.value_of[i], i, {source: probe}, rows)
        plain = self._evaluate(self.value_of[i], i, {}, rows)
        touched = ~torch.isclose(result, plain, rtol=0, atol=1e-6)
        out = self.graph.ops[i].rows
        touched = touched.reshape(rows, -1, 1) if out == 1 else touched.transpose(1, 2).flatten(2).transpose(1, 2)
        by_row = touched.any(1)  # (row of the tensor, row of the output)
        return [by_row[:, r].nonzero().flatten().tolist() for r in range(out)]

    def _evaluate(self, value, i, memo, batch):
        """A value with probes in place of some; what other operations write is all ones."""
        if value in memo:
            return memo[value]
        step = value - 1
        outside = value == 0 or (step in self.of_step and self.of_step[step] != i)
        if outside:
            memo[value] = torch.ones((batch, *self.net.values[value].shape[1:]))
        else:
            given = [self._evaluate(v, i, memo, batch) for v in self.net.steps[step].inputs]
            with torch.no_grad():
                memo[value] = self.net.steps[step](*given)
        return memo[value]

    def run(self, mask):
        """Rows of every tensor and the bytes they need, under the better of the two schedules."""
        members = list(bits(mask))
        soon = self._soon(members)
        schedules = [soon, self._late(members, soon)]
        found = [self._occupancy(members, schedule) for schedule in schedules]
        weights = sum(self.graph.ops[i].weight_bytes + self.graph.ops[i].accumulator_bytes for i in members)
        needs = [weights + sum(n * self.graph.tensors[t].row_bytes for t, n in rows.items()) for rows in found]
        best = 0 if needs[0] <= needs[1] else 1
        return found[best], needs[best], schedules[best]

    def _inner(self, members, tensor):
        producer = self.graph.tensors[tensor].producer
        return producer if producer in members else None

    def _step(self, tensor):
        """Time between two rows of a tensor."""
        return self.net.stride[self._source(tensor)[0]] or Fraction(1)

    def _pairs(self, members):
        for (i, tensor), reads in self.reads.items():
            if i in members:
                yield i, tensor, reads

    def _lead(self, i, tensor, reads):
        """How much later row 0 of the reader must come than row 0 of the tensor."""
        found = [self._step(tensor) * q - self.sigma[i] * r for r, rows in enumerate(reads) for q in rows]
        return max(found, default=Fraction(0))

    def _soon(self, members):
        delta = {}
        for i in members:
            waits = [delta.get(self._inner(members, tensor), Fraction(0)) + self._lead(i, tensor, reads)
                     for reader, tensor, reads in self._pairs(members) if reader == i]  # fmt: skip
            delta[i] = max(waits)
        return delta

    def _late(self, members, soon):
        delta = dict(soon)
        for i in reversed(members):
            inner = (pair for pair in self._pairs(members) if self._inner(members, pair[1]) == i)
            limits = [delta[reader] - self._lead(reader, tensor, reads) for reader, tensor, reads in inner]
            delta[i] = min(limits, default=delta[i])
        return delta

    def _occupancy(self, members, delta):
        """Most rows of each tensor between the oldest still needed and the newest, at any moment."""
        most = {}
        tensors = {tensor for _, tensor, _ in self._pairs(members)}
        tensors |= {tensor for i in members for tensor in self.graph.ops[i].outputs}
        for tensor in tensors:
            readers = [(i, reads) for i, t, reads in self._pairs(members) if t == tensor]
            inner = self._inner(members, tensor)
            start = delta[inner] if inner is not None else min(delta[i] - self._lead(i, tensor, reads)
                                                               for i, reads in readers)  # fmt: skip
            arrives = [self._step(tensor) * q + start for q in range(self.graph.tensors[tensor].rows)]
            fires = []  # (when, rows that must be there)
            for i, reads in readers:
                for r, rows in enumerate(reads):
                    when = self.sigma[i] * r + delta[i]
                    assert all(arrives[q] <= when for q in rows), (self.graph.ops[i].name, r, rows)
                    fires += [] if self.kind[i] == "reduce" else [(when, rows)] if rows else []
            most[tensor] = _most(arrives, fires)
        return most


def _most(arrives, fires):
    """At each moment rows arrive, readers fire, and rows that no later firing needs are given up, oldest first."""
    best = 1
    for now in sorted({*arrives, *(when for when, _ in fires)}):
        newest = max((q for q, when in enumerate(arrives) if when <= now), default=None)
        needed = [min(rows) for when, rows in fires if when >= now]
        if newest is not None and needed and min(needed) <= newest:
            best = max(best, newest - min(needed) + 1)
    return best
