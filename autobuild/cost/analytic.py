"""Costs from tables: parameters and multiply-accumulates of many architectures at once, without any network.

The work of a layer depends on its own choices, its place, and few other choices (the input size, a neighbour's
width). So the layers of a space are counted once, from the blocks that its file declares, and architectures are sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autobuild.cost.count import count_params, macs_of
from autobuild.errors import CostError, GraphError, SpaceError, nearest
from autobuild.graphs.of_architecture import graph_of_architecture
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.blocks import Tally, tallies
from autobuild.spaces.registry import declared_by, network_arguments, realiser
from autobuild.spaces.stage import Digits

Counts = NDArray[np.int64]
Counter = Callable[[Sequence[Architecture | str]], Counts]

INPUT = "input"
BASE = {"params": {"params": 1}, "macs": {"macs": 1}}


def costs_of(
    space: SearchSpace, num_classes: int | None = None, input_shape: tuple[int, int, int] | None = None
) -> dict[str, Counter]:
    """Costs of a space's architectures by name: ``params``, ``macs``, and those that its publication gives.

    A cost takes n architectures (or texts) and returns whole numbers, shape ``(n,)``: what
    :func:`~autobuild.cost.count_params` counts of the network that the space realises for ``params``, and what the
    operation graph of that network says (:func:`~autobuild.cost.count_macs`) for ``macs``. Where the space declares its
    layers (``plan`` or ``tallies``) they come from tables; otherwise every network is built, and for ``macs`` traced.
    Where the space chooses the input size, it counts. A cost raises CostError for a network that cannot be counted.

    Args:
        space: The space.
        num_classes: Classes of the classifier (default: those that the space is made for).
        input_shape: Channels, height and width of an input (default: what the space is made for).

    Raises:
        SpaceError: If the space builds no networks, or does not say how large its inputs are and nor does the caller.
    """
    tables, rules = cost_tables(space, num_classes, input_shape)
    if tables is None:
        return {name: partial(_from_networks, space, name, num_classes, input_shape) for name in rules}
    return {name: partial(tables.cost, rule) for name, rule in rules.items()}


def cost_tables(
    space: SearchSpace, num_classes: int | None = None, input_shape: tuple[int, int, int] | None = None
) -> tuple[CostTables | None, dict[str, Mapping[str, int]]]:
    """The tables that costs are summed from, and for each cost the weights of the counts in it.

    The tables are None where the space gives none, so that whole networks are counted. Errors as :func:`costs_of`.
    """
    shape = inputs_of(space, input_shape)
    file = declared_by(space)
    if not hasattr(file, "plan") and not hasattr(file, "tallies"):
        return None, dict(BASE)
    if shape[1] != shape[2]:
        raise SpaceError(f"input_shape={shape}: inputs as high as wide are accepted")
    given = network_arguments(space, num_classes, shape[0])
    return CostTables(space, file, given, shape[1]), {**BASE, **getattr(file, "COSTS", {})}


def inputs_of(space: SearchSpace, input_shape: tuple[int, int, int] | None = None) -> tuple[int, int, int]:
    """Shape of an input: the one given, else the one that the space is made for. Raises SpaceError."""
    realiser(space)  # refuses by name where nothing can be built
    shape = input_shape or getattr(declared_by(space), "INPUT_SHAPE", None)
    if shape is None:
        raise SpaceError(f"space {space.name!r} does not say how large its inputs are: give input_shape")
    return int(shape[0]), int(shape[1]), int(shape[2])


def known_costs(space: SearchSpace) -> CostTables | None:
    """The tables of a space, with the classes and inputs that it is made for; None where it has none."""
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
) -> Counts:
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
    """What every choice of every layer costs; entries are counted when an architecture first needs them.

    Args:
        space: The space.
        file: What declares it (a file's module, or a registered class), with ``plan``
            (:data:`autobuild.spaces.blocks.Plan`) or ``tallies``, and ``DEPENDS`` where costs of a part depend on
            choices of other stages (part -> names of those stages).
        given: What ``plan`` and ``tallies`` are given beside the layers
            (:func:`autobuild.spaces.registry.network_arguments`).
        size: Height and width of inputs, where the space does not choose it.
    """

    fields: tuple[str, ...] = Tally._fields
    dtype: type = np.int64

    def __init__(self, space: SearchSpace, file: Any, given: Mapping[str, Any], size: int) -> None:
        self.space, self.file, self.given, self.size = space, file, given, size
        self.places = {stage.name: place for place, stage in enumerate(space.stages)}
        depends: Mapping[str, Sequence[str]] = getattr(file, "DEPENDS", {})
        first = self._tallies(tuple(stage.run(0) for stage in space.stages))
        self.parts = list(first)
        self.context = {
            part: [self.places[name] for name in (INPUT, *depends.get(part, ())) if name in self.places]
            for part in self.parts
        }
        for part in depends:
            if part not in first:
                raise SpaceError(f"{space.family!r}: DEPENDS names an unknown part {part!r}: {nearest(part, first)}")
        self._tables: dict[tuple[str, tuple[Digits, ...]], NDArray[Any]] = {}

    def cost(self, rule: Mapping[str, int], archs: Sequence[Architecture | str]) -> Counts:
        """One cost as a weighted sum of counts (fields of :class:`~autobuild.spaces.blocks.Tally`). Shape ``(n,)``."""
        weights = np.array([rule.get(field, 0) for field in Tally._fields], dtype=np.int64)
        out: Counts = self.counts(archs) @ weights
        return out

    def counts(self, archs: Sequence[Architecture | str]) -> Counts:
        """All counts. Shape ``(n, fields of Tally)``."""
        parsed = [self.space.parse(arch) if isinstance(arch, str) else arch for arch in archs]
        for arch in parsed:
            if arch.family != self.space.family:
                raise SpaceError(f"{arch!r} belongs to {arch.family!r}, not to {self.space.family!r}")
        return sum(self.by_part([arch.runs for arch in parsed]).values(), np.zeros((1, 1), dtype=np.int64))

    def by_part(self, runs: Sequence[tuple[Digits, ...]]) -> dict[str, Counts]:
        """Counts of every part (the stages by name, and what lies around them) of networks given by their layers.

        Shapes: n networks -> part -> ``(n, fields of Tally)``.
        """
        return {part: self._part(part, list(runs)) for part in self.parts}

    def _part(self, part: str, runs: list[tuple[Digits, ...]]) -> Counts:
        """Counts of one part of every architecture: entries looked up for all layers of one place at once."""
        context = self.context[part]
        groups: dict[tuple[Digits, ...], list[int]] = {}
        for row, own in enumerate(runs):
            groups.setdefault(tuple([own[place] for place in context]), []).append(row)
        out = np.zeros((len(runs), len(Tally._fields)), dtype=np.int64)
        stage = self.places.get(part)
        for chosen, rows in groups.items():
            table = self.table(part, chosen)
            if stage is None:
                out[rows] = table[0, 0]
                continue
            depth = self.space.stages[stage].depths[-1]
            digits = np.array([own + (-1,) * (depth - len(own)) for own in (runs[row][stage] for row in rows)])
            out[rows] = table[np.arange(depth), digits].sum(axis=1)
        return out

    def table(self, part: str, chosen: tuple[Digits, ...]) -> NDArray[Any]:
        """Entries of a part whose context is ``chosen``. Shape ``(places, choices + 1, fields)``, last: no layer."""
        if (part, chosen) not in self._tables:
            runs = [stage.run(0) for stage in self.space.stages]
            for place, run in zip(self.context[part], chosen, strict=True):
                runs[place] = run
            number = self.places.get(part)
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
        """Layers of every stage, and the size of inputs."""
        stages = self.space.stages
        layers: list[list[dict[str, Any]]] = [
            [stage.layer_dict(digit) for digit in run] for stage, run in zip(stages, runs, strict=True)
        ]
        return layers, layers[self.places[INPUT]][0]["resolution"] if INPUT in self.places else self.size

    def _tallies(self, runs: tuple[Digits, ...]) -> Mapping[str, Sequence[Sequence[float]]]:
        """What every layer of every part costs, in the order of ``fields``."""
        layers, size = self._layers(runs)
        if hasattr(self.file, "tallies"):
            own: dict[str, list[Tally]] = self.file.tallies(layers, size=size, **self.given)
            return own
        return tallies(self.file.plan(layers, **self.given), size)
