"""Building blocks of networks as plain data, from which both modules and costs are computed.

A block computes its output size, its costs for an input size, and its module. torch is imported only by
:meth:`Block.module`, so that counting costs does not need it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import nn


class Tally(NamedTuple):
    """Parameters of a block and its work for one input, by kind of operation.

    Attributes:
        params: Trainable parameters: weights, biases, scales and shifts of normalisation layers.
        macs: Multiply-accumulates of convolutions and linear layers, including those on padding, without biases.
        normed: Number of elements that a normalisation layer processes.
        activated: Number of elements that an activation processes.
        gated: Number of elements multiplied by a squeeze-excite gate.
        pooled: Work of average pooling: one addition per element read, one division per element written.
        added: Number of additions in residual connections.
        biased: Number of additions of biases.
    """

    params: int = 0
    macs: int = 0
    normed: int = 0
    activated: int = 0
    gated: int = 0
    pooled: int = 0
    added: int = 0
    biased: int = 0


def total(tallies: Iterable[Tally]) -> Tally:
    """Sum of tallies."""
    return Tally(*map(sum, zip(Tally(), *tallies, strict=True)))


@dataclass(frozen=True, slots=True)
class Block:
    """Base class of all blocks. A block is immutable and hashable, so that its costs can be cached."""

    def size(self, size: int) -> int:
        """Height (= width) of the output for an input of height and width ``size``."""
        return size

    def tally(self, size: int) -> Tally:
        """Costs for one input of height and width ``size``."""
        raise NotImplementedError

    def module(self) -> nn.Module:
        """Build a module with new weights."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Conv(Block):
    """Convolution with "same" padding, optionally followed by batch norm and an activation.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel: Kernel size, odd.
        stride: Stride.
        groups: Number of groups; ``groups=inputs`` gives a depthwise convolution.
        act: Activation: ``""`` (none), ``"relu"``, ``"relu6"``, ``"hswish"``, ``"sigmoid"`` or ``"hsigmoid"``.
        norm: Whether batch norm follows.
        bias: Whether the convolution has biases.
        before: Whether the activation is applied before the convolution instead of after the norm.
    """

    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    act: str = ""
    norm: bool = True
    bias: bool = False
    before: bool = False

    def size(self, size: int) -> int:
        """See :meth:`Block.size`."""
        return (size - 1) // self.stride + 1

    def tally(self, size: int) -> Tally:
        """See :meth:`Block.tally`."""
        out = self.size(size) ** 2 * self.outputs
        fan = self.inputs // self.groups * self.kernel**2
        acted = size**2 * self.inputs if self.before else out
        return Tally(
            params=self.outputs * (fan + 2 * self.norm + self.bias),
            macs=out * fan,
            normed=out * self.norm,
            activated=acted * bool(self.act),
            biased=out * self.bias,
        )

    def module(self) -> nn.Module:
        """See :meth:`Block.module`."""
        from torch import nn

        from autobuild.spaces.modules import activation

        parts: list[nn.Module] = [
            nn.Conv2d(
                self.inputs,
                self.outputs,
                self.kernel,
                self.stride,
                self.kernel // 2,
                groups=self.groups,
                bias=self.bias,
            )
        ]
        if self.norm:
            parts.append(nn.BatchNorm2d(self.outputs))
        if self.act:
            parts.insert(0 if self.before else len(parts), activation(self.act))
        return nn.Sequential(*parts)


@dataclass(frozen=True, slots=True)
class SqueezeExcite(Block):
    """Squeeze-excite: channels are scaled by a gate computed from their means (Hu et al., CVPR 2018).

    Args:
        width: Number of channels.
        squeezed: Number of channels between the two convolutions.
        gate: Activation of the gate: ``"sigmoid"`` or ``"hsigmoid"``.
    """

    width: int
    squeezed: int
    gate: str = "sigmoid"

    @property
    def convs(self) -> tuple[Conv, Conv]:
        """The two convolutions that compute the gate."""
        return (
            Conv(self.width, self.squeezed, act="relu", norm=False, bias=True),
            Conv(self.squeezed, self.width, act=self.gate, norm=False, bias=True),
        )

    def tally(self, size: int) -> Tally:
        """See :meth:`Block.tally`."""
        pool = AvgPool(self.width).tally(size)
        return total([*(conv.tally(1) for conv in self.convs), pool, Tally(gated=size**2 * self.width)])

    def module(self) -> nn.Module:
        """See :meth:`Block.module`."""
        from torch import nn

        from autobuild.spaces.modules import Gated

        return Gated(nn.Sequential(nn.AdaptiveAvgPool2d(1), *(conv.module() for conv in self.convs)))


