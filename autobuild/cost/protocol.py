"""Protocols of costs: what a cost, also one of a user's package, has to implement."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from numpy.typing import ArrayLike

from autobuild.errors import CostError
from autobuild.graphs.operations import OperationGraph
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.additive import Bounds


class Cost(Protocol):
    """One or several metrics of a network, computed without training it.

    ``name`` and ``unit`` are those of the metric. A cost with several metrics also has an attribute ``metrics``,
    ``{metric: unit}``. Then ``name`` selects the cost (``autobuild cost cost=NAME``). Targets and limits use the names
    of metrics, so a name consists of letters, digits and ``_``.

    A cost may implement two more protocols: :class:`ArchitectureCost`, if architectures can be counted without graphs,
    and :class:`TabledCost`, if the constructor shall propose networks under a limit on it.
    """

    name: str
    unit: str

    def __call__(self, graph: OperationGraph) -> Mapping[str, float]:
        """Metric -> finite number, for one forward pass of the graph's inputs.

        Raises:
            CostError: There is no value: an operation has no rule (reason ``unknown``), or the hardware cannot run the
                network (reason ``infeasible``). The message names the operation. A cost must not return zero instead.
        """
        ...


@runtime_checkable
class ArchitectureCost(Protocol):
    """A cost that can be computed for many architectures at once, without their graphs."""

    def of_architectures(self, space: SearchSpace, archs: Sequence[Architecture]) -> Mapping[str, ArrayLike]:
        """Metric -> values, shape ``(n,)``; NaN if the hardware cannot run the network."""
        ...


@runtime_checkable
class TabledCost(Protocol):
    """A cost that is a sum over units, or that is bounded by two such sums."""

    def unit_tables(self, space: SearchSpace) -> Mapping[str, Bounds]:
        """Metric -> lower and upper bound as sums over the units of the space. Metrics without bounds are left out.

        Raises:
            SpaceError: There are no bounds for this space; the message says why.
        """
        ...


def metric_units(cost: Cost) -> dict[str, str]:
    """Metric -> unit of a cost."""
    several: Mapping[str, str] | None = getattr(cost, "metrics", None)
    return dict(several) if several is not None else {cost.name: cost.unit}


def checked(cost: Cost, values: Mapping[str, float], of: str) -> dict[str, float]:
    """Check the values that a cost returned.

    Args:
        cost: The cost.
        values: Metric -> value, as the cost returned them.
        of: Name of the network, for the error message.

    Returns:
        Metric -> value, in the order of the cost's metrics.

    Raises:
        CostError: A metric is missing or not declared, or a value is not finite.
    """
    units = metric_units(cost)
    if set(values) != set(units):
        raise CostError(f"cost {cost.name!r} of {of}: returned {sorted(values)}, declared {sorted(units)}", "no_value")
    for metric, value in values.items():
        if not math.isfinite(value):
            raise CostError(f"cost {cost.name!r} of {of}: {metric} is {value}", "no_value")
    return {metric: float(values[metric]) for metric in units}
