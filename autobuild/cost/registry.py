"""Registry of costs: built-in ones, registered ones, and those of installed packages (entry points)."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from autobuild.cost.activation_peak import ActivationPeak
from autobuild.cost.dram import DramBytes
from autobuild.cost.hardware import DEFAULT, Hardware, read_hardware
from autobuild.cost.latency import LookupLatency, MeasuredLatency
from autobuild.cost.params_macs import Macs, Params
from autobuild.cost.protocol import Cost, metric_units
from autobuild.cost.roofline import Roofline
from autobuild.errors import ConfigError, CostError, nearest

GROUP = "autobuild.costs"
Factory = Callable[..., Cost]
Made = TypeVar("Made", bound=Factory)

BUILT_IN: dict[str, Factory] = {
    "params": Params,
    "macs": Macs,
    "activation_peak_bytes": ActivationPeak,
    "roofline": Roofline,
    "dram_bytes": DramBytes,
    "latency": MeasuredLatency,
    "latency_lookup": LookupLatency,
}
TIMED = ("latency", "latency_lookup")  # they run networks on this machine, so they are computed only on request
_REGISTERED: dict[str, Factory] = {}
_log = logging.getLogger(__name__)


def register_cost(name: str) -> Callable[[Made], Made]:
    """Decorator that registers a cost in this process. A later registration of the same name replaces it.

    It decorates a class, or a function that returns a cost. This may take ``hardware``, a :class:`Hardware`, and no
    other argument without a default. A package declares its cost as an entry point, so it is found without an import:

        [project.entry-points."autobuild.costs"]
        my_cost = "my_package.costs:MyCost"

    Raises:
        ConfigError: The name has other characters than letters, digits and ``_``, or is that of a built-in cost.
    """

    def register(factory: Made) -> Made:
        _check_name(name)
        _REGISTERED[name] = factory
        return factory

    return register


def _check_name(name: str) -> None:
    if not name.isidentifier():
        raise ConfigError(f"cost {name!r}: accepted: letters, digits and _")
    if name in BUILT_IN:
        raise ConfigError(f"cost {name!r} is built in: choose another name")


def cost_names() -> list[str]:
    """Names of all costs, the built-in ones first."""
    return list(dict.fromkeys([*BUILT_IN, *sorted({*_REGISTERED, *_installed()})]))


def _installed() -> dict[str, EntryPoint]:
    """Entry points by name. A name that is already taken is left out, with a warning."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        if point.name in BUILT_IN or (point.name in found and point.value != found[point.name].value):
            package = point.dist.name if point.dist else "a package"
            _log.warning("%s: the cost %r of %s is left out, the name is taken", GROUP, point.name, package)
        else:
            found[point.name] = point
    return found


def make_cost(name: str, hardware: str | Hardware = DEFAULT) -> Cost:
    """A cost by name.

    Args:
        name: One of :func:`cost_names`.
        hardware: Hardware description, name of a preset, or path of a YAML file, for costs that take one.

    Raises:
        ConfigError: The name or the hardware is unknown (the message suggests the nearest names), or the cost of an
            installed package cannot be imported, cannot be made, or is not a cost. The message names the package.
    """
    described = read_hardware(hardware)
    factory = {**_REGISTERED, **BUILT_IN}.get(name)
    if factory is not None:
        return _made(name, factory, described)
    point = _installed().get(name)
    if point is None:
        raise ConfigError(f"cost={name}: unknown name: {nearest(name, cost_names())}")
    try:
        factory = point.load()
    except Exception as error:  # the import runs code of the package, which may raise anything
        raise ConfigError(_blame(point, f"cannot be imported: {type(error).__name__}: {error}")) from error
    try:
        return _made(name, factory, described)
    except (TypeError, ConfigError) as error:
        raise ConfigError(_blame(point, str(error))) from error


def _blame(point: EntryPoint, problem: str) -> str:
    package = f" of the package {point.dist.name}" if point.dist else ""
    return f"cost={point.name}{package} ({point.value}): {problem}"


def _made(name: str, factory: Any, hardware: Hardware) -> Cost:
    takes = "hardware" in inspect.signature(factory).parameters
    cost: Cost = factory(hardware=hardware) if takes else factory()
    lacking = [part for part in ("name", "unit") if not isinstance(getattr(cost, part, None), str)]
    if lacking or not callable(cost):
        what = f"it has no text attribute {lacking[0]}" if lacking else "it cannot be called with a graph"
        raise ConfigError(f"cost {name!r}: {what} (accepted: the protocol autobuild.cost.Cost)")
    if bad := [metric for metric in metric_units(cost) if not metric.isidentifier()]:
        raise ConfigError(f"cost {name!r}: metric {bad[0]!r}: accepted: letters, digits and _")
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
