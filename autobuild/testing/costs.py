"""Every property that a cost owes, as a pytest suite."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from autobuild._typing import FloatArray
from autobuild.cost.registry import ArchitectureCost, Cost, TabledCost, checked, metric_units
from autobuild.errors import CostError, SpaceError
from autobuild.graphs import OperationGraph, graph_of
from autobuild.spaces import Architecture, SearchSpace, load_space

SPACE = "nas_bench_macro"


class CostConformance:
    """Subclass it in a test module and give a fixture ``cost``; ``space`` may be another space that builds networks::

    class TestMyCost(CostConformance):
        @pytest.fixture
        def cost(self):
            return MyCost()
    """

    @pytest.fixture
    def space(self) -> SearchSpace:
        """Whose networks the cost is asked about."""
        return load_space(SPACE)

    @pytest.fixture
    def graph(self, space: SearchSpace) -> OperationGraph:
        """A network that the cost knows all operations of."""
        return graph_of(space, space.example)

    def test_name_unit_and_metrics_are_said(self, cost: Cost) -> None:
        """Name and unit are texts, metrics words that an expression can name."""
        assert cost.name.isidentifier()
        assert isinstance(cost.unit, str)
        units = metric_units(cost)
        assert units
        assert all(metric.isidentifier() and isinstance(unit, str) for metric, unit in units.items())

    def test_a_network_gets_finite_numbers(self, cost: Cost, graph: OperationGraph) -> None:
        """The metrics that were announced, each a finite number."""
        checked(cost, cost(graph), "the network")

    def test_numbers_are_repeatable_and_leave_the_graph_as_it_is(self, cost: Cost, graph: OperationGraph) -> None:
        """The same graph gives the same numbers, also after it was written and read."""
        before = graph.to_json()
        assert dict(cost(graph)) == dict(cost(graph)) == dict(cost(OperationGraph.from_json(before)))
        assert graph.to_json() == before

    def test_an_unknown_operation_is_no_free_one(self, cost: Cost, graph: OperationGraph) -> None:
        """An operation that nobody knows is refused with a reason, or the rest still counts: the number is not zero."""
        nodes = list(graph.nodes)
        place = max(i for i, node in enumerate(nodes) if node.type == "conv")
        nodes[place] = replace(nodes[place], type="other", op="custom.operator", macs=None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it may warn, and name the operation
            try:
                found = cost(replace(graph, nodes=tuple(nodes)))
            except CostError as error:
                refusal = (error.reason, str(error))
                found = {}
        if not found:
            assert all(refusal)
        for metric, value in found.items():
            assert math.isfinite(value)
            assert value > 0 or cost(graph)[metric] == 0

    def test_architectures_in_bulk_equal_single_ones(self, cost: Cost, space: SearchSpace) -> None:
        """A cost that counts architectures gives one number each, whatever stands beside it."""
        if not isinstance(cost, ArchitectureCost):
            pytest.skip("it counts graphs only")
        archs = space.sample(5, seed=0)
        found = {metric: np.asarray(values) for metric, values in cost.of_architectures(space, archs).items()}
        assert set(found) == set(metric_units(cost))
        for metric, values in found.items():
            assert values.shape == (5,)
            for place, arch in enumerate(archs):
                assert np.asarray(cost.of_architectures(space, [arch])[metric])[0] == values[place]

    def test_tables_bound_the_network(self, cost: Cost, space: SearchSpace) -> None:
        """Sums over units enclose the whole network's number, and equal it where they say so."""
        if not isinstance(cost, TabledCost):
            pytest.skip("it has no tables")
        try:
            tables = cost.unit_tables(space)
        except SpaceError as error:
            pytest.skip(str(error))
        archs = space.sample(10, seed=1)
        indices = [space.indices(arch) for arch in archs]
        for metric, bounds in tables.items():
            assert bounds.lower.sizes == tuple(unit.size for unit in space.units)
            whole = _whole(cost, metric, space, archs)
            slack = 1e-9 * np.abs(whole)
            assert (bounds.lower.totals(indices) <= whole + slack).all()
            assert (bounds.upper.totals(indices) >= whole - slack).all()


def _whole(cost: Cost, metric: str, space: SearchSpace, archs: Sequence[Architecture]) -> FloatArray:
    if isinstance(cost, ArchitectureCost):
        return np.asarray(cost.of_architectures(space, archs)[metric], dtype=np.float64)
    return np.array([cost(graph_of(space, arch))[metric] for arch in archs], dtype=np.float64)