@dataclass(frozen=True, slots=True)
class MBConv(Block):
    """Inverted bottleneck (Sandler et al., CVPR 2018): expand, depthwise convolution, squeeze-excite, project.

    The input is added to the output if the stride is 1 and the channels are equal.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel: Size of the depthwise kernel.
        stride: Stride of the depthwise convolution.
        hidden: Expanded channels; there is no expanding convolution if equal to ``inputs``.
        act: Activation after the first two convolutions.
        squeezed: Channels between the convolutions of the squeeze-excite; 0 for no squeeze-excite.
        gate: Activation of its gate.
    """

    inputs: int
    outputs: int
    kernel: int
    stride: int
    hidden: int
    act: str = "relu"
    squeezed: int = 0
    gate: str = "sigmoid"

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.inputs == self.outputs

    @property
    def parts(self) -> list[Block]:
        """The blocks it consists of, in order."""
        parts: list[Block] = []
        if self.hidden != self.inputs:
            parts.append(Conv(self.inputs, self.hidden, act=self.act))
        parts.append(Conv(self.hidden, self.hidden, self.kernel, self.stride, self.hidden, self.act))
        if self.squeezed:
            parts.append(SqueezeExcite(self.hidden, self.squeezed, self.gate))
        return [*parts, Conv(self.hidden, self.outputs)]

    def size(self, size: int) -> int:
        """See :meth:`Block.size`."""
        return (size - 1) // self.stride + 1

    def tally(self, size: int) -> Tally:
        """See :meth:`Block.tally`."""
        return total([count(self.parts, size), Tally(added=size**2 * self.outputs * self.residual)])

    def module(self) -> nn.Module:
        """See :meth:`Block.module`."""
        from torch import nn

        from autobuild.spaces.modules import Residual

        block = nn.Sequential(*(part.module() for part in self.parts))
        return Residual(block) if self.residual else block


@dataclass(frozen=True, slots=True)
class Shortcut(Block):
    """``x + conv(x)``, for a convolution that keeps the shape."""

    conv: Conv

    def tally(self, size: int) -> Tally:
        """See :meth:`Block.tally`."""
        return total([self.conv.tally(size), Tally(added=size**2 * self.conv.outputs)])

    def module(self) -> nn.Module:
        """See :meth:`Block.module`."""
        from autobuild.spaces.modules import Residual

        return Residual(self.conv.module())


@dataclass(frozen=True, slots=True)
class Bottleneck(Block):
    """Residual bottleneck with the stride on its 3 x 3 convolution and average pooling on the shortcut (ResNet-D).

    Source: He et al., "Bag of tricks for image classification", CVPR 2019.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        hidden: Channels of the 3 x 3 convolution.
        stride: Stride of the 3 x 3 convolution, and size of the shortcut's pooling windows.
    """

    inputs: int
    outputs: int
    hidden: int
    stride: int = 1

    @property
    def parts(self) -> list[Block]:
        """Blocks of the main path, in order."""
        return [
            Conv(self.inputs, self.hidden, act="relu"),
            Conv(self.hidden, self.hidden, 3, self.stride, act="relu"),
            Conv(self.hidden, self.outputs),
        ]

    @property
    def shortcut(self) -> list[Block]:
        """Blocks of the shortcut, in order; empty if the shortcut is the input itself."""
        if self.stride == 1 and self.inputs == self.outputs:
            return []
        return [*([AvgPool(self.inputs, self.stride)] if self.stride > 1 else []), Conv(self.inputs, self.outputs)]

    def size(self, size: int) -> int:
        """See :meth:`Block.size`."""
        return (size - 1) // self.stride + 1

    def tally(self, size: int) -> Tally:
        """See :meth:`Block.tally`."""
        out = self.size(size) ** 2 * self.outputs
        return total([count(self.parts, size), count(self.shortcut, size), Tally(activated=out, added=out)])

    def module(self) -> nn.Module:
        """See :meth:`Block.module`."""
        from torch import nn

        from autobuild.spaces.modules import Residual

        shortcut = nn.Sequential(*(part.module() for part in self.shortcut)) if self.shortcut else None
        return Residual(nn.Sequential(*(part.module() for part in self.parts)), shortcut, nn.ReLU())


@dataclass(frozen=True, slots=True)
class PreActivated(Block):
    """Residual block of two 3 x 3 convolutions with ReLU before each; halves the size.

    The shortcut is average pooling and a 1 x 1 convolution.

    Args:
        inputs: Input channels.
        outputs: Output channels.
    """

    inputs: int
    outputs: int

    @property
    def parts(self) -> list[Block]:
        """Blocks of the main path, in order."""
        return [
            Conv(self.inputs, self.outputs, 3, 2, act="relu", before=True),
            Conv(self.outputs, self.outputs, 3, act="relu", before=True),
        ]

    @property
    def shortcut(self) -> list[Block]:
        """Blocks of the shortcut, in order."""
        return [AvgPool(self.inputs, 2), Conv(self.inputs, self.outputs, norm=False)]

    def size(self, size: int) -> int:
        """See :meth:`Block.size`."""
        return (size - 1) // 2 + 1

    def tally(self, size: int) -> Tally:
        """See :meth:`Block.tally`."""
        added = Tally(added=self.size(size) ** 2 * self.outputs)
        return total([count(self.parts, size), count(self.shortcut, size), added])

    def module(self) -> nn.Module:
        """See :meth:`Block.module`."""
        from torch import nn

        from autobuild.spaces.modules import Residual

        main, other = (nn.Sequential(*(part.module() for part in path)) for path in (self.parts, self.shortcut))
        return Residual(main, other)


