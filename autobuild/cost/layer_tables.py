"""Costs from tables of layers: parameters and multiply-accumulates of many architectures, without building networks.

The cost of a layer depends on its own choices, its position, and few other choices (the input size, the width of a
neighbour). So every layer of a space is counted once, from the blocks that the space declares. The cost of an
architecture is a sum of table entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autobuild._typing import IntArray
from autobuild.cost.count import count_params, macs_of
from autobuild.errors import CostError, GraphError, SpaceError, nearest
from autobuild.graphs.of_architecture import graph_of_architecture
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.blocks import Tally, tallies
from autobuild.spaces.registry import declared_by, network_arguments, realiser
from autobuild.spaces.stage import Digits, distinct

Counter = Callable[[Sequence[Architecture | str]], IntArray]

INPUT = "input"
BASE = {"params": {"params": 1}, "macs": {"macs": 1}}


def costs_of(
    space: SearchSpace, num_classes: int | None = None, input_shape: tuple[int, int, int] | None = None
) -> dict[str, Counter]:
    """Counts of a space by name: ``params``, ``macs``, and those that its publication defines.

    Every value is a function: n architectures (or texts) -> integers, shape ``(n,)``. It raises CostError for a network
    that cannot be counted. ``params`` equals :func:`~autobuild.cost.count_params` of the realised network, ``macs``
    equals :func:`~autobuild.cost.count_macs`. If the space declares its layers (``plan`` or ``tallies``), the numbers
    come from tables. Otherwise every network is built, and for ``macs`` traced. An input size that the space chooses is
    taken into account.

    Args:
        space: The space.
        num_classes: Classes of the classifier. Default: that of the space.
        input_shape: Channels, height and width of an input. Default: that of the space.

    Raises:
        SpaceError: The space builds no networks, or neither the space nor the caller gives the input size.
    """
    tables, rules = cost_tables(space, num_classes, input_shape)
    if tables is None:
        return {name: partial(_from_networks, space, name, num_classes, input_shape) for name in rules}
    return {name: partial(tables.cost, rule) for name, rule in rules.items()}


def cost_tables(
    space: SearchSpace, num_classes: int | None = None, input_shape: tuple[int, int, int] | None = None
) -> tuple[CostTables | None, dict[str, Mapping[str, int]]]:
    """The tables of a space, and for each cost the weights of the counts in it.

    The tables are None if the space declares no layers; then whole networks are counted. A space that carries tables
    (:mod:`autobuild.cost.choice_tables`) has their costs and no others. Arguments and errors are those of
    :func:`costs_of`.
    """
    if "tables" in space.options:
        from autobuild.cost.choice_tables import ChoiceTables

        return ChoiceTables(space), table_rules(space)
    rules = table_rules(space, input_shape)
    if not rules:
        return None, dict(BASE)
    shape = inputs_of(space, input_shape)
    return CostTables(space, declared_by(space), network_arguments(space, num_classes, shape[0]), shape[1]), rules


def table_rules(space: SearchSpace, input_shape: tuple[int, int, int] | None = None) -> dict[str, Mapping[str, int]]:
    """Each cost that the tables of a space give, and the weights of the counts in it; empty if it declares no layers.

    Raises:
        SpaceError: As :func:`costs_of`.
    """
    if "tables" in space.options:
        return {name: {name: 1} for name in space.options["tables"]}
    shape, file = inputs_of(space, input_shape), declared_by(space)
    if not hasattr(file, "plan") and not hasattr(file, "tallies"):
        return {}
    if shape[1] != shape[2]:
        raise SpaceError(f"input_shape={shape}: accepted: inputs with equal height and width")
    return {**BASE, **getattr(file, "COSTS", {})}


def inputs_of(space: SearchSpace, input_shape: tuple[int, int, int] | None = None) -> tuple[int, int, int]:
    """Shape of an input: the given one, or else that of the space. Raises SpaceError if there is none."""
    realiser(space)  # raises SpaceError if the space builds no networks
    shape = input_shape or getattr(declared_by(space), "INPUT_SHAPE", None)
    if shape is None:
        raise SpaceError(f"space {space.name!r} gives no input size: pass input_shape")
    return int(shape[0]), int(shape[1]), int(shape[2])


def known_costs(space: SearchSpace) -> CostTables | None:
    """The tables of a space for its own number of classes and input shape; None if it has no tables."""
    try:
        return cost_tables(space)[0]
    except SpaceError:
        return None


def _from_networks(
    space: SearchSpace,
    name: str,
    classes: int | None,
    shape: tuple[int, int, int] | None,
    archs: Sequence[Architecture | str],
) -> IntArray:
    if name == "params":
        channels = inputs_of(space, shape)[0]
        found = [count_params(space.realise(arch, num_classes=classes, in_channels=channels)) for arch in archs]
        return np.array(found, dtype=np.int64)
    macs = []
    for arch in archs:
        try:
            macs.append(macs_of(graph_of_architecture(space, arch, classes, shape)))
        except GraphError as error:
            raise CostError(
                f"macs of {str(arch)!r}: {error}; or declare the count in the space (tallies)", "no_network"
            ) from error
    return np.array(macs, dtype=np.int64)


class CostTables:
    """Counts of every choice of every layer. An entry is computed when an architecture first needs it.

    Args:
        space: The space.
        file: The module or class that declares the space, with ``plan`` (:data:`autobuild.spaces.blocks.Plan`) or
            ``tallies``. ``DEPENDS`` (part -> names of stages) lists the stages whose choices the cost of a part depends
            on. A file with ``counts`` in place of ``tallies`` gives the numbers of its ``FIELDS``: those of a Tally,
            and further ones that do not depend on the size of the input.
        given: Further arguments of ``plan`` and ``tallies`` (:func:`autobuild.spaces.registry.network_arguments`).
        size: Height and width of inputs, unless the space chooses it.
    """

    fields: tuple[str, ...] = Tally._fields
    dtype: type = np.int64

    def __init__(self, space: SearchSpace, file: Any, given: Mapping[str, Any], size: int) -> None:
        self.space, self.file, self.given, self.size = space, file, given, size
        self.fields = getattr(file, "FIELDS", self.fields)
        self.stage_index = {stage.name: place for place, stage in enumerate(space.stages)}
        depends: Mapping[str, Sequence[str]] = getattr(file, "DEPENDS", {})
        first = self._tallies(tuple(stage.run(0) for stage in space.stages))
        self.parts = list(first)
        self.context = {
            part: [self.stage_index[name] for name in (INPUT, *depends.get(part, ())) if name in self.stage_index]
            for part in self.parts
        }
        for part in depends:
            if part not in first:
                raise SpaceError(f"{space.family!r}: DEPENDS names an unknown part {part!r}: {nearest(part, first)}")
        self._tables: dict[tuple[str, tuple[Digits, ...]], NDArray[Any]] = {}

    def cost(self, rule: Mapping[str, int], archs: Sequence[Architecture | str]) -> IntArray:
        """A weighted sum of counts, shape ``(n,)``; ``rule``: field of ``autobuild.spaces.blocks.Tally`` -> weight."""
        weights = np.array([rule.get(field, 0) for field in self.fields], dtype=np.int64)
        out: IntArray = self.counts(archs) @ weights
        return out

    def counts(self, archs: Sequence[Architecture | str]) -> IntArray:
        """All counts of n architectures, shape ``(n, fields of Tally)``."""
        parsed = [self.space.parse(arch) if isinstance(arch, str) else arch for arch in archs]
        for arch in parsed:
            if arch.family != self.space.family:
                raise SpaceError(f"{arch!r} belongs to {arch.family!r}, not to {self.space.family!r}")
        stages = enumerate(self.space.stages)
        digits = [stage.padded([arch.runs[number] for arch in parsed]) for number, stage in stages]
        return sum(self.by_part(digits).values(), np.zeros((1, 1), dtype=np.int64))

    def by_part(self, digits: Sequence[IntArray]) -> dict[str, IntArray]:
        """Counts of every part: the stages by name, and the parts around them (stem, head).

        Args:
            digits: For every stage the layers of n networks (:meth:`autobuild.spaces.stage.Stage.padded`). Shapes
                ``(n, depth)``.

        Returns:
            Part -> counts, shape ``(n, fields of Tally)``.
        """
        return {part: self._part(part, digits) for part in self.parts}

    def _part(self, part: str, digits: Sequence[IntArray]) -> IntArray:
        """Counts of one part of every architecture; entries are looked up once for equal choices."""
        context, stage = self.context[part], self.stage_index.get(part)
        count = len(digits[0])
        out = np.zeros((count, len(self.fields)), dtype=np.int64)
        first, group = distinct(np.concatenate([np.zeros((count, 0), np.int64), *(digits[s] for s in context)], axis=1))
        for number, row in enumerate(first):
            table = self.table(part, tuple(tuple(int(d) for d in digits[s][row] if d >= 0) for s in context))
            rows = np.flatnonzero(group == number) if len(first) > 1 else slice(None)
            if stage is None:
                out[rows] = table[0, 0]
                continue
            chosen, same = distinct(digits[stage][rows])
            layers = digits[stage][rows][chosen]
            out[rows] = table[np.arange(layers.shape[1]), layers].sum(axis=1)[same]
        return out

    def table(self, part: str, chosen: tuple[Digits, ...]) -> NDArray[Any]:
        """Entries of a part for a context: shape ``(positions, choices + 1, fields)``; the last choice is no layer."""
        if (part, chosen) not in self._tables:
            runs = [stage.run(0) for stage in self.space.stages]
            for place, run in zip(self.context[part], chosen, strict=True):
                runs[place] = run
            number = self.stage_index.get(part)
            if number is None:
                own: NDArray[Any] = np.array(self._tallies(tuple(runs))[part], dtype=self.dtype)
                table = own.reshape(1, -1, len(self.fields)).sum(axis=1, keepdims=True)
            else:
                stage = self.space.stages[number]
                table = np.zeros((stage.depths[-1], len(stage.layers) + 1, len(self.fields)), dtype=self.dtype)
                for digit in range(len(stage.layers)):
                    runs[number] = (digit,) * stage.depths[-1]
                    table[:, digit] = self._tallies(tuple(runs))[part]
            self._tables[part, chosen] = table
        return self._tables[part, chosen]

    def _layers(self, runs: tuple[Digits, ...]) -> tuple[list[list[dict[str, Any]]], int]:
        """Layers of every stage, and the input size."""
        stages = self.space.stages
        layers: list[list[dict[str, Any]]] = [
            [stage.layer_dict(digit) for digit in run] for stage, run in zip(stages, runs, strict=True)
        ]
        return layers, layers[self.stage_index[INPUT]][0]["resolution"] if INPUT in self.stage_index else self.size

    def _tallies(self, runs: tuple[Digits, ...]) -> Mapping[str, Sequence[Sequence[float]]]:
        """Counts of every layer of every part, in the order of ``fields``."""
        layers, size = self._layers(runs)
        counting = getattr(self.file, "counts", None) or getattr(self.file, "tallies", None)
        if counting is not None:
            own: dict[str, list[Tally]] = counting(layers, size=size, **self.given)
            return own
        return tallies(self.file.plan(layers, **self.given), size)
