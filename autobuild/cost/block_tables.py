"""Lower and upper bounds of a cost as sums over units: the cost of every layer as a network of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autobuild.cost.layer_tables import CostTables, inputs_of
from autobuild.cost.unit_tables import enclosing
from autobuild.errors import SpaceError
from autobuild.graphs.from_blocks import graph_of_blocks, shape_behind
from autobuild.graphs.operations import ACTIVATIONS, OperationGraph, Shape
from autobuild.spaces import SearchSpace
from autobuild.spaces.additive import Bounds
from autobuild.spaces.blocks import Block, Plan
from autobuild.spaces.registry import declared_by, network_arguments
from autobuild.spaces.stage import Digits

NEVER = 1e15  # cost of a layer that no network may have; it satisfies no limit


@dataclass(frozen=True)
class Measured:
    """A sequence of blocks, cut out of a network.

    Attributes:
        blocks: The blocks.
        shape: Channels, height and width of their input.
        first: Whether it is the input of the network.
        last: Whether the output is surely the output of the network.
    """

    blocks: tuple[Block, ...]
    shape: Shape
    first: bool
    last: bool

    def graph(self, inner: bool = False) -> OperationGraph:
        """Its operation graph; ``inner``: without leading activations, which may be folded into the block before."""
        graph = graph_of_blocks(self.blocks, self.shape)
        if not inner or self.first:
            return graph
        sources = graph.sources()
        nodes = list(graph.nodes)
        outside = {0}  # the input, and activations and norms applied to it
        for i, node in enumerate(nodes):
            if node.type in (*ACTIVATIONS, "clip", "batch_norm") and set(sources[i]) <= outside:
                outside.add(i)
                nodes[i] = replace(node, type="alias", output_bytes=0, weight_bytes=0, weight_elements=0, params=0)
        return replace(graph, nodes=tuple(nodes))


Measure = Callable[[Measured], Sequence[tuple[float, float]] | None]


def block_bounds(space: SearchSpace, metrics: Sequence[str], measure: Measure) -> dict[str, Bounds]:
    """Lower and upper bounds of a cost as sums over units, from bounds of every layer.

    Args:
        space: A space that declares blocks (``plan``).
        metrics: Metrics of the cost.
        measure: Layer -> for each metric the least and the most that it adds to a network; None if no network can have
            the layer. It should cache its results, because it is called several times with equal layers.

    Returns:
        Metric -> bounds.

    Raises:
        SpaceError: The space declares no blocks, or a unit has too many candidates.
    """
    file = declared_by(space)
    if not hasattr(file, "plan") or hasattr(
        file, "tallies"
    ):  # with both, units do not correspond to blocks of the plan
        raise SpaceError(
            f"space {space.name!r} declares no blocks (plan) that its units choose: its costs have no tables over units"
        )
    tables = BlockTables(space, file, inputs_of(space), metrics, measure)
    return {metric: enclosing(space, tables, f"least {metric}", f"most {metric}") for metric in metrics}


class BlockTables(CostTables):
    """Tables as :class:`CostTables`, with lower and upper bounds as fields.

    Args:
        space: The space.
        file: The module or class that declares it.
        shape: Channels, height and width of inputs.
        metrics: Metrics of the cost.
        measure: See :func:`block_bounds`.
    """

    dtype = float

    def __init__(
        self,
        space: SearchSpace,
        file: Any,
        shape: tuple[int, int, int],
        metrics: Sequence[str],
        measure: Measure,
    ) -> None:
        self.fields = tuple(f"{which} {metric}" for metric in metrics for which in ("least", "most"))
        self.measure = measure
        super().__init__(space, file, network_arguments(space, in_channels=shape[0]), shape[1])

    def _tallies(self, runs: tuple[Digits, ...]) -> Mapping[str, Sequence[Sequence[float]]]:
        layers, size = self._layers(runs)
        plan: Plan = self.file.plan(layers, **self.given)
        shape: Shape = (self.given["in_channels"], size, size)
        parts = list(plan)
        out: dict[str, list[Sequence[float]]] = {part: [] for part in parts}
        for part, pieces in plan.items():
            whole = [[block for blocks in pieces for block in blocks]] if part not in self.stage_index else pieces
            for place, blocks in enumerate(whole):
                first = part == parts[0] and place == 0
                last = part == parts[-1] and part not in self.stage_index
                out[part].append(self._piece(Measured(tuple(blocks), shape, first, last)))
                shape = shape_behind(blocks, shape)
        return out

    def _piece(self, piece: Measured) -> Sequence[float]:
        if not piece.blocks:  # an identity
            return [0.0] * len(self.fields)
        measured = self.measure(piece)
        return [NEVER] * len(self.fields) if measured is None else [value for both in measured for value in both]
