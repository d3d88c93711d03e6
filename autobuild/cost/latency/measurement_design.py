"""Measurement design for a new device: which few networks to measure, and which networks a model may predict.

Only measurements are known of the device. So the measured networks must contain every kind of operator of the space, in
small and large sizes. For a network with an operator that none of them has, the prediction is refused.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from autobuild._typing import FloatArray
from autobuild.errors import CostError
from autobuild.graphs import graph_of
from autobuild.graphs.operations import Operation, OperationGraph
from autobuild.spaces import Architecture, SearchSpace

if TYPE_CHECKING:
    import pandas as pd

Kind = tuple[object, ...]
FREE = ("input", "alias")  # compute nothing
BEYOND = 2.0  # an operator may be larger, or smaller, than all measured ones by this factor


def kind_of(node: Operation) -> Kind:
    """Kind of an operator, without sizes: type, window, and grouping of channels."""
    grouped = (
        "" if not node.groups or node.groups == 1 else "depthwise" if node.groups == node.in_channels else "groups"
    )
    return (node.type, node.kernel if node.type in ("conv", "max_pool", "avg_pool") else None, node.stride,
            node.dilation, grouped)  # fmt: skip


def work_of(node: Operation) -> int:
    """Work of an operator: multiply-accumulates plus elements read and written."""
    return (node.macs or 0) + sum(map(math.prod, (*node.input_shapes, *node.output_shapes)))


def choose_networks(graphs: Sequence[OperationGraph], n: int, cover: int = 1) -> list[int]:
    """Choose networks to measure: every operator of the pool occurs in them, and most of them are as the pool is.

    Operators are classed by kind and size (in steps of a factor of two). First, as long as a class occurs in fewer than
    ``cover`` chosen networks, the next network has the most such classes; a class has the weight 1 / sqrt(number of
    networks with it), so rare ones count more. These are large networks, from which small ones are not learned: the
    others are taken in the order of the pool.

    Args:
        graphs: The pool, e.g. 200 networks drawn from the space, in the order in which they were drawn.
        n: Number of networks to choose.
        cover: Number of chosen networks in which each operator class should occur.

    Returns:
        Indices into the pool, in the order to measure. Every prefix is a design, too.

    Raises:
        CostError: ``n`` is not between 1 and the size of the pool, or ``cover`` is below 1.
    """
    if not 1 <= n <= len(graphs) or cover < 1:
        raise CostError(f"n={n}, cover={cover}: of {len(graphs)} networks 1 to {len(graphs)} can be chosen, covered "
                        "at least once")  # fmt: skip
    contents = [{_cell(node) for node in graph.nodes if node.type not in FREE} for graph in graphs]
    frequency = Counter(cell for cells in contents for cell in cells)
    chosen: list[int] = []
    left = set(range(len(graphs)))
    seen: Counter[Kind] = Counter()
    while len(chosen) < n:
        gains = {i: sum(1 / frequency[c] ** 0.5 for c in contents[i] if seen[c] < min(cover, frequency[c]))
                 for i in sorted(left)}  # fmt: skip
        best = max(gains, key=lambda i: gains[i], default=-1)
        if best < 0 or gains[best] == 0:
            break
        chosen.append(best)
        left.remove(best)
        seen.update(contents[best])
    return (chosen + sorted(left))[:n]


def _cell(node: Operation) -> Kind:
    return (*kind_of(node), round(math.log2(max(work_of(node), 1))))


@dataclass(frozen=True)
class KnownOperators:
    """The operators of the measured networks: kind -> smallest and largest work."""

    ranges: Mapping[Kind, tuple[int, int]]

    @classmethod
    def of(cls, graphs: Iterable[OperationGraph]) -> KnownOperators:
        """Collect them from the measured networks."""
        ranges: dict[Kind, tuple[int, int]] = {}
        for graph in graphs:
            for node in graph.nodes:
                if node.type not in FREE:
                    work = work_of(node)
                    low, high = ranges.get(kind_of(node), (work, work))
                    ranges[kind_of(node)] = (min(low, work), max(high, work))
        return cls(ranges)

    def check(self, graph: OperationGraph) -> None:
        """Check that a network has only operators like the measured ones.

        Raises:
            CostError: No measured network has an operator of this kind, or all are smaller or larger by more than the
                factor :data:`BEYOND`. The message names the operator.
        """
        for node in graph.nodes:
            if node.type in FREE:
                continue
            kind, work = kind_of(node), work_of(node)
            if kind not in self.ranges:
                details = ", ".join(str(part) for part in kind if part)
                raise CostError(f"latency of {graph.name!r}: operator {node.name!r} ({details}) is in no measured "
                                "network; measure one that has it")  # fmt: skip
            low, high = self.ranges[kind]
            if not low / BEYOND <= work <= high * BEYOND:
                raise CostError(
                    f"latency of {graph.name!r}: operator {node.name!r} ({node.type}) does {work:,} steps of work, "
                    f"those that were measured {low:,} to {high:,}; measure a network that has one of this size"
                )


class Predictor(Protocol):
    """A model fitted on measured latencies, such as :func:`autobuild.fit` returns."""

    def predict(self, archs: Sequence[Architecture]) -> pd.DataFrame:
        """A frame with the columns ``predicted``, ``lower`` and ``upper``, one row per architecture."""
        ...


class PredictedLatency:
    """``predicted_ms``: latency predicted by a fitted model. Networks with unmeasured operators are refused.

    Args:
        model: A model fitted on latencies in milliseconds of architectures of one space.
        known: Operators of the networks that it was fitted on.
    """

    name = "predicted_ms"
    unit = "ms"

    def __init__(self, model: Predictor, known: KnownOperators) -> None:
        self.model, self.known = model, known

    def __call__(self, graph: OperationGraph) -> dict[str, float]:
        """Not possible: the model predicts architectures, not graphs.

        Raises:
            CostError: Always, with the reason ``no_network``; use :meth:`of_architectures`.
        """
        self.known.check(graph)
        raise CostError(f"latency of {graph.name!r}: the model predicts architectures, not graphs", "no_network")

    def of_architectures(self, space: SearchSpace, archs: Sequence[Architecture]) -> dict[str, FloatArray]:
        """See :class:`autobuild.cost.ArchitectureCost`.

        Raises:
            CostError: See :meth:`KnownOperators.check`.
        """
        for arch in archs:
            self.known.check(graph_of(space, arch))
        return {self.name: np.asarray(self.model.predict(archs)["predicted"], dtype=np.float64)}
