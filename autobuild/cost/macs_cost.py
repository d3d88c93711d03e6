"""The cost ``macs``: from the graph of a network, or from tables for many architectures."""

from __future__ import annotations

from autobuild.cost.count import macs_of
from autobuild.cost.params_cost import CountCost
from autobuild.graphs.operations import OperationGraph
from autobuild.registry import COSTS


@COSTS.register("macs")
class Macs(CountCost):
    """``macs``: multiply-accumulates of one forward pass (the rule of :func:`autobuild.cost.count_macs`)."""

    name = "macs"
    unit = "1"

    def __call__(self, graph: OperationGraph) -> dict[str, float]:
        """See :class:`autobuild.cost.Cost`.

        Raises:
            CostError: Operators have no rule. The message names them.
        """
        return {self.name: macs_of(graph)}
