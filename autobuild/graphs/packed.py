"""Many graphs in a few tensors, so that training needs no loop over graphs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class PackedGraphs:
    """Concatenated graphs; a batch is a slice.

    Attributes:
        x: Node features, as indices into the values of each feature. Shape ``(N, F)``, int64.
        neighbours: For each node, the node itself and then the nodes that feed it, padded with -1. Shape ``(N, K)``,
            int64; nodes are numbered over the whole pack.
        ptr: Graph g has the nodes ``ptr[g]:ptr[g + 1]``. Shape ``(G + 1,)``, int64.
        roots: The root (last node) of every graph. Shape ``(G,)``, int64.
        context: Numbers that describe whole graphs, or None. Shape ``(G, C)``, float32.
    """

    x: Tensor
    neighbours: Tensor
    ptr: Tensor
    roots: Tensor
    context: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ptr) - 1

    @property
    def sizes(self) -> Tensor:
        """Number of nodes of every graph. Shape ``(G,)``."""
        return self.ptr.diff()

    @cached_property
    def graph_of_node(self) -> Tensor:
        """Number of the graph of each node. Shape ``(N,)``."""
        numbers = torch.arange(len(self), device=self.ptr.device)
        return torch.repeat_interleave(numbers, self.sizes, output_size=len(self.x))

    @cached_property
    def edges(self) -> Tensor:
        """Edges ``source -> target`` without self loops. Shape ``(2, E)``."""
        target, slot = torch.nonzero(self.neighbours[:, 1:] >= 0, as_tuple=True)
        return torch.stack([self.neighbours[target, slot + 1], target])

    def slice(self, start: int, stop: int) -> PackedGraphs:
        """Graphs ``start:stop`` as views where possible."""
        first, last = int(self.ptr[start]), int(self.ptr[min(stop, len(self))])
        neighbours = self.neighbours[first:last]
        return PackedGraphs(
            self.x[first:last],
            torch.where(neighbours >= 0, neighbours - first, neighbours),
            self.ptr[start : stop + 1] - first,
            self.roots[start:stop] - first,
            None if self.context is None else self.context[start:stop],
        )

    def take(self, graphs: Tensor) -> PackedGraphs:
        """Select graphs by number, in the order given. Shape ``graphs (B,)``, int64."""
        sizes = self.sizes[graphs]
        ptr = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        shift = torch.repeat_interleave(self.ptr[graphs] - ptr[:-1], sizes)
        nodes = torch.arange(int(ptr[-1]), device=ptr.device) + shift
        neighbours = self.neighbours[nodes]
        return PackedGraphs(
            self.x[nodes],
            torch.where(neighbours >= 0, neighbours - shift[:, None], neighbours),
            ptr,
            self.roots[graphs] - self.ptr[graphs] + ptr[:-1],
            None if self.context is None else self.context[graphs],
        )

    @staticmethod
    def concatenate(parts: Sequence[PackedGraphs]) -> PackedGraphs:
        """The graphs of all parts, one part after another; all have a context, or none has."""
        nodes = [0, *itertools.accumulate(len(part.x) for part in parts)]
        slots = max(part.neighbours.shape[1] for part in parts)
        near = [nn.functional.pad(part.neighbours, (0, slots - part.neighbours.shape[1]), value=-1) for part in parts]
        contexts = [part.context for part in parts if part.context is not None]
        return PackedGraphs(
            torch.cat([part.x for part in parts]),
            torch.cat([torch.where(own >= 0, own + start, own) for own, start in zip(near, nodes, strict=False)]),
            torch.cat([parts[0].ptr[:1], *(part.ptr[1:] + start for part, start in zip(parts, nodes, strict=False))]),
            torch.cat([part.roots + start for part, start in zip(parts, nodes, strict=False)]),
            torch.cat(contexts) if contexts else None,
        )

    def to(self, device: torch.device | str) -> PackedGraphs:
        """The same graphs on another device."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: tensor.to(device) for name, tensor in tensors.items() if tensor is not None})
