"""trans_nas_bench_macro: the macro space of TransNAS-Bench-101 (Duan et al., CVPR 2021), trained on seven tasks.

A network has four to six modules of two residual blocks. The text form is the published one, ``64-DDDD-basic``, a digit
for each module: 1 keeps the shape, 2 doubles the channels, 3 halves the size, 4 does both. One to three modules double
the channels, and one to four halve the size. As this limits whole networks, all modules are one unit: its candidates
are the 3,256 published networks. The network is that of the classification tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autobuild.spaces import Feature, SearchSpace, Stage, Unit
from autobuild.spaces.blocks import AvgPool, Block, Classifier, Conv, Plan, Tally, count, network, total
from autobuild.spaces.blocks import tallies as by_part

if TYPE_CHECKING:
    from torch import nn

INPUT_SHAPE = (3, 256, 256)  # channels, height, width
NUM_CLASSES = 47  # scenes
STEM_WIDTH = 64
TYPES = ("1", "2", "3", "4")
WIDER, SMALLER = ("2", "4"), ("3", "4")
MOST_WIDER, MOST_SMALLER = 3, 4
BLOCKS = 2  # of each module
DEPENDS = {"network": ("body",)}


def _published(unit: Unit) -> Unit:
    """The unit with the published networks only."""
    kept = []
    for index, text in enumerate(unit.texts(range(unit.size))):
        wider, smaller = sum(digit in WIDER for digit in text), sum(digit in SMALLER for digit in text)
        if 1 <= wider <= MOST_WIDER and 1 <= smaller <= MOST_SMALLER:
            kept.append(index)
    return unit.restricted(kept)


SPACE = SearchSpace(
    "trans_nas_bench_macro",
    [_published(Unit("body", [Stage("body", (4, 5, 6), (Feature("type", ("1", "2", "3", "4")),), "{type}", "")]))],
    about="TransNAS-Bench-101 macro structures: four to six modules of residual blocks (Duan et al., 2021)",
    pattern=f"{STEM_WIDTH}-{{}}-basic",
)


def plan(layers: list[list[dict[str, Any]]], num_classes: int, in_channels: int) -> Plan:
    """The network's parts in order."""
    width, half, modules = STEM_WIDTH, STEM_WIDTH // 2, []
    for layer in layers[0]:
        inputs, width = width, width * (2 if layer["type"] in WIDER else 1)
        stride = 2 if layer["type"] in SMALLER else 1
        modules.append([Basic(inputs, width, stride), *[Basic(width, width)] * (BLOCKS - 1)])
    return {
        "stem": [[Conv(in_channels, half, 3, 2), Conv(half, STEM_WIDTH, 3, 2, act="relu", before=True)]],
        "body": modules,
        "head": [[AvgPool(width), Classifier(width, num_classes)]],
    }


def tallies(
    layers: list[list[dict[str, Any]]], num_classes: int, in_channels: int, size: int
) -> dict[str, list[Tally]]:
    """Costs of the whole network, because those of a module depend on all modules before it."""
    parts = by_part(plan(layers, num_classes, in_channels), size)
    return {"network": [total(tally for own in parts.values() for tally in own)]}


def realise(layers: list[list[dict[str, Any]]], num_classes: int = NUM_CLASSES, in_channels: int = 3) -> nn.Module:
    """Build the network. Shapes: ``(batch, in_channels, height, width)`` -> logits ``(batch, num_classes)``."""
    return network(plan(layers, num_classes, in_channels))


@dataclass(frozen=True, slots=True)
class Basic(Block):
    """Residual block of two 3 x 3 convolutions with ReLU before each; the shortcut is a 1 x 1 convolution if needed."""

    inputs: int
    outputs: int
    stride: int = 1

    @property
    def parts(self) -> list[Block]:
        """Blocks of the main path, in order."""
        first = Conv(self.inputs, self.outputs, 3, self.stride, act="relu", before=True)
        return [first, Conv(self.outputs, self.outputs, 3, act="relu", before=True)]

    @property
    def shortcut(self) -> list[Block]:
        """Blocks of the shortcut, in order; empty if the shortcut is the input itself."""
        changes = self.stride > 1 or self.inputs != self.outputs
        return [Conv(self.inputs, self.outputs, 1, self.stride)] if changes else []

    def size(self, size: int) -> int:
        """See :meth:`Block.size`."""
        return (size - 1) // self.stride + 1

    def tally(self, size: int) -> Tally:
        """See :meth:`Block.tally`."""
        added = Tally(added=self.size(size) ** 2 * self.outputs)
        return total([count(self.parts, size), count(self.shortcut, size), added])

    def module(self) -> nn.Module:
        """See :meth:`Block.module`."""
        from torch import nn

        from autobuild.spaces.modules import Residual

        shortcut = self.shortcut[0].module() if self.shortcut else None
        return Residual(nn.Sequential(*(part.module() for part in self.parts)), shortcut)
