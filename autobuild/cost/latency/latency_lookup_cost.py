"""The cost ``latency_lookup`` (``lookup_ms``): latency looked up in a table of kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from autobuild._typing import FloatArray
from autobuild.cost.latency.fusion_rules import find_rules, rules_of
from autobuild.cost.latency.graph_to_onnx import onnx_of
from autobuild.cost.latency.latency_cost import latency_folder
from autobuild.cost.latency.latency_table import ROUNDS, LatencyTable
from autobuild.cost.latency.lookup import Lookup, calibrate
from autobuild.cost.latency.onnx_fragments import Operators
from autobuild.errors import CostError
from autobuild.graphs import graph_of
from autobuild.graphs.operations import OperationGraph
from autobuild.registry import COSTS
from autobuild.spaces import Architecture, SearchSpace

TABLE, LOOKUP = "fragments.json", "lookup.json"


@COSTS.register("latency_lookup")
class LookupLatency:
    """``lookup_ms``: latency of one forward pass as a calibrated sum over a table of kernels.

    A kernel that the table lacks is measured if the table was measured on this machine; otherwise it is an error.

    Args:
        lookup: The table and its calibration. Default: those that :func:`prepare_lookup` wrote for this machine.
    """

    name = "lookup_ms"
    unit = "ms"

    def __init__(self, lookup: Lookup | None = None) -> None:
        self._lookup = lookup

    @property
    def lookup(self) -> Lookup:
        """The table and its calibration.

        Raises:
            CostError: There is no table for this machine.
        """
        if self._lookup is None:
            folder = latency_folder()
            if not (folder / LOOKUP).is_file():
                raise CostError(f"there is no latency table for this machine ({folder / LOOKUP}): "
                                "autobuild.cost.latency.prepare_lookup makes one")  # fmt: skip
            self._lookup = Lookup.read(folder / LOOKUP, LatencyTable(folder / TABLE), measure=True)
        return self._lookup

    def __call__(self, graph: OperationGraph) -> dict[str, float]:
        """See :class:`autobuild.cost.Cost`.

        Raises:
            CostError: An operation cannot be written as ONNX, or the table lacks a kernel that cannot be measured here.
        """
        return {self.name: float(self.lookup.latency_ms([Operators(onnx_of(graph), graph.name)])[0])}

    def of_architectures(self, space: SearchSpace, archs: Sequence[Architecture]) -> dict[str, FloatArray]:
        """See :class:`autobuild.cost.ArchitectureCost`. Kernels that the table lacks are measured together."""
        networks = [Operators(onnx_of(graph_of(space, arch)), arch.text) for arch in archs]
        return {self.name: self.lookup.latency_ms(networks)}


def prepare_lookup(
    networks: Sequence[Operators],
    folder: str | Path | None = None,
    rounds: int = ROUNDS,
    on_progress: Callable[[int, int], None] | None = None,
) -> Lookup:
    """Make a latency table on this machine: find the fusion rules, measure all kernels, and calibrate.

    Whole networks are measured in the same rounds as their kernels. An interrupted call continues where it stopped.

    Args:
        networks: A few dozen typical networks. The calibration is fitted on them, so test its error on others.
        folder: Folder of the table. Default: the user's cache, where ``cost=latency_lookup`` finds it.
        rounds: Number of timing rounds for each fragment.
        on_progress: Called with the number of timings done and in total.

    Returns:
        The table with its fusion rules and calibration.

    Raises:
        CostError: There are fewer than three networks, or the runtime does not support an operator.
    """
    target = latency_folder() if folder is None else Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    table = LatencyTable(target / TABLE)
    rules = rules_of(find_rules(networks, table, rounds, on_progress))
    lookup = Lookup(table, rules, rounds=rounds, measure=table.is_of_this_machine)
    wholes = [network.whole for network in networks]
    table.measure([*lookup.fragments(networks), *wholes], rounds, on_progress)
    measured = [table.time_ms(whole.key) for whole in wholes]
    lookup = replace(lookup, calibration=calibrate(lookup.sums(networks), [n.weights_mb for n in networks], measured))
    lookup.write(target / LOOKUP)
    return lookup
