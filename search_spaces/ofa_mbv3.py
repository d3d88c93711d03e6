"""ofa_mbv3: Once-for-All MobileNetV3 (Cai et al., ICLR 2020), the subnets of one supernet.

Five stages of 2 to 4 inverted bottlenecks; a layer chooses expansion and kernel. Activation and squeeze-excite belong
to the stage. ``width`` scales all channels: supernets were published for 1.0 and 1.2.
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
SUPERNETS = (1.0, 1.2)  # widths
STEM_WIDTH = 16
WIDTHS = (24, 40, 80, 112, 160)
STRIDES = (2, 2, 2, 1, 2)
ACTS = ("relu", "relu", "hswish", "hswish", "hswish")
SQUEEZED = (False, True, False, True, True)
HEAD_WIDTHS = (960, 1280)


def space(width: float = 1.0, resolution: Any = None) -> SearchSpace:
    """The space.

    Args:
        width: Factor of all channels, 1.0 or 1.2.
        resolution: Input sizes to choose from, of 128 to 224 in steps of 4, e.g. ``"128-224/32"``; None: 224, fixed.
    """
    if width not in SUPERNETS:
        raise SpaceError(f"ofa_mbv3: width={width!r}; accepted: {', '.join(map(str, SUPERNETS))}")
    sizes = resolutions(resolution, SIZES)
    return sequence_space(
        name="ofa_mbv3",
        about="Once-for-All MobileNetV3 subnets (Cai et al., 2020)",
        units={f"stage{s}": (2, 3, 4) for s in range(1, 6)},
        features={"expand": (3, 4, 6), "kernel": (3, 5, 7)},  # channel expansion ratio, depthwise kernel size
        text="e{expand}k{kernel}",
        resolution=resolution,
        options={"width": width, "resolution": list(sizes) or None},
    )


SPACE = space()


def plan(
    layers: list[list[dict[str, Any]]], num_classes: int, in_channels: int, width: float = 1.0, resolution: Any = None
) -> Plan:
    """The network's parts in order."""
    channels = divisible(STEM_WIDTH * width)
    first = MBConv(channels, channels, 3, 1, channels)
    parts: Plan = {"stem": [[Conv(in_channels, channels, 3, 2, act="hswish"), first]]}
    stages = layers[1:] if resolution else layers
    rows = zip(stages, WIDTHS, STRIDES, ACTS, SQUEEZED, strict=True)
    for number, (stage, base, stride, act, squeeze) in enumerate(rows, start=1):
        outputs, name = divisible(base * width), f"stage{number}"
        parts[name] = []
        for position, layer in enumerate(stage):
            hidden = divisible(round(channels * layer["expand"]))
            squeezed = divisible(hidden // 4) if squeeze else 0
            step = stride if position == 0 else 1
            parts[name].append([MBConv(channels, outputs, layer["kernel"], step, hidden, act, squeezed, "hsigmoid")])
            channels = outputs
    last, mixed = (divisible(base * width) for base in HEAD_WIDTHS)
    parts["head"] = [
        [
            Conv(channels, last, act="hswish"),
            AvgPool(last),
            Conv(last, mixed, act="hswish", norm=False),
            Classifier(mixed, num_classes),
        ]
    ]
    return parts


def realise(
    layers: list[list[dict[str, Any]]],
    num_classes: int = NUM_CLASSES,
    in_channels: int = 3,
    width: float = 1.0,
    resolution: Any = None,
) -> nn.Module:
    """Build the network. Shapes: ``(batch, in_channels, height, width)`` -> logits ``(batch, num_classes)``."""
    return network(plan(layers, num_classes, in_channels, width, resolution))
