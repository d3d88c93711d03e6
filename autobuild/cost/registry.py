"""Costs by name: those built in, those registered, and those of installed packages (entry points)."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from autobuild.cost.counted import Macs, Params
from autobuild.cost.dram import DramBytes
from autobuild.cost.hardware import DEFAULT, Hardware, read_hardware
from autobuild.cost.latency import LookupLatency, MeasuredLatency
from autobuild.cost.memory import ActivationPeak
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
TIMED = ("latency", "latency_lookup")  # they run networks, on this machine: computed only where they are asked for
_REGISTERED: dict[str, Factory] = {}
_log = logging.getLogger(__name__)


def register_cost(name: str) -> Callable[[Made], Made]:
    """Decorator that makes a cost known by its name in this process; registering a name again replaces it.

    What is decorated is a class or function that returns a cost. It may take ``hardware``, a :class:`Hardware`, and no
    other argument without a default. A package names it in its metadata instead, so that it is found without an import:

        [project.entry-points."autobuild.costs"]
        my_cost = "my_package.costs:MyCost"

    Raises:
        ConfigError: The name is no word of letters, digits and ``_``, or that of a cost that is built in.
    """

    def register(factory: Made) -> Made:
        _check_name(name)
        _REGISTERED[name] = factory
        return factory

    return register


def _check_name(name: str) -> None:
    if not name.isidentifier():
        raise ConfigError(f"cost {name!r}: a word of letters, digits and _ is accepted")
    if name in BUILT_IN:
        raise ConfigError(f"cost {name!r} is built in: name yours otherwise")


def cost_names() -> list[str]:
    """Names of all costs, the built-in ones first."""
    return list(dict.fromkeys([*BUILT_IN, *sorted({*_REGISTERED, *_installed()})]))


def _installed() -> dict[str, EntryPoint]:
    """Entry points by name; one that takes the name of a built-in cost, or of an earlier one, is told and left out."""
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
        hardware: What it is computed for, where it asks: a description, the name of a preset, or the path of a YAML.

    Raises:
        ConfigError: The name or the hardware is unknown (the nearest names are offered), or an installed package's cost
            cannot be imported or made, or is none; the message names the package and what is wrong.
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
    except Exception as error:  # importing runs the package's own code: anything may be raised, and all of it is its
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
        what = f"it has no {lacking[0]}, a text" if lacking else "it cannot be called with a graph"
        raise ConfigError(f"cost {name!r}: {what} (accepted: what autobuild.cost.Cost says)")
    if bad := [metric for metric in metric_units(cost) if not metric.isidentifier()]:
        raise ConfigError(f"cost {name!r}: metric {bad[0]!r}: a word of letters, digits and _ is accepted")
    return cost


def all_costs(hardware: str | Hardware = DEFAULT) -> dict[str, Cost]:
    """Metric -> the cost that gives it, of all costs; of two that give the same, the first.

    A package's cost that cannot be made is left out with a warning: it must not take the others away.

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
