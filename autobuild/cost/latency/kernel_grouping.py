"""Grouping of operators into the kernels that a runtime executes, by fusion rules.

A rule is a pattern such as ``"Conv+Add+Relu"``. An operator joins the kernel of its producer if the pattern is a rule
and the intermediate result has no other reader. If it has several producers, it joins the last possible one, or none
(``chains``).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from autobuild.cost.latency.onnx_fragments import ELEMENTWISE, Operators, readers_of

Kernel = tuple[int, ...]


@dataclass(frozen=True)
class Kernels:
    """The kernels of a network, in an order of execution.

    Attributes:
        operators: The network.
        groups: For each kernel the numbers of its operators. Every operator is in exactly one kernel.
    """

    operators: Operators
    groups: tuple[Kernel, ...]

    def __len__(self) -> int:
        return len(self.groups)

    @cached_property
    def of(self) -> dict[int, int]:
        """Operator -> its kernel, as numbers."""
        return {number: k for k, group in enumerate(self.groups) for number in group}

    @cached_property
    def sources(self) -> list[tuple[int, ...]]:
        """For each kernel its producers."""
        return [
            tuple(sorted({self.of[s] for number in group for s in self.operators.sources[number]} - {k}))
            for k, group in enumerate(self.groups)
        ]

    @cached_property
    def readers(self) -> list[tuple[int, ...]]:
        """For each kernel its readers, in order."""
        return readers_of(self.sources)

    def surroundings(self, kernel: int, hops: int = 1) -> Kernel:
        """The context in which a kernel is measured: operators of the kernels before it, and of their earlier readers.

        Args:
            kernel: Number of the kernel.
            hops: Number of steps back. Elementwise kernels do not count as a step, since they keep the memory layout
                of their input.
        """
        left_at: dict[int, int] = {}  # kernel -> remaining steps
        border = [(source, hops - 1) for source in self.sources[kernel]] if hops else []
        while border:
            source, left = border.pop()
            if left <= left_at.get(source, -1):
                continue
            left_at[source] = left
            left -= not self._elementwise[source]
            border += [(before, left) for before in self.sources[source] if left >= 0]
        around = set(left_at)
        around |= {reader for source in around for reader in self.readers[source] if reader < kernel}
        return tuple(sorted(number for k in around for number in self.groups[k]))

    @cached_property
    def _elementwise(self) -> list[bool]:
        return [all(self.operators.type(number) in ELEMENTWISE for number in group) for group in self.groups]

    def pattern(self, kernel: int) -> str:
        """Types of the operators of a kernel, joined by ``+``."""
        return "+".join(self.operators.type(number) for number in self.groups[kernel])


def group(operators: Operators, rules: Collection[str] = (), chains: bool = False) -> Kernels:
    """Group the operators of a network into kernels; without rules every operator is a kernel.

    Args:
        operators: The network.
        rules: Patterns.
        chains: Whether an operator with several producers, such as a sum, always starts a new kernel.
    """
    kernels: list[list[int]] = []
    of: dict[int, int] = {}
    for number in range(len(operators)):
        sources = () if chains and len(operators.sources[number]) > 1 else operators.sources[number]
        for source in sorted(sources, reverse=True):
            tail = kernels[of[source]]
            pattern = "+".join(operators.type(member) for member in (*tail, number))
            only = operators.readers[source] == (number,) and not operators.is_output(source)
            if pattern in rules and tail[-1] == source and only:
                tail.append(number)
                of[number] = of[source]
                break
        else:
            of[number] = len(kernels)
            kernels.append([number])
    return Kernels(operators, tuple(sorted((tuple(kernel) for kernel in kernels), key=lambda kernel: kernel[-1])))
