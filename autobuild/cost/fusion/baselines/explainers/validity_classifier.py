"""A graph classifier that tells groups that fit from groups that do not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import Data
from torch_geometric.nn import MessagePassing, global_add_pool, global_max_pool

from autobuild.cost.fusion.baselines.explainers.group_features import GroupReader, stack
from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.deadline import NEVER, Deadline, TimeUp, within
from autobuild.cost.fusion.partition.partition import GroupCosts, TrafficCosts
from autobuild.cost.fusion.partition.topology import Order

WIDTH, ROUNDS, BATCH = 32, 3, 64
SAMPLES = 4000  # groups that it is fitted on
HELD_OUT = 0.2  # share of them that it is judged on instead


class Round(MessagePassing):  # type: ignore[misc]
    """Messages, summed: along loops an operation's own, along other edges a neighbour's.

    What an operation says of itself runs along an edge, too, so that a mask of the edges can silence it.

    Shapes: features ``(N, in)``, edges ``(2, E)`` -> ``(N, out)``.
    """

    def __init__(self, given: int, width: int) -> None:
        super().__init__(aggr="add")
        self.own = nn.Linear(given, width, bias=False)  # a masked operation is none
        self.near = nn.Linear(given, width, bias=False)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """One round."""
        loops = (edge_index[0] == edge_index[1]).to(x.dtype).unsqueeze(1)
        summed: Tensor = self.propagate(edge_index, own=self.own(x), near=self.near(x) / 4, loops=loops)
        return summed

    def message(self, own_j: Tensor, near_j: Tensor, loops: Tensor) -> Tensor:
        """What runs along each edge."""
        return torch.where(loops > 0, own_j, near_j)


class ValidityNet(nn.Module):
    """Logit that a group is *invalid*: rounds of messages, then sums and maxima over the operations.

    Shapes: features ``(N, F)``, edges with loops ``(2, E)``, graph of each node ``(N,)`` -> logits ``(G,)``.
    Requirements of a buffer add up, hence the sums.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.rounds = nn.ModuleList(Round(WIDTH if k else features, WIDTH) for k in range(ROUNDS))
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
class Predictor:
    """A fitted classifier.

    Attributes:
        net: The network.
        reader: Turns groups into graphs.
        accuracy: On groups that it was not fitted on.
        share_invalid: Of those groups; always answering the commoner class would have ``max(share, 1 - share)``.
        auc: Area under its curve of true against false alarms there.
        seconds: Time that it took, drawing and labelling the groups included.
        invalid: Invalid groups that it was fitted on.
        held_out: Invalid groups that it was not fitted on.
    """

    net: ValidityNet
    reader: GroupReader
    accuracy: float
    share_invalid: float
    auc: float
    seconds: float
    invalid: tuple[int, ...]
    held_out: tuple[int, ...]

    def logits(self, masks: Sequence[int]) -> Tensor:
        """Logits that groups are invalid, shape ``(len(masks),)``."""
        with torch.no_grad():
            logits: Tensor = self.net(*stack([self.reader.read(mask) for mask in masks]))
        return logits


def fit_predictor(
    costs: TrafficCosts, seed: int = 0, time_limit_s: float | Deadline = 20.0, samples: int = SAMPLES
) -> Predictor:
    """Fit a classifier on random groups of a network, labelled by their true cost.

    Args:
        costs: The network and the cost of its groups.
        seed: Of the groups, the weights and the batches.
        time_limit_s: Seconds, or a deadline that runs already; a fifth of it at most goes to drawing groups, as much to
            reading them, and the fit ends with it.
        samples: Groups.
    """
    deadline = Deadline.of(time_limit_s)
    reader = GroupReader(costs)
    drawing = deadline.share(0.2)
    with within(costs, drawing):
        masks = random_groups(costs, reader.order, samples, seed, drawing)
    reading, graphs = deadline.share(0.25), list[Data]()
    for mask in masks:
        if graphs and reading.passed:
            break
        graphs.append(reader.read(mask))
    masks = masks[: len(graphs)]
    cut = max(1, round(len(masks) * (1 - HELD_OUT)))
    labels = torch.tensor([costs.dram(mask) < 0 for mask in masks], dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ValidityNet(reader.size)
        _train(net, graphs[:cut], labels[:cut], deadline)
    net.eval().requires_grad_(False)
    judged = graphs[cut:] or graphs
    truth = labels[cut:] if graphs[cut:] else labels
    with torch.no_grad():
        chunks = [net(*stack(judged[k : k + 256])) for k in range(0, len(judged), 256)]
        logits = torch.cat(chunks) if chunks else torch.zeros(0)
    return Predictor(
        net,
        reader,
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


def random_groups(costs: GroupCosts, order: Order, count: int, seed: int = 0, deadline: Deadline = NEVER) -> list[int]:
    """Distinct random connected convex groups of two operations or more, about half of them invalid.

    Each is grown from a random operation by random neighbours until it no longer fits, and a few operations further;
    one valid and one invalid stage of its growth are taken. Where hardly anything is invalid, or valid, there are fewer
    of that kind.
    """
    rng = random.Random(seed)
    found: dict[int, None] = {}
    tries = 0
    while len(found) < count and tries < 4 * count and not deadline.passed:
        tries += 1
        try:
            stages = _growth(costs, order, rng)
        except TimeUp:
            break
        for kind in (False, True):
            of_kind = [mask for mask, invalid in stages if invalid is kind]
            if of_kind:
                found[rng.choice(of_kind)] = None
    masks = list(found)[:count]
    rng.shuffle(masks)
    return masks


def _growth(costs: GroupCosts, order: Order, rng: random.Random) -> list[tuple[int, bool]]:
    """A random connected convex group at the stages of its growth, and whether each is invalid."""
    group = 1 << rng.randrange(len(order))
    beyond = rng.randrange(1, 13)
    stages: list[tuple[int, bool]] = []
    while beyond:
        around = 0
        for i in bits(group):
            around |= order.neighbours[i]
        choices = [i for i in bits(around & ~group) if order.convex(group | 1 << i)]
        if not choices:
            break
        group |= 1 << rng.choice(choices)
        stages.append((group, costs.dram(group) < 0))
        beyond -= stages[-1][1]
    return stages
