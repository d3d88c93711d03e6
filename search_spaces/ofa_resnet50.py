"""ofa_resnet50: Once-for-All ResNet-50 (Cai et al., ICLR 2020), the subnets of one supernet of ResNet-D.

A stem with or without its middle convolution, then four stages of 2 to 4 (the third: 4 to 6) bottlenecks. Every stage
chooses a width multiplier, every bottleneck its expansion; stem widths are chosen as well (the published width indices
0 and 1 of the stem's middle are the same network: 24 channels). A stage's text is its width, then its layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autobuild.spaces import Feature, SearchSpace, Stage, Unit, resolutions
from autobuild.spaces.blocks import (
    AvgPool,
    Block,
    Bottleneck,
    Classifier,
    Conv,
    MaxPool,
    Plan,
    Shortcut,
    divisible,
    network,
)

if TYPE_CHECKING:
    from torch import nn

INPUT_SHAPE = (3, 224, 224)  # channels, height, width
NUM_CLASSES = 1000
SIZES = range(128, 225, 4)  # heights and widths that can be chosen
MULTIPLIERS = (0.65, 0.8, 1.0)
EXPANDS = (0.2, 0.25, 0.35)
STEM_WIDTH = 64
WIDTHS = (256, 512, 1024, 2048)
DEPTHS = ((2, 3, 4), (2, 3, 4), (4, 5, 6), (2, 3, 4))
STRIDES = (1, 2, 2, 2)
DEPENDS = {  # part -> stages whose choices its costs depend on as well
    "stage1": ("stem", "width1"),
    **{f"stage{s}": (f"width{s - 1}", f"width{s}") for s in (2, 3, 4)},
    "head": ("width4",),
}


def space(resolution: Any = None) -> SearchSpace:
    """The space.

    Args:
        resolution: Input sizes to choose from, of 128 to 224 in steps of 4, e.g. ``"128-224/32"``; None: 224, fixed.
    """
    sizes = resolutions(resolution, SIZES)
    choices = (Feature("middle", (24, 32)), Feature("width", MULTIPLIERS), Feature("deep", (0, 1)))
    units = [Unit("stem", [Stage("stem", (1,), choices, "m{middle}w{width}d{deep}")])]
    for number, depths in enumerate(DEPTHS, start=1):
        width = Stage(f"width{number}", (1,), (Feature("width", MULTIPLIERS),), "w{width}")
        layers = Stage(f"stage{number}", depths, (Feature("expand", EXPANDS),), "e{expand}")
        units.append(Unit(f"stage{number}", [width, layers]))
    if sizes:
        units.insert(0, Unit("input", [Stage("input", (1,), (Feature("resolution", sizes),), "r{resolution}")]))
    return SearchSpace(
        "ofa_resnet50",
        units,
        about="Once-for-All ResNet-50 subnets: depths, widths, expansions and stem (Cai et al., 2020)",
        options={"resolution": list(sizes) or None},
    )


SPACE = space()


def plan(layers: list[list[dict[str, Any]]], num_classes: int, in_channels: int, resolution: Any = None) -> Plan:
    """The network's parts in order."""
    (stem,), *stages = layers[1:] if resolution else layers
    middle, channels = stem["middle"], divisible(STEM_WIDTH * stem["width"])
    blocks: list[Block] = [Conv(in_channels, middle, 3, 2, act="relu")]
    if stem["deep"]:
        blocks.append(Shortcut(Conv(middle, middle, 3, act="relu")))
    parts: Plan = {"stem": [[*blocks, Conv(middle, channels, 3, act="relu"), MaxPool()]]}
    for number, (base, stride) in enumerate(zip(WIDTHS, STRIDES, strict=True), start=1):
        (width,), chosen = stages[2 * number - 2 : 2 * number]
        outputs, name = divisible(base * width["width"]), f"stage{number}"
        parts[name] = []
        for position, layer in enumerate(chosen):
            hidden = divisible(round(outputs * layer["expand"]))
            parts[name].append([Bottleneck(channels, outputs, hidden, stride if position == 0 else 1)])
            channels = outputs
    parts["head"] = [[AvgPool(channels), Classifier(channels, num_classes)]]
    return parts


def realise(
    layers: list[list[dict[str, Any]]], num_classes: int = NUM_CLASSES, in_channels: int = 3, resolution: Any = None
) -> nn.Module:
    """Build the network. Shapes: ``(batch, in_channels, height, width)`` -> logits ``(batch, num_classes)``."""
    return network(plan(layers, num_classes, in_channels, resolution))
