"""Parameters and multiply-accumulates as costs: of a graph as it says, of architectures from tables."""

from __future__ import annotations

from collections.abc import Sequence

from autobuild.cost.analytic import Counts, costs_of
from autobuild.cost.unit_tables import unit_tables
from autobuild.errors import CostError, SpaceError
from autobuild.graphs.operations import OperationGraph
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.additive import Bounds


class _Counted:
    """A count that a space has tables of."""

    name: str
    unit: str

    def of_architectures(self, space: SearchSpace, archs: Sequence[Architecture]) -> dict[str, Counts]:
        """See :class:`autobuild.cost.ArchitectureCost`: :func:`autobuild.cost.costs_of`, without any graph."""
        try:
            return {self.name: costs_of(space)[self.name](archs)}
        except SpaceError as error:
            raise CostError(f"{self.name} of {space.name!r}: {error}", "no_network") from None

    def unit_tables(self, space: SearchSpace) -> dict[str, Bounds]:
        """See :class:`autobuild.cost.TabledCost`: exact sums."""
        table = unit_tables(space, self.name)
        return {self.name: Bounds(table, table)}


class Params(_Counted):
    """``params``: learnt numbers. Of a graph, of what is left when batch norms are folded if it was read so."""

    name = "params"
    unit = "1"

    def __call__(self, graph: OperationGraph) -> dict[str, float]:
        """See :class:`autobuild.cost.Cost`."""
        return {self.name: graph.params}


class Macs(_Counted):
    """``macs``: multiply-accumulates of one forward pass (the rule of :func:`autobuild.cost.count_macs`)."""

    name = "macs"
    unit = "1"

    def __call__(self, graph: OperationGraph) -> dict[str, float]:
        """See :class:`autobuild.cost.Cost`.

        Raises:
            CostError: An operation without a rule; the message names those.
        """
        if graph.uncounted:
            raise CostError(f"macs of {graph.name!r}: no rule for {', '.join(list(graph.uncounted)[:5])}")
        return {self.name: graph.macs}
