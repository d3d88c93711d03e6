"""nas_bench_macro: NAS-Bench-Macro (Su et al., CVPR 2021), every network of which was trained on CIFAR-10.

Eight layers in stages of 2, 3 and 3; a layer is an identity (0), an inverted bottleneck of expansion 3 and kernel 3
(1), or one of expansion 6 and kernel 5 (2). The text form is the published key: a digit a layer. The first layer of a
stage halves the size and doubles the channels, an identity there being a 1 x 1 convolution, so it never is idle; other
identities make twins: 6,561 texts, 3,969 networks. Published ``flops`` are the MACs of convolutions and the classifier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autobuild.spaces import sequence_space
from autobuild.spaces.blocks import AvgPool, Block, Classifier, Conv, MBConv, Plan, network

if TYPE_CHECKING:
    from torch import nn

SPACE = sequence_space(
    name="nas_bench_macro",
    about="NAS-Bench-Macro: eight layers, each identity or MBConv, all trained on CIFAR-10 (Su et al., 2021)",
    units={"stage1": 2, "stage2": 3, "stage3": 3},
    features={"op": (0, 1, 2)},
    text="{op}",
    layer_separator="",
    unit_separator="",
    identity={"op": 0, "first_layer_counts": True},
)

INPUT_SHAPE = (3, 32, 32)  # channels, height, width
NUM_CLASSES = 10
STEM_WIDTH = 32
HEAD_WIDTH = 1280
OPS = {1: (3, 3), 2: (6, 5)}  # expansion, kernel
COSTS = {"flops": {"macs": 1}}  # published costs as sums of counts


def plan(layers: list[list[dict[str, Any]]], num_classes: int, in_channels: int) -> Plan:
    """The network's parts in order."""
    width = STEM_WIDTH
    parts: Plan = {"stem": [[Conv(in_channels, width, 3, act="relu")]]}
    for number, stage in enumerate(layers, start=1):
        blocks: list[list[Block]] = []
        for position, layer in enumerate(stage):
            stride, outputs = (2, 2 * width) if position == 0 else (1, width)
            if layer["op"]:
                expand, kernel = OPS[layer["op"]]
                blocks.append([MBConv(width, outputs, kernel, stride, expand * width)])
            else:
                blocks.append([Conv(width, outputs, 1, stride)] if position == 0 else [])
            width = outputs
        parts[f"stage{number}"] = blocks
    parts["head"] = [[Conv(width, HEAD_WIDTH, act="relu"), AvgPool(HEAD_WIDTH), Classifier(HEAD_WIDTH, num_classes)]]
    return parts


def realise(layers: list[list[dict[str, Any]]], num_classes: int = NUM_CLASSES, in_channels: int = 3) -> nn.Module:
    """Build the network. Shapes: ``(batch, in_channels, height, width)`` -> logits ``(batch, num_classes)``."""
    return network(plan(layers, num_classes, in_channels))
