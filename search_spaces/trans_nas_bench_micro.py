"""trans_nas_bench_micro: the cell space of TransNAS-Bench-101 (Duan et al., CVPR 2021), trained on seven tasks.

A cell has four nodes and an operation on every edge between them; a node is the sum of what its edges bring. The text
form is the published one, ``64-41414-a_bc_def``: 64 channels at the start; five layers of two cells, of which those
written 4 halve the size and double the channels, in their first cell; and a digit for each edge: 0 zero, 1 skip, 2 a
1 x 1 and 3 a 3 x 3 convolution. A skip on an edge from the input of a cell is a convolution where the shape changes,
so only skips on other edges are identities. The network is that of the classification tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autobuild.spaces import Feature, Identity, SearchSpace, Stage, Unit
from autobuild.spaces.blocks import AvgPool, Block, Cell, Classifier, Conv, Plan, Tally, count, total

if TYPE_CHECKING:
    from torch import nn

OPS = ("0", "1", "2", "3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # from node, to node; in the order of the text
NAMES = tuple(f"edge{source}{target}" for source, target in EDGES)

INPUT_SHAPE = (3, 256, 256)  # channels, height, width
NUM_CLASSES = 47  # scenes
STEM_WIDTH = 64
MACRO = "41414"  # 4: halves the size and doubles the channels
CELLS = 2  # of each layer

SPACE = SearchSpace(
    "trans_nas_bench_micro",
    [Unit(name, [Stage(name, (1,), (Feature("op", OPS),), "{op}")]) for name in NAMES],
    joins=[(i, j) for j, edge in enumerate(EDGES) for i, before in enumerate(EDGES) if before[1] == edge[0]],
    about="TransNAS-Bench-101 cells: four nodes, one of four operations on each edge (Duan et al., 2021)",
    pattern=f"{STEM_WIDTH}-{MACRO}-{{}}_{{}}{{}}_{{}}{{}}{{}}",
    identity=Identity({"op": "1"}, cut={"op": "0"}, stages=[name for name in NAMES if name[4] != "0"]),
)


def plan(layers: list[list[dict[str, Any]]], num_classes: int, in_channels: int) -> Plan:
    """The network's parts in order. They are no layers of the units: costs over edges are those of :func:`tallies`."""
    ops, width = [layer["op"] for (layer,) in layers], STEM_WIDTH
    parts: Plan = {"stem": [_stem(in_channels)]}
    for number, letter in enumerate(MACRO, start=1):
        cells: list[list[Block]] = []
        for place in range(CELLS):
            inputs, stride = width, 2 if letter == "4" and place == 0 else 1
            width *= stride
            shapes = [(inputs, width, stride) if source == 0 else (width, width, 1) for source, _ in EDGES]
            cells.append([Cell(EDGES, tuple(_operation(op, *shape) for op, shape in zip(ops, shapes, strict=True)))])
        parts[f"cells{number}"] = cells
    return {**parts, "head": [_head(width, num_classes)]}


def tallies(
    layers: list[list[dict[str, Any]]], num_classes: int, in_channels: int, size: int
) -> dict[str, list[Tally]]:
    """Costs of every edge, over all cells, and of what lies around the cells."""
    found: dict[str, list[Tally]] = {name: [] for name in NAMES}
    parts = plan(layers, num_classes, in_channels)
    stem, head = parts.pop("stem")[0], parts.pop("head")[0]
    fixed = [count(stem, size)]
    for block in stem:
        size = block.size(size)
    for ((cell,),) in (((block,),) for cells in parts.values() for (block,) in cells):
        assert isinstance(cell, Cell)
        for name, (source, _), operation in zip(NAMES, EDGES, cell.operations, strict=True):
            found[name].append(operation.tally(size if source == 0 else cell.operations[0].size(size)))
        size = cell.operations[0].size(size)
    return {name: [total(own)] for name, own in found.items()} | {"head": [total([*fixed, count(head, size)])]}


def realise(layers: list[list[dict[str, Any]]], num_classes: int = NUM_CLASSES, in_channels: int = 3) -> nn.Module:
    """Build the network. Shapes: ``(batch, in_channels, height, width)`` -> logits ``(batch, num_classes)``.

    As published, every operation stays in the network, whether it affects the output or not.
    """
    from torch import nn

    parts = plan(layers, num_classes, in_channels)
    return nn.Sequential(*(block.module() for pieces in parts.values() for blocks in pieces for block in blocks))


def _stem(inputs: int) -> list[Block]:
    half = STEM_WIDTH // 2
    return [Conv(inputs, half, 3, 2), Conv(half, STEM_WIDTH, 3, 2, act="relu", before=True)]


def _head(width: int, num_classes: int) -> list[Block]:
    return [AvgPool(width), Classifier(width, num_classes)]


def _operation(op: str, inputs: int, outputs: int, stride: int) -> Block:
    if op in ("2", "3"):
        return Conv(inputs, outputs, 1 if op == "2" else 3, stride, act="relu", before=True)
    if op == "1" and stride == 2:
        return Halving(inputs, outputs)
    return Passing(op, stride)


@dataclass(frozen=True, slots=True)
class Passing(Block):
    """A skip that is the identity, or a zero, which may halve the size and double the channels."""

    op: str
    stride: int

    def size(self, size: int) -> int:
        """See :meth:`Block.size`."""
        return (size - 1) // self.stride + 1

    def tally(self, size: int) -> Tally:
        """See :meth:`Block.tally`."""
        return Tally()

    def module(self) -> nn.Module:
        """See :meth:`Block.module`."""
        from torch import nn

        from autobuild.spaces.modules import Zero

        return Zero(self.stride) if self.op == "0" else nn.Identity()


@dataclass(frozen=True, slots=True)
class Halving(Block):
    """A skip that halves the size: two 1 x 1 convolutions of stride 2, one of them shifted by a position."""

    inputs: int
    outputs: int

    @property
    def conv(self) -> Conv:
        """A convolution with the same costs."""
        return Conv(self.inputs, self.outputs, 1, 2, act="relu", before=True)

    def size(self, size: int) -> int:
        """See :meth:`Block.size`."""
        return self.conv.size(size)

    def tally(self, size: int) -> Tally:
        """See :meth:`Block.tally`."""
        return self.conv.tally(size)

    def module(self) -> nn.Module:
        """See :meth:`Block.module`."""
        from autobuild.spaces.modules import FactorizedReduction

        return FactorizedReduction(self.inputs, self.outputs)
