"""The cost ``params``: from the graph of a network, or from tables for many architectures."""

from __future__ import annotations

from collections.abc import Sequence

from autobuild._typing import IntArray
from autobuild.cost.layer_tables import costs_of
from autobuild.cost.unit_tables import unit_tables
from autobuild.errors import CostError, SpaceError
from autobuild.graphs.operations import OperationGraph
from autobuild.registry import COSTS
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.additive import Bounds


class CountCost:
    """A count for which most spaces have tables."""

    name: str
    unit: str

    def of_architectures(self, space: SearchSpace, archs: Sequence[Architecture]) -> dict[str, IntArray]:
        """See :class:`autobuild.cost.ArchitectureCost`: :func:`autobuild.cost.costs_of`."""
        try:
            return {self.name: costs_of(space)[self.name](archs)}
        except SpaceError as error:
            raise CostError(f"{self.name} of {space.name!r}: {error}", "no_network") from None

    def unit_tables(self, space: SearchSpace) -> dict[str, Bounds]:
        """See :class:`autobuild.cost.TabledCost`: exact sums."""
        table = unit_tables(space, self.name)
        return {self.name: Bounds(table, table)}


@COSTS.register("params")
class Params(CountCost):
    """``params``: number of trainable parameters, those of batch norms included."""

    name = "params"
    unit = "1"

    def __call__(self, graph: OperationGraph) -> dict[str, float]:
        """See :class:`autobuild.cost.Cost`."""
        return {self.name: graph.params}
