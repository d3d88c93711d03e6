"""nas_bench_201: the cell space of NAS-Bench-201 (Dong and Yang, ICLR 2020), every cell of which was trained.

A cell has four nodes and an operation on every edge between them; a node is the sum of what its edges bring. Units are
the six edges, in the order of the published cell string, which is the text form. Networks stack five equal cells at
each of three sizes, with residual blocks between them. Published ``flops`` are the MACs plus the classifier's biases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autobuild.spaces import Feature, Identity, SearchSpace, Stage, Unit
from autobuild.spaces.blocks import (
    AvgPool,
    Block,
    Cell,
    Classifier,
    Conv,
    Plan,
    PreActivated,
    Tally,
    count,
    total,
)

if TYPE_CHECKING:
    from torch import nn

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # from node, to node; in the order of the cell string

INPUT_SHAPE = (3, 32, 32)  # channels, height, width
NUM_CLASSES = 10
WIDTHS = (16, 32, 64)
CELLS = 5  # of each width
COSTS = {"flops": {"macs": 1, "biased": 1}}  # published costs as sums of counts

SPACE = SearchSpace(
    "nas_bench_201",
    [
        Unit(f"edge{source}{target}", [Stage(f"edge{source}{target}", (1,), (Feature("op", OPS),), f"{{op}}~{source}")])
        for source, target in EDGES
    ],
    joins=[(i, j) for j, edge in enumerate(EDGES) for i, before in enumerate(EDGES) if before[1] == edge[0]],
    about="NAS-Bench-201 cells: four nodes, one of five operations on each edge (Dong and Yang, 2020)",
    pattern="|{}|+|{}|{}|+|{}|{}|{}|",
    identity=Identity({"op": "skip_connect"}, cut={"op": "none"}),
)


def tallies(
    layers: list[list[dict[str, Any]]], num_classes: int, in_channels: int, size: int
) -> dict[str, list[Tally]]:
    """Costs of every edge, over all cells, and of what lies around the cells."""
    sizes = [size, (size + 1) // 2, (size + 3) // 4]
    out: dict[str, list[Tally]] = {}
    for (source, target), (layer,) in zip(EDGES, layers, strict=True):
        found = [_operation(layer["op"], width).tally(at) for width, at in zip(WIDTHS, sizes, strict=True)]
        out[f"edge{source}{target}"] = [total(found * CELLS)]
    fixed = [Conv(in_channels, WIDTHS[0], 3).tally(size)]
    fixed += [_reduction(a, b).tally(at) for a, b, at in zip(WIDTHS, WIDTHS[1:], sizes, strict=False)]
    return {**out, "head": [total([*fixed, count(_head(num_classes), sizes[-1])])]}


def plan(layers: list[list[dict[str, Any]]], num_classes: int, in_channels: int) -> Plan:
    """The network's parts in order. They are no layers of the units: costs over edges are those of :func:`tallies`."""
    ops = [layer["op"] for (layer,) in layers]
    parts: Plan = {"stem": [[Conv(in_channels, WIDTHS[0], 3)]]}
    for place, width in enumerate(WIDTHS):
        if place:
            parts[f"reduction{place}"] = [[_reduction(WIDTHS[place - 1], width)]]
        cell = Cell(EDGES, tuple(_operation(op, width) for op in ops))
        parts[f"cells{place + 1}"] = [[cell]] * CELLS
    return {**parts, "head": [_head(num_classes)]}


def realise(layers: list[list[dict[str, Any]]], num_classes: int = NUM_CLASSES, in_channels: int = 3) -> nn.Module:
    """Build the network. Shapes: ``(batch, in_channels, height, width)`` -> logits ``(batch, num_classes)``.

    As published, a cut edge passes zeros on and every operation stays in the network, whether it reaches the output or
    not: parameters and FLOPs are the published ones.
    """
    from torch import nn

    parts = plan(layers, num_classes, in_channels)
    return nn.Sequential(*(block.module() for pieces in parts.values() for blocks in pieces for block in blocks))


def _operation(op: str, width: int) -> Block:
    if op.startswith("nor_conv"):
        return Conv(width, width, int(op[-1]), act="relu", before=True)
    return Passing(op, width)


def _reduction(inputs: int, outputs: int) -> Block:
    return PreActivated(inputs, outputs)


def _head(num_classes: int) -> list[Block]:
    return [Activated(WIDTHS[-1]), AvgPool(WIDTHS[-1]), Classifier(WIDTHS[-1], num_classes)]


@dataclass(frozen=True, slots=True)
class Passing(Block):
    """An operation without parameters: ``none``, ``skip_connect`` or ``avg_pool_3x3``."""

    op: str
    width: int

    def tally(self, size: int) -> Tally:
        """See :meth:`Block.tally`."""
        return Tally(pooled=10 * size**2 * self.width if self.op == "avg_pool_3x3" else 0)

    def module(self) -> nn.Module:
        """See :meth:`Block.module`."""
        from torch import nn

        from autobuild.spaces.modules import Zero

        if self.op == "none":
            return Zero()
        return nn.Identity() if self.op == "skip_connect" else nn.AvgPool2d(3, 1, 1, count_include_pad=False)


@dataclass(frozen=True, slots=True)
class Activated(Block):
    """Batch norm and ReLU."""

    width: int

    def tally(self, size: int) -> Tally:
        """See :meth:`Block.tally`."""
        return Tally(params=2 * self.width, normed=size**2 * self.width, activated=size**2 * self.width)

    def module(self) -> nn.Module:
        """See :meth:`Block.module`."""
        from torch import nn

        return nn.Sequential(nn.BatchNorm2d(self.width), nn.ReLU())
