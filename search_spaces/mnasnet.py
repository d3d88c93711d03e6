"""mnasnet: the space of Accel-NASBench (Ahmad et al., DAC 2024), after MnasNet (Tan et al., CVPR 2019).

Seven blocks of inverted bottlenecks; one choice of expansion, kernel, number of layers and squeeze-excite a block, the
same for all its layers. Squeeze-excite squeezes to a quarter of the layer's input channels. The published ``macs`` are
those of convolutions and the classifier, four for every number that passes a batch norm, and pooling's additions and
divisions, that of squeeze-excite included. The cost ``macs_published`` counts by this rule, ``macs`` only the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autobuild.spaces import sequence_space
from autobuild.spaces.blocks import AvgPool, Block, Classifier, Conv, MBConv, Plan, network

if TYPE_CHECKING:
    from torch import nn

SPACE = sequence_space(
    name="mnasnet",
    about="MnasNet blocks as in Accel-NASBench: one choice a block, for ImageNet (Ahmad et al., 2024)",
    units={f"block{b}": {"depth": "1-4" if b == 5 else "1-3", "tied": True} for b in range(7)},
    features={"expand": (1, 4, 6), "kernel": (3, 5), "se": (0, 1)},
    text="e{expand}k{kernel}l{depth}s{se}",
)

INPUT_SHAPE = (3, 224, 224)  # channels, height, width
NUM_CLASSES = 1000
STEM_WIDTH = 32
HEAD_WIDTH = 1280
WIDTHS = (16, 24, 40, 80, 112, 192, 320)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
COSTS = {"macs_published": {"macs": 1, "normed": 4, "pooled": 1}}  # published costs as sums of counts


def plan(layers: list[list[dict[str, Any]]], num_classes: int, in_channels: int) -> Plan:
    """The network's parts in order."""
    width = STEM_WIDTH
    parts: Plan = {"stem": [[Conv(in_channels, width, 3, 2, act="relu")]]}
    for number, (stage, outputs, first) in enumerate(zip(layers, WIDTHS, STRIDES, strict=True)):
        blocks: list[list[Block]] = []
        for position, layer in enumerate(stage):
            stride = first if position == 0 else 1
            squeezed = max(1, width // 4) if layer["se"] else 0
            blocks.append([MBConv(width, outputs, layer["kernel"], stride, width * layer["expand"], "relu", squeezed)])
            width = outputs
        parts[f"block{number}"] = blocks
    parts["head"] = [[Conv(width, HEAD_WIDTH, act="relu"), AvgPool(HEAD_WIDTH), Classifier(HEAD_WIDTH, num_classes)]]
    return parts


def realise(layers: list[list[dict[str, Any]]], num_classes: int = NUM_CLASSES, in_channels: int = 3) -> nn.Module:
    """Build the network. Shapes: ``(batch, in_channels, height, width)`` -> logits ``(batch, num_classes)``."""
    return network(plan(layers, num_classes, in_channels))
