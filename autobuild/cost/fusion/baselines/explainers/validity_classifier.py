"""A graph classifier that predicts whether a fusion group is invalid."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import Data
from torch_geometric.nn import MessagePassing, global_add_pool, global_max_pool

from autobuild.cost.fusion.baselines.explainers.group_features import GroupEncoder, stack
from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.deadline import NEVER, Deadline, TimeUp, within
from autobuild.cost.fusion.partition.partition import AnyGroupCosts, TrafficCosts
from autobuild.cost.fusion.partition.topology import Topology

WIDTH, ROUNDS, BATCH = 32, 3, 64
SAMPLES = 4000  # random groups
HELD_OUT = 0.2  # share of the groups that accuracy and AUC are computed on


class MessageLayer(MessagePassing):  # type: ignore[misc]
    """Sum of linear messages, with separate weights for self-loops and for edges to neighbours.

    An operation's own features are a message along its self-loop, so an edge mask can remove the operation.

    Shapes: features ``(N, in)``, edges ``(2, E)`` -> ``(N, out)``.
    """

    def __init__(self, given: int, width: int) -> None:
        super().__init__(aggr="add")
        self.own = nn.Linear(given, width, bias=False)  # no bias: a node with zero features must contribute nothing
        self.near = nn.Linear(given, width, bias=False)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Features after one layer."""
        loops = (edge_index[0] == edge_index[1]).to(x.dtype).unsqueeze(1)
        summed: Tensor = self.propagate(edge_index, own=self.own(x), near=self.near(x) / 4, loops=loops)
        return summed

    def message(self, own_j: Tensor, near_j: Tensor, loops: Tensor) -> Tensor:
        """Message along each edge."""
        return torch.where(loops > 0, own_j, near_j)


