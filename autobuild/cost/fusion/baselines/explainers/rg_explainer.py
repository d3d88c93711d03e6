"""RG-Explainer: a policy that picks a subgraph operation by operation, learnt by reinforcement."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import Data

from autobuild.cost.fusion.baselines.explainers.validity_classifier import WIDTH, Predictor
from autobuild.cost.fusion.deadline import Deadline

STEPS = 6  # operations of an explanation
SIZE_PENALTY = 0.05  # logit for each operation
EPISODES = 8  # explanations of one group that are compared with one another


class RG(nn.Module):
    """RG-Explainer (Shan et al., 2021): where to begin, and which neighbour to add, until it stops.

    The state is the classifier's embeddings of the operations, and the mean of those picked. The reward of an
    explanation is the log probability that the classifier gives to "invalid" for the picked operations alone, less a
    penalty for their number; REINFORCE with the mean reward of other explanations of the same group as baseline. (The
    paper embeds the growing subgraph by personalised propagation and penalises its radius, too: ours is connected and
    small.) An operation's score is the order in which the greedy policy picks it; those it does not pick score by the
    first choice.

    Args:
        predictor: The classifier that is explained.
        seed: Of the weights and the episodes.
        time_limit_s: Seconds that it learns.
    """

    def __init__(self, predictor: Predictor, seed: int = 0, time_limit_s: float | Deadline = 10.0) -> None:
        super().__init__()
        self.net = predictor.net
        self.rewards: list[float] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.begin = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))
            self.add = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))
            self.stop = nn.Linear(WIDTH, 1)
            self._learn(predictor, random.Random(seed), Deadline.of(time_limit_s))
        self.requires_grad_(False)

    def _learn(self, predictor: Predictor, rng: random.Random, deadline: Deadline) -> None:
        heads = [*self.begin.parameters(), *self.add.parameters(), *self.stop.parameters()]
        optimiser = torch.optim.Adam(heads, lr=3e-3)
        graphs: dict[int, Data] = {}
        while predictor.invalid and not deadline.passed and len(self.rewards) < 2000:
            mask = rng.choice(predictor.invalid)
            graph = graphs.setdefault(mask, predictor.reader.read(mask))
            played = [self._pick(graph, sample=True) for _ in range(EPISODES)]
            rewards = self._rewards(graph, [picked for picked, _ in played])
            others = (rewards.sum() - rewards) / (EPISODES - 1)
            loss = -torch.stack([chance for _, chance in played]) @ (rewards - others) / EPISODES
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            self.rewards.append(float(rewards.mean()))

    def _rewards(self, graph: Data, explanations: list[list[int]]) -> Tensor:
        """Rewards of explanations, shape ``(len(explanations),)``."""
        n, count = graph.num_nodes, len(explanations)
        kept = torch.zeros(count, n, 1)
        for k, picked in enumerate(explanations):
            kept[k, picked] = 1
        shifts = torch.arange(count).repeat_interleave(graph.edge_index.shape[1]) * n
        batch = torch.arange(count).repeat_interleave(n)
        with torch.no_grad():
            logits = self.net(
                (graph.x * kept).reshape(count * n, -1), graph.edge_index.repeat(1, count) + shifts, batch
            )
        return F.logsigmoid(logits) - SIZE_PENALTY * kept.sum(dim=(1, 2))

    def _pick(self, graph: Data, sample: bool) -> tuple[list[int], Tensor]:
        """An explanation, and the log probability of its choices."""
        h = self.net.embed(graph.x, graph.edge_index)[-1]
        chance = torch.zeros(())
        picked: list[int] = []
        while len(picked) < min(STEPS, graph.num_nodes):
            if picked:
                near = torch.zeros(graph.num_nodes, dtype=torch.bool)
                near[graph.edge_index[1, torch.isin(graph.edge_index[0], torch.tensor(picked))]] = True
                near[picked] = False
                state = h[picked].mean(0)
                choices = near.nonzero().view(-1)
                logits = self.add(torch.cat([h[choices], state.expand(len(choices), -1)], dim=1)).view(-1)
                logits = torch.cat([logits, self.stop(state)])
            else:
                choices = torch.arange(graph.num_nodes)
                logits = self.begin(h).view(-1)
            log_chances = F.log_softmax(logits, dim=0)
            number = int(torch.multinomial(log_chances.exp(), 1)) if sample else int(log_chances.argmax())
            chance = chance + log_chances[number]
            if number == len(choices):
                break
            picked.append(int(choices[number]))
        return picked, chance

    def __call__(self, graph: Data) -> Tensor:
        """Scores, shape ``(N,)``: picked operations in order, then the others."""
        with torch.no_grad():
            picked, _ = self._pick(graph, sample=False)
            scores = torch.sigmoid(self.begin(self.net.embed(graph.x, graph.edge_index)[-1]).view(-1))
        scores[picked] = torch.arange(len(picked), 0, -1) + 1.0
        return scores
