"""The cost ``latency`` (``measured_ms``): latency measured on this machine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from autobuild.cost.latency.graph_to_onnx import onnx_of
from autobuild.cost.latency.machine import describe_machine, machine_key
from autobuild.cost.latency.measurement import Meter
from autobuild.cost.latency.onnx_fragments import Operators
from autobuild.errors import CostError
from autobuild.graphs import graph_of
from autobuild.graphs.operations import OperationGraph
from autobuild.labels.importers.fetch import cache_folder
from autobuild.registry import COSTS
from autobuild.spaces import Architecture, SearchSpace

_log = logging.getLogger(__name__)


def latency_folder() -> Path:
    """Folder of this machine's measured latencies and its table, in the user's cache."""
    return cache_folder() / "latency" / machine_key(describe_machine())


@COSTS.register("latency")
class MeasuredLatency:
    """``measured_ms``: median latency of one forward pass on this machine, through ONNX Runtime.

    The graph is written as an ONNX model with random weights (:func:`~autobuild.cost.latency.onnx_of`) and run: one
    input, one pinned CPU thread, float32. Values are cached in the object and, if the meter has a cache, on disk. A
    logged warning says when a value is doubtful.

    Args:
        meter: How to measure; its runtime must be ``onnxruntime``. By default with a cache in :func:`latency_folder`.

    Raises:
        CostError: The meter has another runtime.
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
        """How to measure."""
        if self._meter is None:
            self._meter = Meter(cache=latency_folder().parent)
        return self._meter

    def __call__(self, graph: OperationGraph) -> dict[str, float]:
        """See :class:`autobuild.cost.Cost`.

        Raises:
            CostError: An operation cannot be written as ONNX, or the runtime does not support it.
        """
        model = onnx_of(graph)
        key = Operators(model, graph.name).key
        if key not in self._known:
            shape = graph.nodes[0].output_shape
            measured = self.meter.measure(model, shape)
            for warning in measured.timing.warnings:
                _log.warning("%s of %r: %s", self.name, graph.name, warning)
            self._known[key] = measured.latency_ms
        return {self.name: self._known[key]}

    def of_architectures(self, space: SearchSpace, archs: Sequence[Architecture]) -> dict[str, list[float]]:
        """See :class:`autobuild.cost.ArchitectureCost`; every architecture is measured."""
        return {self.name: [self(graph_of(space, arch))[self.name] for arch in archs]}