class ValidityNet(nn.Module):
    """Logit that a group is *invalid*: message passing, then sum and maximum pooling over the operations.

    Shapes: features ``(N, F)``, edges with loops ``(2, E)``, graph of each node ``(N,)`` -> logits ``(G,)``.
    Buffer requirements of operations add up, so the pooling is a sum.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.rounds = nn.ModuleList(MessageLayer(WIDTH if k else features, WIDTH) for k in range(ROUNDS))
        self.leave = nn.Sequential(nn.Linear((ROUNDS + 1) * WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))

    def embed(self, x: Tensor, edge_index: Tensor) -> list[Tensor]:
        """Embeddings of the operations after each round, shape ``(N, WIDTH)`` each."""
        after = []
        for layer in self.rounds:
            x = layer(x, edge_index).relu()
            after.append(x)
        return after

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None) -> Tensor:
        """Logits."""
        after = self.embed(x, edge_index)
        batch = torch.zeros(len(x), dtype=torch.long) if batch is None else batch
        pooled = [*(global_add_pool(h, batch) / 8 for h in after), global_max_pool(after[-1], batch)]
        logits: Tensor = self.leave(torch.cat(pooled, dim=1)).view(-1)
        return logits


@dataclass(frozen=True, eq=False)
class ValidityClassifier:
    """A fitted classifier.

    Attributes:
        net: The network.
        encoder: Encodes groups as graphs.
        accuracy: Accuracy on the held-out groups.
        share_invalid: Share of invalid groups among the held-out groups. A constant answer has the accuracy
            ``max(share, 1 - share)``.
        auc: Area under the ROC curve on the held-out groups.
        seconds: Time of drawing the groups, computing their costs, and fitting.
        invalid: Invalid groups of the training set.
        held_out: Invalid groups of the held-out set.
    """

    net: ValidityNet
    encoder: GroupEncoder
    accuracy: float
    share_invalid: float
    auc: float
    seconds: float
    invalid: tuple[int, ...]
    held_out: tuple[int, ...]

    def logits(self, masks: Sequence[int]) -> Tensor:
        """Logits that groups are invalid, shape ``(len(masks),)``."""
        with torch.no_grad():
            logits: Tensor = self.net(*stack([self.encoder.encode(mask) for mask in masks]))
        return logits


def fit_classifier(
    costs: TrafficCosts, seed: int = 0, time_limit_s: float | Deadline = 20.0, samples: int = SAMPLES
) -> ValidityClassifier:
    """Fit a classifier on random groups of a network; the labels are computed from their costs.

    Args:
        costs: Costs of the groups of a network.
        seed: Seed of the groups, the weights and the batches.
        time_limit_s: Seconds, or a deadline that already runs. Up to a fifth is spent on drawing groups and up to a
            quarter of the rest on encoding them.
        samples: Number of groups.

    Returns:
        The classifier with its accuracy on held-out groups.
    """
    deadline = Deadline.of(time_limit_s)
    encoder = GroupEncoder(costs)
    drawing = deadline.share(0.2)
    with within(costs, drawing):
        masks = random_groups(costs, encoder.topology, samples, seed, drawing)
    reading, graphs = deadline.share(0.25), list[Data]()
    for mask in masks:
        if graphs and reading.passed:
            break
        graphs.append(encoder.encode(mask))
    masks = masks[: len(graphs)]
    cut = max(1, round(len(masks) * (1 - HELD_OUT)))
    labels = torch.tensor([costs.dram(mask) < 0 for mask in masks], dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ValidityNet(encoder.size)
        _train(net, graphs[:cut], labels[:cut], deadline)
    net.eval().requires_grad_(False)
    judged = graphs[cut:] or graphs
    truth = labels[cut:] if graphs[cut:] else labels
    with torch.no_grad():
        chunks = [net(*stack(judged[k : k + 256])) for k in range(0, len(judged), 256)]
        logits = torch.cat(chunks) if chunks else torch.zeros(0)
    return ValidityClassifier(
        net,
        encoder,
        accuracy=float(((logits > 0) == truth.bool()).float().mean()),
        share_invalid=float(truth.mean()),
        auc=_auc(logits, truth),
        seconds=deadline.elapsed,
        invalid=tuple(mask for mask, bad in zip(masks[:cut], labels[:cut], strict=True) if bad),
        held_out=tuple(mask for mask, bad in zip(masks[cut:], labels[cut:], strict=True) if bad),
    )


def _train(net: ValidityNet, graphs: list[Data], labels: Tensor, deadline: Deadline, epochs: int = 40) -> None:
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-3)
    steps = epochs * -(-len(graphs) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps + 1)
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(graphs)), BATCH):
            if not graphs or deadline.passed:
                return
            loss = F.binary_cross_entropy_with_logits(net(*stack([graphs[k] for k in chosen])), labels[chosen])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()


def _auc(logits: Tensor, truth: Tensor) -> float:
    bad, good = logits[truth > 0], logits[truth == 0]
    if not len(bad) or not len(good):
        return float("nan")
    higher = (bad[:, None] > good).double() + (bad[:, None] == good).double() / 2
    return float(higher.mean())


def random_groups(
    costs: AnyGroupCosts, topology: Topology, count: int, seed: int = 0, deadline: Deadline = NEVER
) -> list[int]:
    """Distinct random connected convex groups of at least two operations, about half of them invalid.

    A group grows from a random operation by random neighbours until it is invalid, and by a few more operations. One
    valid and one invalid group of this sequence are kept. If almost all groups are valid, or almost none, the classes
    are not balanced.

    Args:
        costs: Costs of the groups of a network.
        topology: Edges of the network.
        count: Number of groups.
        seed: Seed of the groups.
        deadline: When to stop.

    Returns:
        Bitmasks of the groups, in random order.
    """
    rng = random.Random(seed)
    chosen_groups: dict[int, None] = {}
    tries = 0
    while len(chosen_groups) < count and tries < 4 * count and not deadline.passed:
        tries += 1
        try:
            stages = _growth(costs, topology, rng)
        except TimeUp:
            break
        for kind in (False, True):
            of_kind = [mask for mask, invalid in stages if invalid is kind]
            if of_kind:
                chosen_groups[rng.choice(of_kind)] = None
    masks = list(chosen_groups)[:count]
    rng.shuffle(masks)
    return masks


def _growth(costs: AnyGroupCosts, topology: Topology, rng: random.Random) -> list[tuple[int, bool]]:
    """A growing sequence of random connected convex groups, and whether each is invalid."""
    group = 1 << rng.randrange(len(topology))
    beyond = rng.randrange(1, 13)
    stages: list[tuple[int, bool]] = []
    while beyond:
        around = 0
        for i in bits(group):
            around |= topology.neighbours[i]
        choices = [i for i in bits(around & ~group) if topology.convex(group | 1 << i)]
        if not choices:
            break
        group |= 1 << rng.choice(choices)
        stages.append((group, costs.dram(group) < 0))
        beyond -= stages[-1][1]
    return stages
