"""tiny_mbconv: small MBConv networks for 20 x 20 grey pictures; an architecture trains in seconds on one CPU core.

A macro space after MnasNet and Once-for-All (Tan et al., 2019; Cai et al., 2020), with everything made small: a stem
of stride 2, three stages at 10 x 10, 5 x 5 and 3 x 3 positions, global average pooling and a linear classifier. A
layer is an inverted bottleneck: 1 x 1 expansion (absent where expand = 1), depthwise convolution, optional
squeeze-and-excitation, 1 x 1 projection, and a residual connection where the shape stays the same. Kernel size 1
makes the depthwise step a mere scaling, so that a network's receptive field is its own choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from autobuild.spaces import sequence_space
from autobuild.spaces.blocks import AvgPool, Block, Classifier, Conv, MBConv, Plan, Tally

if TYPE_CHECKING:
    from torch import nn

SPACE = sequence_space(
    name="tiny_mbconv",
    about="Small MBConv networks for 20 x 20 grey pictures: three stages of 1 to 3 layers, trained in seconds",
    units={"stage1": (1, 2, 3), "stage2": (1, 2, 3), "stage3": (1, 2, 3)},
    features={"expand": (1, 2, 3), "kernel": (1, 3, 5), "se": (0, 1)},
    text="e{expand}k{kernel}s{se}",
)

INPUT_SHAPE = (1, 20, 20)  # channels, height, width
NUM_CLASSES = 10
STEM_WIDTH = 12
WIDTHS = (12, 20, 32)  # output channels of every layer of the stage
STRIDES = (1, 2, 2)  # of the stage's first layer; the others have stride 1


def realise(layers: list[list[dict[str, Any]]], num_classes: int = NUM_CLASSES, in_channels: int = 1) -> nn.Module:
    """Build the network that ``layers`` describes (for each stage, its layers as ``{feature: value}``).

    Shapes: input ``(batch, in_channels, height, width)`` -> logits ``(batch, num_classes)``.
    """
    from torch import nn

    blocks: list[nn.Module] = [_conv(in_channels, STEM_WIDTH, 3, 2), nn.Hardswish()]
    channels = STEM_WIDTH
    for stage, width, stride in zip(layers, WIDTHS, STRIDES, strict=True):
        for position, layer in enumerate(stage):
            step = stride if position == 0 else 1
            block = _mbconv(channels, width, step, layer["expand"], layer["kernel"], bool(layer["se"]))
            blocks.append(_classes().Residual(block) if channels == width and step == 1 else block)
            channels = width
    return nn.Sequential(
        *blocks, nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)
    )


def plan(layers: list[list[dict[str, Any]]], num_classes: int, in_channels: int) -> Plan:
    """The network's parts in order, for counting; ``realise`` builds the modules that the embedded labels trained."""
    parts: Plan = {"stem": [[Conv(in_channels, STEM_WIDTH, 3, 2, act="hswish")]]}
    width = STEM_WIDTH
    for number, (stage, outputs, first) in enumerate(zip(layers, WIDTHS, STRIDES, strict=True), start=1):
        blocks: list[list[Block]] = []
        for position, layer in enumerate(stage):
            hidden = width * layer["expand"]
            squeezed = max(4, hidden // 4) if layer["se"] else 0
            stride = first if position == 0 else 1
            blocks.append([MBConv(width, outputs, layer["kernel"], stride, hidden, "hswish", squeezed)])
            width = outputs
        parts[f"stage{number}"] = blocks
    parts["head"] = [[Ending(), AvgPool(width), Classifier(width, num_classes)]]
    return parts


@dataclass(frozen=True, slots=True)
class Ending(Block):
    """The activation behind the last layer."""

    def tally(self, size: int) -> Tally:
        """Nothing that a cost of this space counts."""
        return Tally()

    def module(self) -> nn.Module:
        """See :meth:`Block.module`."""
        from torch import nn

        return nn.Hardswish()


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias, then batch norm."""
    from torch import nn

    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def _mbconv(inputs: int, outputs: int, stride: int, expand: int, kernel: int, squeeze: bool) -> nn.Sequential:
    from torch import nn

    width = inputs * expand
    parts: list[nn.Module] = [] if expand == 1 else [_conv(inputs, width, 1), nn.Hardswish()]
    parts += [_conv(width, width, kernel, stride, groups=width), nn.Hardswish()]
    if squeeze:
        parts.append(_classes().SqueezeExcite(width))
    return nn.Sequential(*parts, _conv(width, outputs, 1))


@lru_cache
def _classes() -> SimpleNamespace:
    """The two modules that torch lacks; made here, so that reading the declaration does not import torch."""
    import torch
    from torch import nn

    class SqueezeExcite(nn.Module):
        """Channels reweighted by a gate computed from their means (Hu et al., 2018); squeezes to a quarter."""

        def __init__(self, width: int) -> None:
            super().__init__()
            squeezed = max(4, width // 4)
            self.gate = nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(width, squeezed, 1),
                nn.ReLU(),
                nn.Conv2d(squeezed, width, 1),
                nn.Sigmoid(),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            gated: torch.Tensor = x * self.gate(x)
            return gated

    class Residual(nn.Module):
        """``x + block(x)``."""

        def __init__(self, block: nn.Module) -> None:
            super().__init__()
            self.block = block

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            summed: torch.Tensor = x + self.block(x)
            return summed

    return SimpleNamespace(SqueezeExcite=SqueezeExcite, Residual=Residual)
