"""Bring your own device: which few networks to measure there, and what a model fitted on them may be asked.

Nothing of a device is known but what is measured on it. So the networks to measure are chosen such that every kind of
operator of the space is seen, in sizes from small to large; and a network with an operator that was not among them is
refused instead of predicted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from autobuild.errors import CostError
from autobuild.graphs import graph_of
from autobuild.graphs.operations import Operation, OperationGraph
from autobuild.spaces import Architecture, SearchSpace

if TYPE_CHECKING:
    import pandas as pd

Kind = tuple[object, ...]
FREE = ("input", "alias")  # compute nothing
BEYOND = 2.0  # an operator may be so many times larger, or smaller, than any that was measured


def kind_of(node: Operation) -> Kind:
    """What kind of operator it is, sizes aside: type, windows, and whether its channels are grouped."""
    grouped = (
        "" if not node.groups or node.groups == 1 else "depthwise" if node.groups == node.in_channels else "groups"
    )
    return (node.type, node.kernel if node.type in ("conv", "max_pool", "avg_pool") else None, node.stride,
            node.dilation, grouped)  # fmt: skip


def work_of(node: Operation) -> int:
    """How much there is to do: multiply-accumulates, and numbers read and written."""
    return (node.macs or 0) + sum(map(math.prod, (*node.input_shapes, *node.output_shapes)))


def choose_networks(graphs: Sequence[OperationGraph], n: int, cover: int = 3) -> list[int]:
    """Choose networks to measure, so that every operator of the pool is seen.

    Greedy: the next network is the one whose operators, each of its kind and size (in steps of a factor of two), lack
    most of the ``cover`` sightings that each is to have; operators count with their share of the pool's work, rare ones
    as common ones. When nothing is lacking, counting starts again.

    Args:
        graphs: The pool, e.g. of 200 networks drawn from the space.
        n: How many to choose.
        cover: In how many of them each operator is to be seen at least.

    Returns:
        Places in the pool, in the order to measure: any first part is a design too.

    Raises:
        CostError: More are asked for than there are.
    """
    if not 1 <= n <= len(graphs) or cover < 1:
        raise CostError(f"n={n}, cover={cover}: of {len(graphs)} networks 1 to {len(graphs)} can be chosen, covered "
                        "at least once")  # fmt: skip
    contents = [{_cell(node) for node in graph.nodes if node.type not in FREE} for graph in graphs]
    frequency = Counter(cell for cells in contents for cell in cells)
    chosen: list[int] = []
    left = set(range(len(graphs)))
    seen: Counter[Kind] = Counter()
    wanted = cover
    while len(chosen) < n:
        gains = {i: sum(1 / frequency[c] ** 0.5 for c in contents[i] if seen[c] < min(wanted, frequency[c]))
                 for i in sorted(left)}  # fmt: skip
        best = max(gains, key=lambda i: gains[i])
        if gains[best] == 0 and any(frequency[c] > seen[c] for i in left for c in contents[i]):
            wanted += cover
            continue
        chosen.append(best)
        left.remove(best)
        seen.update(contents[best])
    return chosen


def _cell(node: Operation) -> Kind:
    return (*kind_of(node), round(math.log2(max(work_of(node), 1))))


@dataclass(frozen=True)
class KnownOperators:
    """The operators of the networks that were measured: kind -> smallest and largest work."""

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
        """Refuse a network with an operator that was not measured.

        Raises:
            CostError: Of a kind that no measured network has, or more than :data:`BEYOND` times larger or smaller than
                all of its kind; the message names the operator.
        """
        for node in graph.nodes:
            if node.type in FREE:
                continue
            kind, work = kind_of(node), work_of(node)
            if kind not in self.ranges:
                said = ", ".join(str(part) for part in kind if part)
                raise CostError(f"latency of {graph.name!r}: operator {node.name!r} ({said}) is in no network that was "
                                "measured; measure one that has it")  # fmt: skip
            low, high = self.ranges[kind]
            if not low / BEYOND <= work <= high * BEYOND:
                raise CostError(
                    f"latency of {graph.name!r}: operator {node.name!r} ({node.type}) does {work:,} steps of work, "
                    f"those that were measured {low:,} to {high:,}; measure a network that has one of this size"
                )


class Predictor(Protocol):
    """What is fitted on measured latencies: :func:`autobuild.fit` gives such models."""

    def predict(self, archs: Sequence[Architecture]) -> pd.DataFrame:
        """A frame with the columns ``predicted``, ``lower`` and ``upper``, a row an architecture."""
        ...


class PredictedLatency:
    """``predicted_ms``: a fitted model's latency, refused where it was fitted on no such operator.

    Args:
        model: Fitted on latencies in milliseconds of the architectures of one space.
        known: The operators of the networks that it was fitted on.
    """

    name = "predicted_ms"
    unit = "ms"

    def __init__(self, model: Predictor, known: KnownOperators) -> None:
        self.model, self.known = model, known

    def __call__(self, graph: OperationGraph) -> dict[str, float]:
        """A model of architectures cannot tell of a graph.

        Raises:
            CostError: Always, of the reason ``no_network``: ask :meth:`of_architectures`.
        """
        self.known.check(graph)
        raise CostError(f"latency of {graph.name!r}: the model predicts architectures, not graphs", "no_network")

    def of_architectures(self, space: SearchSpace, archs: Sequence[Architecture]) -> dict[str, NDArray[np.float64]]:
        """See :class:`autobuild.cost.ArchitectureCost`.

        Raises:
            CostError: See :meth:`KnownOperators.check`.
        """
        for arch in archs:
            self.known.check(graph_of(space, arch))
        return {self.name: np.asarray(self.model.predict(archs)["predicted"], dtype=np.float64)}
