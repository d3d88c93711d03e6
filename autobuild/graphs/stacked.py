"""Batches of several networks that are trained side by side, one slice of every tensor for each of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from autobuild.graphs.packed import PackedGraphs


@dataclass(frozen=True)
class StackedGraphs:
    """A batch of B graphs for each of M networks; the nodes of a batch are padded to the N nodes of the largest one.

    Attributes:
        x: Node features, as indices into the values of each feature; 0 for padding. Shape ``(M, N, F)``, int64.
        neighbours: As in :class:`PackedGraphs`; nodes are numbered over all M batches. Padding is its own neighbour.
            Shape ``(M N, K)``, int64.
        graph_of_node: Number of the graph of each node, over all M batches; M B for padding. Shape ``(M N,)``, int64.
        sizes: Number of nodes of every graph. Shape ``(M, B)``, int64.
        node_share: 1 divided by the number of nodes of the batch; 0 for padding. Shape ``(M, N, 1)``, float32.
        context: Numbers that describe whole graphs, or None. Shape ``(M, B, C)``, float32.
    """

    x: Tensor
    neighbours: Tensor
    graph_of_node: Tensor
    sizes: Tensor
    node_share: Tensor
    context: Tensor | None = None


def stacked_batches(graphs: PackedGraphs, rows: Tensor) -> list[StackedGraphs]:
    """Batches of some training steps, padded to a common number of nodes.

    Args:
        graphs: Packed graphs.
        rows: Numbers of the graphs of every step. Shape ``(steps, M, B)``, int64.

    Returns:
        One batch for each step.
    """
    steps, networks, batch = rows.shape
    device, chosen = rows.device, rows.reshape(-1)
    sizes = graphs.sizes[chosen]
    by_batch = sizes.view(steps * networks, batch)
    in_batch = by_batch.sum(1)
    nodes = int(in_batch.max())
    number = torch.arange(steps * networks, device=device) % networks
    first = (by_batch.cumsum(1) - by_batch + number[:, None] * nodes).reshape(
        -1
    )  # first node of each graph in its step
    total = int(in_batch.sum())
    graph = torch.repeat_interleave(torch.arange(len(chosen), device=device), sizes, output_size=total)
    within = torch.arange(total, device=device) - (sizes.cumsum(0) - sizes)[graph]
    start, begins = graphs.ptr[chosen][graph], first[graph]
    source = start + within
    place = begins + within + graph // (networks * batch) * (networks * nodes)
    x = graphs.x.new_zeros(steps * networks * nodes, graphs.x.shape[1])
    x[place] = graphs.x[source]
    own = torch.arange(len(x), device=device) % (networks * nodes)
    neighbours = torch.full((len(x), graphs.neighbours.shape[1]), -1, device=device)
    neighbours[:, 0] = own
    near = graphs.neighbours[source]
    neighbours[place] = torch.where(near >= 0, near + (begins - start)[:, None], near)
    owner = torch.full((len(x),), networks * batch, device=device)
    owner[place] = graph % (networks * batch)
    share = torch.zeros(len(x), device=device)
    share[place] = (1 / in_batch.float())[graph // batch]
    context = None if graphs.context is None else graphs.context[rows]
    x, share = x.view(steps, networks, nodes, -1), share.view(steps, networks, nodes, 1)
    neighbours, owner = neighbours.view(steps, networks * nodes, -1), owner.view(steps, -1)
    sizes = sizes.view(rows.shape)
    return [
        StackedGraphs(x[s], neighbours[s], owner[s], sizes[s], share[s], None if context is None else context[s])
        for s in range(steps)
    ]
