"""RG-Explainer: a policy, trained by reinforcement learning, that selects a subgraph operation by operation."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import Data

from autobuild.cost.fusion.baselines.explainers.validity_classifier import WIDTH, ValidityClassifier
from autobuild.cost.fusion.deadline import Deadline

STEPS = 6  # largest number of selected operations
SIZE_PENALTY = 0.05  # subtracted from the reward for each selected operation
EPISODES = 8  # explanations of one group in a training step


class RGExplainer(nn.Module):
    """RG-Explainer (Shan et al., 2021): the policy chooses a first operation, then adds neighbours until it stops.

    The state is the classifier's embeddings of the operations and the mean embedding of the selected ones. The reward
    is the classifier's log probability of "invalid" for the selected operations alone, minus a penalty on their number.
    Training is REINFORCE; the baseline is the mean reward of the other explanations of the same group. Two differences
    from the paper: the subgraph is not embedded by personalised propagation, and its radius is not penalised, because
    here it is connected and small.

    The scores are the order in which the greedy policy selects operations. Operations that it does not select get their
    probability of being the first.

    Args:
        classifier: The classifier to explain.
        seed: Seed of the weights and the episodes.
        time_limit_s: Seconds of training, or a deadline that already runs.

    Attributes:
        rewards: Mean reward of every training step.
    """

    def __init__(self, classifier: ValidityClassifier, seed: int = 0, time_limit_s: float | Deadline = 10.0) -> None:
        super().__init__()
        self.net = classifier.net
        self.rewards: list[float] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.begin = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))
            self.add = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))
            self.stop = nn.Linear(WIDTH, 1)
            self._learn(classifier, random.Random(seed), Deadline.of(time_limit_s))
        self.requires_grad_(False)

    def _learn(self, classifier: ValidityClassifier, rng: random.Random, deadline: Deadline) -> None:
        heads = [*self.begin.parameters(), *self.add.parameters(), *self.stop.parameters()]
        optimiser = torch.optim.Adam(heads, lr=3e-3)
        graphs: dict[int, Data] = {}
        while classifier.invalid and not deadline.passed and len(self.rewards) < 2000:
            mask = rng.choice(classifier.invalid)
            graph = graphs.setdefault(mask, classifier.encoder.encode(mask))
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
        """The selected operations, and the log probability of the selection."""
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
        """Scores of the operations, shape ``(N,)``."""
        with torch.no_grad():
            picked, _ = self._pick(graph, sample=False)
            scores = torch.sigmoid(self.begin(self.net.embed(graph.x, graph.edge_index)[-1]).view(-1))
        scores[picked] = torch.arange(len(picked), 0, -1) + 1.0
        return scores
