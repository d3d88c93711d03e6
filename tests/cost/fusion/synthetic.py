"""Synthetic networks: groups have costs by a simple formula of weights, tensors and a buffer."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Cost:
    dram_bytes: int
    valid: bool


@dataclass(frozen=True)
class Tensor:
    producer: int
    consumers: int
    dram_bytes: int
    output: bool


class SyntheticCosts:
    """A random graph: operation i has weights and one output tensor, its size drawn; inner tensors take buffer.

    Traffic follows the rules of fusion (weights once, outside tensors read once, outputs written once). The buffer
    holds a group's weights and ``lines`` of every tensor that it reads or writes. ``noise`` adds random bytes to each
    group, so costs follow no structure. ``holes`` makes random groups invalid, so validity is not hereditary. Without
    ``rule`` it does not list its tensors.
    """

    def __init__(
        self,
        n: int,
        seed: int = 0,
        density: float = 0.3,
        buffer: int = 120,
        noise: int = 0,
        holes: float = 0.0,
        inputs: int = 1,
        rule: bool = True,
    ):
        rng = random.Random(seed)
        self.n, self.seed, self.buffer, self.noise, self.holes = n, seed, buffer, noise, holes
        self.hereditary = holes == 0
        self.preds, self.succs = [0] * n, [0] * n
        for j in range(1, n):
            near = range(max(0, j - 6), j)
            chosen = [i for i in near if rng.random() < density] or (
                [rng.choice(list(near))] if rng.random() < 0.9 else []
            )
            for i in chosen:
                self.preds[j] |= 1 << i
                self.succs[i] |= 1 << j
        self.weights = [rng.randint(0, 40) for _ in range(n)]
        self.sizes = [rng.randint(1, 60) for _ in range(n)]
        self.lines = [rng.randint(1, 20) for _ in range(n)]
        self.reads = [{-1 - rng.randrange(inputs)} if not self.preds[j] else set() for j in range(n)]
        for j in range(n):
            self.reads[j] |= {i for i in range(n) if self.preds[j] >> i & 1}
        self.neighbours = [
            sum(1 << i for i in range(n) if i != j and (self.reads[i] | {i}) & (self.reads[j] | {j})) for j in range(n)
        ]
        if rule:
            readers = {t: sum(1 << j for j in range(n) if t in self.reads[j]) for t in range(-inputs, n)}
            self.tensors = [
                Tensor(max(t, -1), readers[t], self.sizes[t], t >= 0 and not readers[t]) for t in range(-inputs, n)
            ]
        self.buffer_bytes = buffer
        self.asked = 0
        self._cost = cache(self._compute)

    def __call__(self, mask: int) -> Cost:
        return self._cost(mask)

    def dram(self, mask: int) -> int:
        cost = self._cost(mask)
        return cost.dram_bytes if cost.valid else -1

    def _compute(self, mask: int) -> Cost:
        self.asked += 1
        inside = [i for i in range(self.n) if mask >> i & 1]
        read = set().union(*(self.reads[i] for i in inside))
        outside = read - set(inside)
        written = [i for i in inside if not self.succs[i] or self.succs[i] & ~mask]
        dram = sum(self.weights[i] for i in inside) + sum(self.sizes[i] for i in [*outside, *written])
        held = sum(self.weights[i] for i in inside) + sum(self.lines[i] for i in read | set(inside))
        own = random.Random(mask * 1_000_003 + self.seed)
        dram += own.randint(0, self.noise)
        return Cost(dram, held <= self.buffer and not (len(inside) > 1 and own.random() < self.holes))


class Chosen:
    """Costs given explicitly: edges, and bytes of the valid groups. Every single operation is valid."""

    def __init__(self, n: int, edges: list[tuple[int, int]], drams: dict[frozenset[int], int], alone: int = 10):
        self.n, self.hereditary = n, False
        self.preds = [sum(1 << i for i, j in edges if j == k) for k in range(n)]
        self.succs = [sum(1 << j for i, j in edges if i == k) for k in range(n)]
        self.neighbours = [self.preds[k] | self.succs[k] for k in range(n)]
        self.drams = {sum(1 << i for i in group): dram for group, dram in drams.items()}
        self.drams |= {1 << i: alone for i in range(n) if 1 << i not in self.drams}

    def __call__(self, mask: int) -> Cost:
        return Cost(self.drams.get(mask, 1), mask in self.drams)

    def dram(self, mask: int) -> int:
        return self.drams.get(mask, -1)
