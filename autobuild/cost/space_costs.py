"""The costs of a search space by name: each is a function of a list of architectures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autobuild._typing import FloatArray, IntArray
from autobuild.cost.hardware import DEFAULT, Hardware, read_hardware
from autobuild.cost.layer_tables import CostTables, Counter, cost_tables, table_rules
from autobuild.cost.registry import (
    TIMED,
    ArchitectureCost,
    Cost,
    TabledCost,
    checked,
    make_cost,
    metric_sources,
    metric_units,
)
from autobuild.cost.unit_tables import additive_costs
from autobuild.errors import ConfigError, CostError, GraphError, SpaceError, nearest
from autobuild.graphs.of_architecture import graph_of_architecture
from autobuild.graphs.operations import Shape
from autobuild.spaces import Architecture, SearchSpace, architectures, check_space
from autobuild.spaces.additive import Additive, Bounds
from autobuild.spaces.registry import declared_by

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


class RatioOf:
    """The ratio of two counts as a function of architectures, such as average bits; no sum over units."""

    cheap = True
    unit = "1"

    def __init__(self, name: str, above: MetricOf | CountOf | RatioOf, below: MetricOf | CountOf | RatioOf) -> None:
        self.name, self.above, self.below = name, above, below

    def __call__(self, archs: Sequence[Architecture | str]) -> FloatArray:
        """Values, shape ``(n,)``; NaN where the second count is 0."""
        above, below = self.above(archs).astype(np.float64), self.below(archs).astype(np.float64)
        out = np.full(len(above), np.nan)
        np.divide(above, below, out=out, where=below != 0)
        return out

    def __repr__(self) -> str:
        return f"<{self.name}: {self.above} / {self.below}>"

    def bounds(self) -> None:
        """There are none; ``above <= bound * below`` is the limit that is solved exactly."""


class SpaceCosts(Mapping[str, "MetricOf | CountOf | RatioOf"]):
    """Metric -> function of architectures, for all costs of a space.

    The counts of :func:`costs_of` come from tables if the space has them. All other costs are computed for
    ``hardware``, most of them from operation graphs, once for each architecture. A table or cost is made when it is
    first asked for; the names are known before.

    Args:
        space: The space.
        hardware: The hardware description.

    Raises:
        ConfigError: The hardware is unknown or its description is wrong, or ``space`` is not a search space.

    Attributes:
        lacking: Why there are no costs: the space builds no networks, or does not give their input size. Else empty.
    """

    def __init__(self, space: SearchSpace, hardware: str | Path | Hardware = DEFAULT) -> None:
        self.space, self.hardware, self.lacking = check_space(space), read_hardware(hardware), ""
        self._counts: Mapping[str, Mapping[str, int]] = {}
        self._ratios: Mapping[str, tuple[str, str]] = getattr(declared_by(space), "RATIOS", {})
        self._known: dict[str, MetricOf | CountOf | RatioOf] = {}
        self._shared: dict[str, CostOf] = {}
        try:
            self._counts = table_rules(space)
        except SpaceError as error:
            self.lacking = str(error)

    @cached_property
    def _tables(self) -> CostTables | None:
        return cost_tables(self.space)[0]

    @cached_property
    def _sources(self) -> dict[str, str]:
        bare = self.lacking or "tables" in self.space.options  # of which there are no networks to compute costs from
        return {} if bare else metric_sources(self.hardware)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._counts, *self._ratios, *self._sources]))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in self._counts or name in self._ratios or name in self._sources

    def __getitem__(self, name: str) -> MetricOf | CountOf | RatioOf:
        if name not in self:
            raise ConfigError(f"{self.space.name} has no cost {name!r}: {self.lacking or nearest(name, self)}")
        if name not in self._known:
            self._known[name] = self._made(name)
        return self._known[name]

    def _made(self, metric: str) -> MetricOf | CountOf | RatioOf:
        if metric in self._ratios:
            return RatioOf(metric, *(self[part] for part in self._ratios[metric]))
        if metric in self._counts and self._tables is not None:
            return CountOf(self.space, metric, partial(self._tables.cost, self._counts[metric]))
        source = self._sources[metric]
        if source not in self._shared:
            self._shared[source] = CostOf(make_cost(source, self.hardware), self.space)
        return MetricOf(self._shared[source], metric)

    def additive(self, name: str) -> Additive:
        """The cost ``name`` as a sum over units.

        Raises:
            ConfigError: The cost is unknown, or no sum over the units of the space.
        """
        bounds = self[name].bounds()
        if bounds is None or not bounds.exact:
            raise ConfigError(f"{name} is no sum over the units of {self.space.name}; accepted: a cost that is one")
        return bounds.lower

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.space, self.hardware)  # tables and costs are found again, not carried along

    def __repr__(self) -> str:
        return f"<costs of {self.space.name} for {self.hardware.name}: {', '.join(self)}>"

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

        names = [name for name in self if self._sources.get(name) not in TIMED] if metrics is None else list(metrics)
        functions = {name: self[name] for name in names}
        columns = {name: function(archs) for name, function in functions.items()}
        return pd.DataFrame({"arch": [str(arch) for arch in archs]} | columns)


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
