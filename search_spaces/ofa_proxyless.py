"""ofa_proxyless: Once-for-All ProxylessNAS (Cai et al., ICLR 2020), the subnets of one supernet.

Five stages of 2 to 4 inverted bottlenecks and a sixth of one; a layer chooses expansion and kernel. ``width`` scales
all channels: the supernet was published for 1.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autobuild.spaces import SearchSpace, SpaceError, resolutions, sequence_space
from autobuild.spaces.blocks import AvgPool, Classifier, Conv, MBConv, Plan, divisible, network

if TYPE_CHECKING:
    from torch import nn

INPUT_SHAPE = (3, 224, 224)  # channels, height, width
NUM_CLASSES = 1000
SIZES = range(128, 225, 4)  # heights and widths that can be chosen
SUPERNETS = (1.3,)  # widths
STEM_WIDTHS = (32, 16)
WIDTHS = (24, 40, 80, 96, 192, 320)
STRIDES = (2, 2, 2, 1, 2, 1)
HEAD_WIDTH = 1280
NORM_EPS = 1e-3


def space(width: float = 1.3, resolution: Any = None) -> SearchSpace:
    """The space.

    Args:
        width: Factor of all channels, 1.3.
        resolution: Input sizes to choose from, of 128 to 224 in steps of 4, e.g. ``"128-224/32"``; None: 224, fixed.
    """
    if width not in SUPERNETS:
        raise SpaceError(f"ofa_proxyless: width={width!r}; accepted: {', '.join(map(str, SUPERNETS))}")
    sizes = resolutions(resolution, SIZES)
    return sequence_space(
        name="ofa_proxyless",
        about="Once-for-All ProxylessNAS subnets (Cai et al., 2020)",
        units={f"stage{s}": (2, 3, 4) for s in range(1, 6)} | {"stage6": 1},
        features={"expand": (3, 4, 6), "kernel": (3, 5, 7)},  # channel expansion ratio, depthwise kernel size
        text="e{expand}k{kernel}",
        resolution=resolution,
        options={"width": width, "resolution": list(sizes) or None},
    )


SPACE = space()


def plan(
    layers: list[list[dict[str, Any]]], num_classes: int, in_channels: int, width: float = 1.3, resolution: Any = None
) -> Plan:
    """The network's parts in order."""
    stem, channels = (divisible(base * width) for base in STEM_WIDTHS)
    first = MBConv(stem, channels, 3, 1, stem, "relu6")
    parts: Plan = {"stem": [[Conv(in_channels, stem, 3, 2, act="relu6"), first]]}
    stages = layers[1:] if resolution else layers
    for number, (stage, base, stride) in enumerate(zip(stages, WIDTHS, STRIDES, strict=True), start=1):
        outputs, name = divisible(base * width), f"stage{number}"
        parts[name] = []
        for position, layer in enumerate(stage):
            hidden = divisible(round(channels * layer["expand"]))
            step = stride if position == 0 else 1
            parts[name].append([MBConv(channels, outputs, layer["kernel"], step, hidden, "relu6")])
            channels = outputs
    last = divisible(HEAD_WIDTH * width)
    parts["head"] = [[Conv(channels, last, act="relu6"), AvgPool(last), Classifier(last, num_classes)]]
    return parts


def realise(
    layers: list[list[dict[str, Any]]],
    num_classes: int = NUM_CLASSES,
    in_channels: int = 3,
    width: float = 1.3,
    resolution: Any = None,
) -> nn.Module:
    """Build the network. Shapes: ``(batch, in_channels, height, width)`` -> logits ``(batch, num_classes)``."""
    from torch import nn

    made = network(plan(layers, num_classes, in_channels, width, resolution))
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = NORM_EPS
    return made
