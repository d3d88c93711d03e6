"""Costs that a space carries itself: for every layer choice a number, as a quantisation space has for bits and errors.

They are stored in ``space.options["tables"]`` as plain data, so that a stored space needs no model:
``{metric: {"unit": text, "constant": number, "divisor": number, "values": [one list a stage, one number a choice]}}``.
The metric of an architecture is ``(constant + sum of the values of its choices) / divisor``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from autobuild._typing import FloatArray, IntArray
from autobuild.cost.layer_tables import CostTables
from autobuild.errors import SpaceError, nearest
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.additive import Additive

TYPICAL = 1000.0  # mean of a metric in descriptions, which take logarithms of 1 + x


class ChoiceTables(CostTables):
    """The tables of a space as costs.

    Args:
        space: A space with the option ``tables``; it may be narrowed, and its units may be joined.

    Raises:
        SpaceError: The tables do not fit the stages of the space.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.metrics: Mapping[str, Mapping[str, Any]] = space.options["tables"]
        self.parts = [stage.name for stage in space.stages]
        sizes = [len(stage.layers) for stage in space.stages]
        for name, table in self.metrics.items():
            if [len(column) for column in table["values"]] != sizes or set(space.stages[0].depths) != {1}:
                raise SpaceError(f"space {space.name!r}: the table of {name!r} does not fit its stages")

    def cost(self, rule: Mapping[str, int], archs: Sequence[Architecture | str]) -> FloatArray:  # type: ignore[override]
        """Values of the metric that ``rule`` names; correctly rounded, so that whole numbers are exact."""
        ((name, _),) = rule.items()
        table = self.metrics[name]
        parsed = [self.space.parse(arch) if isinstance(arch, str) else arch for arch in archs]
        rows = [[column[run[0]] for column, run in zip(table["values"], arch.runs, strict=True)] for arch in parsed]
        return np.array([math.fsum([table["constant"], *row]) / table["divisor"] for row in rows])

    def by_part(self, digits: Sequence[IntArray]) -> dict[str, FloatArray]:  # type: ignore[override]
        """Stage -> all metrics of its choice, scaled so that networks have about 1,000. Shapes ``(n, metrics)``."""
        return {
            stage.name: self._described[number][digits[number][:, 0]] for number, stage in enumerate(self.space.stages)
        }

    @cached_property
    def _described(self) -> list[FloatArray]:
        scaled = []
        for table in self.metrics.values():
            columns = [np.abs(np.array(column, dtype=np.float64)) for column in table["values"]]
            typical = sum(float(column.mean()) for column in columns)
            scaled.append([column * (TYPICAL / typical if typical else 0.0) for column in columns])
        return [np.stack(columns, axis=1) for columns in zip(*scaled, strict=True)]

    def additive(self, name: str) -> Additive:
        """A metric as a sum over the units of the space.

        Raises:
            SpaceError: There is no such metric.
        """
        if name not in self.metrics:
            raise SpaceError(f"space {self.space.name!r} has no cost {name!r}: {nearest(name, self.metrics)}")
        table, place, out = self.metrics[name], 0, []
        for unit in self.space.units:
            runs = unit.runs(np.arange(unit.size))
            columns = table["values"][place : place + len(runs)]
            own = [np.array(column, dtype=np.float64)[run[:, 0]] for column, run in zip(columns, runs, strict=True)]
            out.append(np.sum(own, axis=0) / table["divisor"])
            place += len(runs)
        return Additive(table["constant"] / table["divisor"], tuple(out))
