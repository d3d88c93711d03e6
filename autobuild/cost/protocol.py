"""What a cost is: a small object that gives numbers for a network; a user's package may bring its own."""

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
    """Numbers of a network that are computed without training it.

    ``name`` and ``unit`` are those of its metric. A cost of several metrics has an attribute ``metrics`` beside them,
    ``{metric: unit}``; ``name`` then is what all of them are asked for by (``autobuild cost cost=NAME``). Names of
    metrics are what targets and limits use, so they are words of letters, digits and ``_``.

    Two methods may be added: :class:`ArchitectureCost` where architectures can be counted without their graphs, and
    :class:`TabledCost` where the constructor is to propose networks under a limit on it.
    """

    name: str
    unit: str

    def __call__(self, graph: OperationGraph) -> Mapping[str, float]:
        """Value of every metric, finite numbers, for one forward pass of the graph's inputs.

        Raises:
            CostError: There is no value: an operation without a rule (reason ``unknown``), or a network that the
                hardware cannot run (``infeasible``). The message names the operation. Never zero instead.
        """
        ...


@runtime_checkable
class ArchitectureCost(Protocol):
    """A cost that also counts architectures themselves, many at once."""

    def of_architectures(self, space: SearchSpace, archs: Sequence[Architecture]) -> Mapping[str, ArrayLike]:
        """Metric -> values, shape ``(n,)``; NaN where the hardware cannot run the network."""
        ...


@runtime_checkable
class TabledCost(Protocol):
    """A cost that is a sum over units, or lies between two such sums."""

    def unit_tables(self, space: SearchSpace) -> Mapping[str, Bounds]:
        """Metric -> bounds as sums over the units of the space; metrics without are left out.

        Raises:
            SpaceError: There are none for this space; the message says why.
        """
        ...


def metric_units(cost: Cost) -> dict[str, str]:
    """Metric -> unit of a cost."""
    several: Mapping[str, str] | None = getattr(cost, "metrics", None)
    return dict(several) if several is not None else {cost.name: cost.unit}


def checked(cost: Cost, found: Mapping[str, float], of: str) -> dict[str, float]:
    """What a cost gave, if it is what it owes.

    Args:
        cost: The cost.
        found: What it gave.
        of: What for, for the message.

    Raises:
        CostError: A metric is missing, not announced, or no finite number.
    """
    units = metric_units(cost)
    if set(found) != set(units):
        raise CostError(f"cost {cost.name!r} of {of}: gave {sorted(found)}, announced {sorted(units)}", "no_value")
    for metric, value in found.items():
        if not math.isfinite(value):
            raise CostError(f"cost {cost.name!r} of {of}: {metric} is {value}", "no_value")
    return {metric: float(found[metric]) for metric in units}
