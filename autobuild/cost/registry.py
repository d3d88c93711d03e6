"""Costs by name: built-in ones, registered ones, and those of installed packages (entry points)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from autobuild.cost.hardware import DEFAULT, Hardware, read_hardware
from autobuild.cost.protocol import Cost, metric_units
from autobuild.errors import ConfigError, CostError
from autobuild.registry import COSTS

Made = TypeVar("Made", bound=Callable[..., Cost])

FIRST = ("params", "macs", "activation_peak_bytes", "roofline")  # in tables
TIMED = ("latency", "latency_lookup")  # they run networks on this machine, so they are computed only on request
_log = logging.getLogger(__name__)


def register_cost(name: str) -> Callable[[Made], Made]:
    """Decorator that registers a cost in this process.

    It decorates a class, or a function that returns a cost. This may take ``hardware``, a :class:`Hardware`, and no
    other argument without a default. A package declares its cost as an entry point, so it is found without an import:

        [project.entry-points."autobuild.costs"]
        my_cost = "my_package.costs:MyCost"

    Args:
        name: Its name: letters, digits and ``_``.

    Returns:
        A function that registers what it is given, and returns it unchanged.

    Raises:
        ConfigError: The name is taken, or has other characters.
    """
    return COSTS.register(name)


def cost_names() -> list[str]:
    """Names of all costs, the built-in ones first."""
    shipped = COSTS.shipped()
    return sorted(COSTS, key=lambda name: (name not in shipped, name not in FIRST, [*FIRST, name].index(name), name))


def make_cost(name: str, hardware: str | Hardware = DEFAULT) -> Cost:
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


def all_costs(hardware: str | Hardware = DEFAULT) -> dict[str, Cost]:
    """Metric -> its cost, for all costs. If two costs have the same metric, the first one is used.

    A package's cost that cannot be made is left out with a warning, so the others stay usable.

    Raises:
        ConfigError: The hardware is unknown.
    """
    described = read_hardware(hardware)
    found: dict[str, Cost] = {}
    for name in cost_names():
        try:
            cost = make_cost(name, described)
        except (ConfigError, CostError) as error:
            _log.warning("%s", error)
            continue
        for metric in metric_units(cost):
            found.setdefault(metric, cost)
    return found
