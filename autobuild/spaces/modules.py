"""Modules that torch does not have; imported only when a network is built."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from autobuild.errors import SpaceError, nearest

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hswish": nn.Hardswish,
    "sigmoid": nn.Sigmoid,
    "hsigmoid": nn.Hardsigmoid,
}


def activation(name: str) -> nn.Module:
    """Make an activation module by name.

    Raises:
        SpaceError: The name is unknown.
    """
    if name not in ACTIVATIONS:
        raise SpaceError(f"unknown activation {name!r}: {nearest(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]()


class Gated(nn.Module):
    """``x * gate(x)``."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: ``(batch, channels, height, width)`` -> the same."""
        gated: Tensor = x * self.gate(x)
        return gated


class Residual(nn.Module):
    """``act(block(x) + shortcut(x))``; the defaults of ``shortcut`` and ``act`` are the identity."""

    def __init__(self, block: nn.Module, shortcut: nn.Module | None = None, act: nn.Module | None = None) -> None:
        super().__init__()
        self.block = block
        self.shortcut = shortcut if shortcut is not None else nn.Identity()
        self.act = act if act is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: ``(batch, channels, height, width)`` -> that of the block."""
        summed: Tensor = self.act(self.block(x) + self.shortcut(x))
        return summed


class Zero(nn.Module):
    """Zeros in the shape of the input; with a stride, of a smaller size and as many times the channels."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: any -> the same; with a stride, ``(batch, channels, height, width)`` -> a smaller size."""
        if self.stride == 1:
            return x * 0
        return torch.cat([x[:, :, :: self.stride, :: self.stride] * 0] * self.stride, dim=1)


class FactorizedReduction(nn.Module):
    """ReLU, two 1 x 1 convolutions of stride 2, of which the second is shifted by a position, and batch norm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.act, self.norm = nn.ReLU(), nn.BatchNorm2d(outputs)
        self.straight = nn.Conv2d(inputs, outputs // 2, 1, 2, bias=False)
        self.shifted = nn.Conv2d(inputs, outputs - outputs // 2, 1, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: ``(batch, inputs, height, width)`` -> ``(batch, outputs, height / 2, width / 2)``, rounded up."""
        x = self.act(x)
        moved = nn.functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        reduced: Tensor = self.norm(torch.cat([self.straight(x), self.shifted(moved)], dim=1))
        return reduced


class Cell(nn.Module):
    """A directed acyclic graph of operations: a node is the sum of its incoming edges; node 0 is the input.

    Args:
        edges: For each edge its source and target node; nodes count from 0, and the last one is the output.
        operations: The module on each edge.
    """

    def __init__(self, edges: Sequence[tuple[int, int]], operations: Sequence[nn.Module]) -> None:
        super().__init__()
        self.edges = tuple(edges)
        self.operations = nn.ModuleList(operations)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: ``(batch, channels, height, width)`` -> the same."""
        nodes = {0: x}
        for target in range(1, 1 + max(target for _, target in self.edges)):
            brought = [
                operation(nodes[source])
                for (source, to), operation in zip(self.edges, self.operations, strict=True)
                if to == target
            ]
            summed = brought[0]
            for one in brought[1:]:
                summed = summed + one
            nodes[target] = summed
        return nodes[max(nodes)]
