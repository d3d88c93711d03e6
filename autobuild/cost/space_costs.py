"""The costs of a search space by name: each is a function of a list of architectures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autobuild._typing import FloatArray, IntArray
from autobuild.cost.hardware import DEFAULT, Hardware, read_hardware
from autobuild.cost.latency import LookupLatency, MeasuredLatency
from autobuild.cost.layer_tables import Counter, cost_tables
from autobuild.cost.protocol import ArchitectureCost, Cost, TabledCost, checked, metric_units
from autobuild.cost.registry import all_costs
from autobuild.cost.unit_tables import additive_costs
from autobuild.errors import ConfigError, CostError, GraphError, SpaceError, nearest
from autobuild.graphs.of_architecture import graph_of_architecture
from autobuild.graphs.operations import Shape
from autobuild.spaces import Architecture, SearchSpace, architectures, check_space
from autobuild.spaces.additive import Bounds

if TYPE_CHECKING:
    import pandas as pd

Values = dict[str, float] | CostError


class CostOf:
    """A cost evaluated on the architectures of a space, with a cache.

    Args:
        cost: The cost.
        space: The space.
        input_shape: Channels, height and width of inputs. Default: those of the space. If given, every value is
            computed from an operation graph.
    """

    def __init__(self, cost: Cost, space: SearchSpace, input_shape: Shape | None = None) -> None:
        self.cost, self.space, self.input_shape = cost, space, input_shape
        self._known: dict[str, Values] = {}
        self._bounds: Mapping[str, Bounds] | SpaceError | None = None

    def results(self, archs: Sequence[Architecture | str]) -> list[Values]:
        """For each architecture its metric values, or the error that says why there are none."""
        parsed = architectures(self.space, archs)
        new = list({arch.text: arch for arch in parsed if arch.text not in self._known}.values())
        if new and isinstance(self.cost, ArchitectureCost) and self.input_shape is None:
            self._known.update(self._in_bulk(self.cost, new))
        else:
            self._known.update((arch.text, self._single(arch)) for arch in new)
        return [self._known[arch.text] for arch in parsed]

    def _in_bulk(self, cost: ArchitectureCost, archs: Sequence[Architecture]) -> dict[str, Values]:
        try:
            given = cost.of_architectures(self.space, archs)
        except CostError as error:
            if len(archs) == 1:
                return {archs[0].text: error}
            single = [
                self._in_bulk(cost, [arch]) for arch in archs
            ]  # an architecture without a value must not hide the values of others
            return {text: values for result in single for text, values in result.items()}
        columns = {metric: np.asarray(column) for metric, column in given.items()}
        known: dict[str, Values] = {}
        for row, arch in enumerate(archs):
            try:
                values = {metric: column[row].item() for metric, column in columns.items()}
                known[arch.text] = checked(self.cost, values, repr(arch.text))
            except CostError as error:
                known[arch.text] = error
        return known

    def _single(self, arch: Architecture) -> Values:
        try:
            graph = graph_of_architecture(self.space, arch, input_shape=self.input_shape)
        except (GraphError, SpaceError) as error:
            return CostError(f"{self.cost.name} of {arch.text!r}: {error}", "no_network")
        try:
            return checked(self.cost, self.cost(graph), repr(arch.text))
        except CostError as error:
            return error

    def values(self, metric: str, archs: Sequence[Architecture | str]) -> FloatArray:
        """Values of one metric, shape ``(n,)``; NaN if the hardware cannot run the network. NaN satisfies no limit.

        Raises:
            CostError: An architecture has no value for another reason.
        """
        out = np.full(len(archs), np.nan)
        for row, result in enumerate(self.results(archs)):
            if isinstance(result, CostError):
                if result.reason != "infeasible":
                    raise result
            else:
                out[row] = result[metric]
        return out

    def bounds(self, metric: str) -> Bounds | None:
        """Lower and upper bound of a metric as sums over units; None if the cost has none for this space."""
        if self._bounds is None:
            try:
                self._bounds = self.cost.unit_tables(self.space) if isinstance(self.cost, TabledCost) else {}
            except SpaceError as error:
                self._bounds = error
        return None if isinstance(self._bounds, SpaceError) else self._bounds.get(metric)


class MetricOf:
    """A metric as a function of architectures, for targets, limits and searches.

    Attributes:
        of: The cost, which all of its metrics share.
        metric: The metric.
        unit: Its unit.
    """

    cheap = False  # every architecture needs an operation graph

    def __init__(self, of: CostOf, metric: str) -> None:
        self.of, self.metric = of, metric
        self.unit = metric_units(of.cost)[metric]

    @property
    def hardware(self) -> Hardware | None:
        """The hardware that it is computed for; None if the cost takes none."""
        hardware = getattr(self.of.cost, "hardware", None)
        return hardware if isinstance(hardware, Hardware) else None

    def __call__(self, archs: Sequence[Architecture | str]) -> FloatArray:
        """See :meth:`CostOf.values`. A single architecture, or its text, is accepted as well."""
        return self.of.values(self.metric, architectures(self.of.space, archs))

    def __repr__(self) -> str:
        return f"<{self.metric} [{self.unit}] of {self.of.space.name}>"

    def bounds(self) -> Bounds | None:
        """See :meth:`CostOf.bounds`."""
        return self.of.bounds(self.metric)


class CountOf:
    """A count from tables (such as ``params``) as a function of architectures, with its sum over units."""

    cheap = True
    unit = "1"

    def __init__(self, space: SearchSpace, name: str, count: Counter) -> None:
        self.space, self.name, self.count = space, name, count

    def __call__(self, archs: Sequence[Architecture | str]) -> IntArray:
        """Integers, shape ``(n,)``. A single architecture, or its text, is accepted as well."""
        return self.count(architectures(self.space, archs))

    def __repr__(self) -> str:
        return f"<{self.name} of {self.space.name}>"

    def bounds(self) -> Bounds | None:
        """The exact sum over units; None if the count is not additive."""
        table = additive_costs(self.space, [self.name])[0].get(self.name)
        return None if table is None else Bounds(table, table)


class SpaceCosts(dict[str, "MetricOf | CountOf"]):
    """Metric -> function of architectures, for all costs of a space.

    The counts of :func:`costs_of` come from tables if the space has them. All other costs are computed for
    ``hardware``, most of them from operation graphs, once for each architecture.

    Args:
        space: The space.
        hardware: The hardware description.

    Raises:
        ConfigError: The hardware is unknown or its description is wrong, or ``space`` is not a search space.

    Attributes:
        lacking: Why there are no costs: the space builds no networks, or does not give their input size. Else empty.
    """

    def __init__(self, space: SearchSpace, hardware: str | Path | Hardware = DEFAULT) -> None:
        super().__init__()
        self.space, self.hardware, self.lacking = check_space(space), read_hardware(hardware), ""
        try:
            tables, rules = cost_tables(space)
        except SpaceError as error:
            self.lacking = str(error)
            return
        if tables is not None:
            self.update((name, CountOf(space, name, partial(tables.cost, rule))) for name, rule in rules.items())
        shared: dict[int, CostOf] = {}
        for metric, cost in all_costs(self.hardware).items():
            if metric not in self:
                self[metric] = MetricOf(shared.setdefault(id(cost), CostOf(cost, space)), metric)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.space, self.hardware)  # tables and costs are found again, not carried along

    def __missing__(self, name: str) -> MetricOf | CountOf:
        raise ConfigError(f"{self.space.name} has no cost {name!r}: {self.lacking or nearest(name, self)}")

    def table(self, archs: Sequence[Architecture | str], metrics: Sequence[str] | None = None) -> pd.DataFrame:
        """A frame with ``arch`` and a column for each metric.

        Args:
            archs: Architectures or their texts.
            metrics: Names of metrics. Default: all, except latencies that are measured on this machine.

        Raises:
            ConfigError: A metric is unknown.
            CostError: An architecture has no value, and not because the hardware cannot run the network.
        """
        import pandas as pd

        names = [name for name in self if not self._timed(name)] if metrics is None else list(metrics)
        for name in names:
            if name not in self:
                raise ConfigError(f"{self.space.name} has no cost {name!r}: {nearest(name, self)}")
        return pd.DataFrame({"arch": [str(arch) for arch in archs]} | {name: self[name](archs) for name in names})

    def _timed(self, metric: str) -> bool:
        cost = self[metric]
        return isinstance(cost, MetricOf) and isinstance(cost.of.cost, MeasuredLatency | LookupLatency)


def costs(space: SearchSpace, hardware: str | Path | Hardware = DEFAULT) -> SpaceCosts:
    """Costs that a target, a limit or a search may name: metric -> function of architectures, values ``(n,)``.

    Parameters, MACs and the space's published counts come from tables. All other registered costs
    (:func:`autobuild.cost.cost_names`) are computed for ``hardware`` from operation graphs, once for each architecture.
    A value is NaN if the hardware cannot run the network. A space that builds no networks has no costs.

    Args:
        space: The search space.
        hardware: The name of a preset, the path of a YAML file, or a :class:`~autobuild.cost.Hardware`.

    Returns:
        Mapping of cost name -> function from ``n`` architectures to values of shape ``(n,)``.

    Raises:
        ConfigError: The hardware is unknown, or its description is wrong.
    """
    return SpaceCosts(space, hardware)
