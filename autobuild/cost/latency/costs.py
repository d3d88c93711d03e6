"""Latency as a cost: measured on this machine, or looked up in a table; of anything that has an operation graph."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autobuild.cost.latency.from_graph import onnx_of
from autobuild.cost.latency.lookup import Lookup, calibrate
from autobuild.cost.latency.machine import describe_machine, machine_key
from autobuild.cost.latency.measured import Meter
from autobuild.cost.latency.operators import Operators
from autobuild.cost.latency.rules import find_rules, rules_of
from autobuild.cost.latency.table import ROUNDS, LatencyTable
from autobuild.errors import CostError
from autobuild.graphs import graph_of
from autobuild.graphs.operations import OperationGraph
from autobuild.labels.importers.fetch import cache_folder
from autobuild.spaces import Architecture, SearchSpace

TABLE, LOOKUP = "fragments.json", "lookup.json"
_log = logging.getLogger(__name__)


def latency_folder() -> Path:
    """Where this machine's measured latencies and its table lie, in the user's cache."""
    return cache_folder() / "latency" / machine_key(describe_machine())


class MeasuredLatency:
    """``measured_ms``: median latency of one forward pass on this machine, through ONNX Runtime.

    The graph is written as an ONNX model with made-up weights (:func:`~autobuild.cost.latency.onnx_of`) and run: one
    input, one pinned thread of the CPU, float32. The same graph gets the same number as long as the object lives, and
    on this machine for good where the meter has a cache. What makes a number doubtful is told by a logged warning.

    Args:
        meter: How it is measured; its runtime is ``onnxruntime``. By default with a cache, beside the table of kernels
            (:func:`latency_folder`).
    """

    name = "measured_ms"
    unit = "ms"

    def __init__(self, meter: Meter | None = None) -> None:
        if meter is not None and meter.runtime != "onnxruntime":
            raise CostError(f"a graph runs on onnxruntime, not on {meter.runtime}: use Meter for networks")
        self._meter = meter
        self._known: dict[str, float] = {}

    @property
    def meter(self) -> Meter:
        """How it is measured."""
        if self._meter is None:
            self._meter = Meter(cache=latency_folder().parent)
        return self._meter

    def __call__(self, graph: OperationGraph) -> dict[str, float]:
        """See :class:`autobuild.cost.Cost`.

        Raises:
            CostError: An operation that cannot be written from the graph, or that the runtime does not have.
        """
        model = onnx_of(graph)
        key = Operators(model, graph.name).key
        if key not in self._known:
            shape = graph.nodes[0].output_shape
            found = self.meter.measure(model, shape)
            for doubt in found.timing.warnings:
                _log.warning("%s of %r: %s", self.name, graph.name, doubt)
            self._known[key] = found.latency_ms
        return {self.name: self._known[key]}

    def of_architectures(self, space: SearchSpace, archs: Sequence[Architecture]) -> dict[str, list[float]]:
        """See :class:`autobuild.cost.ArchitectureCost`: a measurement each."""
        return {self.name: [self(graph_of(space, arch))[self.name] for arch in archs]}


class LookupLatency:
    """``lookup_ms``: latency of one forward pass, a calibrated sum over a table of kernels.

    Kernels that the table does not know are measured on the spot where it is this machine's, and refused otherwise.

    Args:
        lookup: The table and how it is read; by default what :func:`prepare_lookup` left for this machine.
    """

    name = "lookup_ms"
    unit = "ms"

    def __init__(self, lookup: Lookup | None = None) -> None:
        self._lookup = lookup

    @property
    def lookup(self) -> Lookup:
        """The table and how it is read.

        Raises:
            CostError: Nothing was prepared on this machine.
        """
        if self._lookup is None:
            folder = latency_folder()
            if not (folder / LOOKUP).is_file():
                raise CostError(f"no table of latencies was made on this machine ({folder / LOOKUP}): "
                                "autobuild.cost.latency.prepare_lookup makes one")  # fmt: skip
            self._lookup = Lookup.read(folder / LOOKUP, LatencyTable(folder / TABLE), measure=True)
        return self._lookup

    def __call__(self, graph: OperationGraph) -> dict[str, float]:
        """See :class:`autobuild.cost.Cost`.

        Raises:
            CostError: An operation that cannot be written from the graph, or a kernel that is not known and cannot be
                measured here.
        """
        return {self.name: float(self.lookup.latency_ms([Operators(onnx_of(graph), graph.name)])[0])}

    def of_architectures(self, space: SearchSpace, archs: Sequence[Architecture]) -> dict[str, NDArray[np.float64]]:
        """See :class:`autobuild.cost.ArchitectureCost`; what the table lacks for all of them is measured together."""
        networks = [Operators(onnx_of(graph_of(space, arch)), arch.text) for arch in archs]
        return {self.name: self.lookup.latency_ms(networks)}


def prepare_lookup(
    networks: Sequence[Operators],
    folder: str | Path | None = None,
    rounds: int = ROUNDS,
    on_progress: Callable[[int, int], None] | None = None,
) -> Lookup:
    """Make a table of latencies on this machine: find the fusion rules, measure all kernels, calibrate.

    Whole networks are measured in the same rounds as their kernels. A killed call goes on where it stopped.

    Args:
        networks: A few dozen of the networks that are to be asked for; the calibration is fitted on them, so judge its
            error on others.
        folder: Where the table lies (default: the user's cache, where ``cost=latency_lookup`` finds it).
        rounds: Rounds of each fragment.
        on_progress: Called with timings done and to do.

    Raises:
        CostError: Fewer than three networks, or operators that the runtime refuses.
    """
    place = latency_folder() if folder is None else Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    table = LatencyTable(place / TABLE)
    rules = rules_of(find_rules(networks, table, rounds, on_progress))
    lookup = Lookup(table, rules, rounds=rounds, measure=table.is_of_this_machine)
    wholes = [network.whole for network in networks]
    table.measure([*lookup.fragments(networks), *wholes], rounds, on_progress)
    measured = [table.time_ms(whole.key) for whole in wholes]
    lookup = replace(lookup, calibration=calibrate(lookup.sums(networks), [n.weights_mb for n in networks], measured))
    lookup.write(place / LOOKUP)
    return lookup