@dataclass(frozen=True, slots=True)
class AvgPool(Block):
    """Average over windows of ``stride`` x ``stride`` positions (the last may be smaller); 0: over all positions."""

    width: int
    stride: int = 0

    def size(self, size: int) -> int:
        """See :meth:`Block.size`."""
        return -(-size // self.stride) if self.stride else 1

    def tally(self, size: int) -> Tally:
        """See :meth:`Block.tally`."""
        return Tally(pooled=(size**2 + self.size(size) ** 2) * self.width)

    def module(self) -> nn.Module:
        """See :meth:`Block.module`."""
        from torch import nn

        return nn.AvgPool2d(self.stride, ceil_mode=True) if self.stride else nn.AdaptiveAvgPool2d(1)


@dataclass(frozen=True, slots=True)
class MaxPool(Block):
    """Maximum over windows of 3 x 3 positions with stride 2."""

    def size(self, size: int) -> int:
        """See :meth:`Block.size`."""
        return (size - 1) // 2 + 1

    def tally(self, size: int) -> Tally:
        """See :meth:`Block.tally`."""
        return Tally()

    def module(self) -> nn.Module:
        """See :meth:`Block.module`."""
        from torch import nn

        return nn.MaxPool2d(3, 2, 1)


@dataclass(frozen=True, slots=True)
class Classifier(Block):
    """Flattening and a linear layer; its input has been pooled to one position."""

    inputs: int
    classes: int

    def tally(self, size: int) -> Tally:
        """See :meth:`Block.tally`."""
        return Tally(params=(self.inputs + 1) * self.classes, macs=self.inputs * self.classes, biased=self.classes)

    def module(self) -> nn.Module:
        """See :meth:`Block.module`."""
        from torch import nn

        return nn.Sequential(nn.Flatten(), nn.Linear(self.inputs, self.classes))


@dataclass(frozen=True, slots=True)
class Cell(Block):
    """A directed acyclic graph of blocks that keep the shape; a node is the sum of its incoming edges.

    Args:
        edges: For each edge its source and target node; node 0 is the input, the last one the output.
        operations: The block on each edge.
    """

    edges: tuple[tuple[int, int], ...]
    operations: tuple[Block, ...]

    @property
    def nodes(self) -> list[list[tuple[int, Block]]]:
        """For each node after the input, in order, its incoming edges as pairs (source node, block)."""
        every = list(zip(self.edges, self.operations, strict=True))
        last = max(target for _, target in self.edges)
        return [[(source, block) for (source, to), block in every if to == node] for node in range(1, last + 1)]

    def tally(self, size: int) -> Tally:
        """See :meth:`Block.tally`. Additions at the nodes are not counted, because published counts omit them."""
        return total(block.tally(size) for block in self.operations)

    def module(self) -> nn.Module:
        """See :meth:`Block.module`."""
        from autobuild.spaces import modules

        return modules.Cell(self.edges, [block.module() for block in self.operations])


# The blocks of a network: for each part (a stage's name, or "stem", "head"...) in order, the blocks of each of its
# layers. The file of a space computes it from an architecture; networks and costs are computed from it.
Plan = dict[str, list[list[Block]]]


@lru_cache(maxsize=200_000)
def _one(block: Block, size: int) -> tuple[Tally, int]:
    return block.tally(size), block.size(size)


def count(blocks: Sequence[Block], size: int) -> Tally:
    """Total costs of a sequence of blocks, for an input of height and width ``size``."""
    tallies = []
    for block in blocks:
        tally, size = _one(block, size)
        tallies.append(tally)
    return total(tallies)


def tallies(plan: Plan, size: int) -> dict[str, list[Tally]]:
    """Costs of every layer of every part of a network, for an input of height and width ``size``."""
    out: dict[str, list[Tally]] = {}
    for name, layers in plan.items():
        out[name] = []
        for blocks in layers:
            out[name].append(count(blocks, size))
            for block in blocks:
                size = block.size(size)
    return out


def network(plan: Plan) -> nn.Module:
    """Build an ``nn.Sequential`` of named parts, each an ``nn.Sequential`` of the modules of its blocks."""
    from collections import OrderedDict

    from torch import nn

    return nn.Sequential(
        OrderedDict(
            (name, nn.Sequential(*(block.module() for blocks in layers for block in blocks)))
            for name, layers in plan.items()
        )
    )


def divisible(width: float, by: int = 8) -> int:
    """Round to a multiple of ``by``, at least ``by`` and at least 90 % of ``width`` (the rule of MobileNets)."""
    rounded = max(by, int(width + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * width else rounded
