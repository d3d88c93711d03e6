"""Operators grouped to the kernels that a runtime executes, by rules that were found by testing.

A rule is a pattern such as ``"Conv+Add+Relu"``: a kernel that begins like this goes on. An operator joins the kernel of
the one that feeds it if the pattern is a rule and nothing else reads what lies between; where several would take it,
the last of them does, or none (``chains``).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from autobuild.cost.latency.operators import ELEMENTWISE, Operators

Kernel = tuple[int, ...]


@dataclass(frozen=True)
class Kernels:
    """The kernels of a network, in an order in which they can be computed.

    Attributes:
        operators: The network.
        groups: Numbers of the operators of each kernel; every operator is in exactly one.
    """

    operators: Operators
    groups: tuple[Kernel, ...]

    def __len__(self) -> int:
        return len(self.groups)

    @cached_property
    def of(self) -> dict[int, int]:
        """Operator -> its kernel."""
        return {number: k for k, group in enumerate(self.groups) for number in group}

    @cached_property
    def sources(self) -> list[tuple[int, ...]]:
        """For each kernel those that feed it."""
        return [
            tuple(sorted({self.of[s] for number in group for s in self.operators.sources[number]} - {k}))
            for k, group in enumerate(self.groups)
        ]

    @cached_property
    def readers(self) -> list[tuple[int, ...]]:
        """For each kernel those that it feeds, in order."""
        found: list[list[int]] = [[] for _ in self.groups]
        for target, sources in enumerate(self.sources):
            for source in sources:
                found[source].append(target)
        return [tuple(readers) for readers in found]

    def surroundings(self, kernel: int, hops: int = 1) -> Kernel:
        """Operators of what a kernel is measured in: the kernels before it, and their readers before it.

        Args:
            kernel: Its number.
            hops: How many steps back. Elementwise kernels count as a part of the step behind them: they pass on the
                memory layout of what feeds them.
        """
        left_at: dict[int, int] = {}  # steps that are left behind a kernel
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
        """Types of its operators, joined by ``+``."""
        return "+".join(self.operators.type(number) for number in self.groups[kernel])


def group(operators: Operators, rules: Collection[str] = (), chains: bool = False) -> Kernels:
    """Group the operators of a network by rules; without rules every operator is a kernel.

    Args:
        operators: The network.
        rules: Patterns.
        chains: Whether an operator that several feed, such as a sum, always begins a kernel.
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
