"""Bounds of a graph's cost as sums over units: every layer measured alone, cut at its borders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autobuild.cost.analytic import CostTables, inputs_of
from autobuild.cost.unit_tables import enclosing
from autobuild.errors import SpaceError
from autobuild.graphs.from_blocks import graph_of_blocks, shape_behind
from autobuild.graphs.operations import ACTIVATIONS, OperationGraph, Shape
from autobuild.spaces import SearchSpace
from autobuild.spaces.additive import Bounds
from autobuild.spaces.blocks import Block, Plan
from autobuild.spaces.registry import declared_by, network_arguments
from autobuild.spaces.stage import Digits

NEVER = 1e15  # what a layer counts that no network may have: it satisfies no limit


@dataclass(frozen=True)
class Measured:
    """A piece of a network: blocks one behind the other, cut out.

    Attributes:
        blocks: The blocks.
        shape: Channels, height and width of what they are given.
        first: Whether that is the network's own input.
        last: Whether their output is certainly the network's own.
    """

    blocks: tuple[Block, ...]
    shape: Shape
    first: bool
    last: bool

    def graph(self, inner: bool = False) -> OperationGraph:
        """Its operations; ``inner``: without activations at the cut, which fold into what lies before it."""
        graph = graph_of_blocks(self.blocks, self.shape)
        if not inner or self.first:
            return graph
        sources = graph.sources()
        nodes = list(graph.nodes)
        outside = {0}  # the input, and what only gives it another value
        for i, node in enumerate(nodes):
            if node.type in (*ACTIVATIONS, "clip", "batch_norm") and set(sources[i]) <= outside:
                outside.add(i)
                nodes[i] = replace(node, type="alias", output_bytes=0, weight_bytes=0, weight_elements=0, params=0)
        return replace(graph, nodes=tuple(nodes))


Measure = Callable[[Measured], Sequence[tuple[float, float]] | None]


def block_bounds(space: SearchSpace, metrics: Sequence[str], measure: Measure) -> dict[str, Bounds]:
    """Sums over units between which a cost lies, from what it is of every layer alone.

    Args:
        space: A space whose file declares blocks (``plan``).
        metrics: The cost's metrics.
        measure: Piece -> for each metric, what it adds to a network at least and at most; None where no network can
            have it. It should remember its answers: pieces come again.

    Raises:
        SpaceError: The space declares no blocks, or has too many candidates in a unit.
    """
    file = declared_by(space)
    if not hasattr(file, "plan") or hasattr(file, "tallies"):  # where it has both, units are no pieces of the plan
        raise SpaceError(
            f"space {space.name!r} declares no blocks (plan) that its units choose: its costs have no tables over units"
        )
    tables = BlockTables(space, file, inputs_of(space), metrics, measure)
    return {metric: enclosing(space, tables, f"least {metric}", f"most {metric}") for metric in metrics}


class BlockTables(CostTables):
    """As :class:`CostTables`, of bounds.

    Args:
        space: The space.
        file: What declares it.
        shape: Channels, height and width of inputs.
        metrics: What is measured.
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
            whole = [[block for blocks in pieces for block in blocks]] if part not in self.places else pieces
            for place, blocks in enumerate(whole):
                first = part == parts[0] and place == 0
                last = part == parts[-1] and part not in self.places
                out[part].append(self._piece(Measured(tuple(blocks), shape, first, last)))
                shape = shape_behind(blocks, shape)
        return out

    def _piece(self, piece: Measured) -> Sequence[float]:
        if not piece.blocks:  # an identity
            return [0.0] * len(self.fields)
        found = self.measure(piece)
        return [NEVER] * len(self.fields) if found is None else [value for both in found for value in both]
