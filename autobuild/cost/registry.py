"""Costs: the protocols that a cost implements, and all costs by name: built-in, registered and installed ones."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from numpy.typing import ArrayLike

from autobuild.cost.hardware import DEFAULT, Hardware, read_hardware
from autobuild.errors import ConfigError, CostError
from autobuild.graphs.operations import OperationGraph
from autobuild.registry import COSTS
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.additive import Bounds

Made = TypeVar("Made", bound=Callable[..., "Cost"])

FIRST = ("params", "macs", "activation_peak_bytes", "roofline")  # in tables
TIMED = ("latency", "latency_lookup")  # they run networks on this machine, so they are computed only on request
_log = logging.getLogger(__name__)


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


def metric_units(cost: Cost | type[Cost]) -> dict[str, str]:
    """Metric -> unit of a cost, or of a class of costs that says so."""
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


def register_cost(name: str) -> Callable[[Made], Made]:
    """Decorator that registers a cost in this process.

    It decorates a class, or a function that returns a cost. This may take ``hardware``, a :class:`Hardware`, and no
    other argument without a default. A package declares its cost as an entry point, so it is found without an import:

        [project.entry-points."autobuild.costs"]
        my_cost = "my_package.costs:MyCost"

    Args:
        name: Its name, as for :meth:`autobuild.registry.Registry.register`, which says what errors there are.

    Returns:
        The decorator.
    """
    return COSTS.register(name)


def cost_names() -> list[str]:
    """Names of all costs, the built-in ones first."""
    shipped = COSTS.shipped()
    return sorted(COSTS, key=lambda name: (name not in shipped, name not in FIRST, [*FIRST, name].index(name), name))


def make_cost(name: str, hardware: str | Path | Hardware = DEFAULT) -> Cost:
    """A cost by name.

    Args:
        name: One of :func:`cost_names`.
        hardware: Hardware description, name of a preset, or path of a YAML file, for costs that take one.

    Raises:
        ConfigError: The name or the hardware is unknown (the message suggests the nearest names), or the cost of an
            installed package cannot be imported, cannot be made, or is not a cost. The message names the package.
    """
    cost: Cost = COSTS.make(name, {"hardware": read_hardware(hardware)})
    lacking = [part for part in ("name", "unit") if not isinstance(getattr(cost, part, None), str)]
    if lacking or not callable(cost):
        what = f"it has no text attribute {lacking[0]}" if lacking else "it cannot be called with a graph"
        raise COSTS.blame(name, f"{what} (accepted: the protocol autobuild.cost.Cost)")
    if bad := [metric for metric in metric_units(cost) if not metric.isidentifier()]:
        raise COSTS.blame(name, f"metric {bad[0]!r}: accepted: letters, digits and _")
    return cost


def metric_sources(hardware: str | Path | Hardware = DEFAULT) -> dict[str, str]:
    """Metric -> name of the cost that computes it, for all costs. Of two costs with the same metric, the first is used.

    Metrics are read from the class (``metrics``, or ``name`` and ``unit``); a cost is made only if its class does not
    say. A package's cost that cannot be imported is left out with a warning, so the others stay usable.

    Args:
        hardware: Hardware description, for costs that have to be made.
    """
    found: dict[str, str] = {}
    for name in cost_names():
        try:
            declared = COSTS[name]
            if not (isinstance(declared, type) and _says_its_metrics(declared)):
                declared = make_cost(name, hardware)
        except (ConfigError, CostError) as error:
            _log.warning("%s", error)
            continue
        for metric in metric_units(declared):
            found.setdefault(metric, name)
    return found


def _says_its_metrics(declared: type) -> bool:
    metrics = getattr(declared, "metrics", None)
    named = all(isinstance(getattr(declared, part, None), str) for part in ("name", "unit"))
    return named and (metrics is None or isinstance(metrics, Mapping))
