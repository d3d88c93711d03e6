"""Explainers: which operations of an invalid group are most responsible for its invalidity."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.explain import Explainer as Explaining
from torch_geometric.explain import GNNExplainer, PGExplainer

from autobuild.cost.fusion.baselines.explainers.group_features import stack
from autobuild.cost.fusion.baselines.explainers.validity_classifier import BATCH, Predictor
from autobuild.cost.fusion.deadline import Deadline

CONFIG = {"mode": "binary_classification", "task_level": "graph", "return_type": "raw"}
GNN_EPOCHS = 30
PG_EPOCHS = 10
CHUNK = 20_000  # nodes of one pass of the occlusion explainer


class Explainer(Protocol):
    """Scores the operations of one invalid group; the highest is the most responsible."""

    def __call__(self, graph: Data, /) -> Tensor:
        """Scores, shape ``(N,)``."""


class Occlusion:
    """How much less invalid the classifier finds a group when an operation's features are taken out."""

    def __init__(self, predictor: Predictor, seed: int = 0, time_limit_s: float | Deadline = 0.0) -> None:
        self.net = predictor.net

    def __call__(self, graph: Data) -> Tensor:
        """Falls of the logit."""
        n = graph.num_nodes
        at_once = max(1, CHUNK // n)
        scores = []
        with torch.no_grad():
            whole = self.net(graph.x, graph.edge_index)
            for first in range(0, n, at_once):
                hidden = torch.arange(first, min(first + at_once, n))
                x = graph.x.repeat(len(hidden), 1, 1)
                x[torch.arange(len(hidden)), hidden] = 0
                shifts = torch.arange(len(hidden)).repeat_interleave(graph.edge_index.shape[1]) * n
                edges = graph.edge_index.repeat(1, len(hidden)) + shifts
                batch = torch.arange(len(hidden)).repeat_interleave(n)
                scores.append(whole - self.net(x.reshape(len(hidden) * n, -1), edges, batch))
        return torch.cat(scores)


class GNN:
    """GNNExplainer (Ying et al., 2019): a mask of the operations, fitted for each group anew."""

    def __init__(self, predictor: Predictor, seed: int = 0, time_limit_s: float | Deadline = 0.0) -> None:
        self.net, self.seed = predictor.net, seed
        self.explaining = Explaining(
            self.net,
            GNNExplainer(epochs=GNN_EPOCHS, lr=0.05),
            explanation_type="phenomenon",
            node_mask_type="object",
            model_config=CONFIG,
        )

    def __call__(self, graph: Data) -> Tensor:
        """Values of the mask."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            found = self.explaining(graph.x, graph.edge_index, target=torch.ones(1, dtype=torch.long))
        scores: Tensor = found.node_mask.view(-1)
        return scores


class PG:
    """PGExplainer (Luo et al., 2020): one network that masks the edges of any group, an operation's loop among them.

    Fitted on invalid groups, whole passes over them until the time is over.
    """

    def __init__(self, predictor: Predictor, seed: int = 0, time_limit_s: float | Deadline = 10.0) -> None:
        deadline = Deadline.of(time_limit_s)
        rng = random.Random(seed)
        masks = list(predictor.invalid)
        graphs = []
        for mask in rng.sample(masks, min(len(masks), 1000)):
            if deadline.elapsed > deadline.left:  # half of the time
                break
            graphs.append(predictor.reader.read(mask))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.algorithm = PGExplainer(epochs=PG_EPOCHS, lr=0.003)
            self.explaining = Explaining(
                predictor.net, self.algorithm, explanation_type="phenomenon", edge_mask_type="object",
                model_config=CONFIG,
            )  # fmt: skip
            for epoch in range(PG_EPOCHS):
                if deadline.passed:
                    break
                self._pass(predictor, graphs, epoch, deadline)
        self.epochs = epoch
        self.algorithm._curr_epoch = PG_EPOCHS - 1  # it refuses to explain when the time was over before

    def _pass(self, predictor: Predictor, graphs: list[Data], epoch: int, deadline: Deadline) -> None:
        for chosen in torch.split(torch.randperm(len(graphs)), BATCH // 2):
            if deadline.passed:
                return
            x, edges, batch = stack([graphs[k] for k in chosen])
            target = torch.ones(len(chosen), dtype=torch.long)
            self.algorithm.train(epoch, predictor.net, x, edges, target=target, batch=batch)

    def __call__(self, graph: Data) -> Tensor:
        """Means of the values of the edges that an operation speaks along."""
        found = self.explaining(graph.x, graph.edge_index, target=torch.ones(1, dtype=torch.long))
        speaks = graph.edge_index[0]
        total = torch.zeros(graph.num_nodes).index_add(0, speaks, found.edge_mask)
        return total / torch.bincount(speaks, minlength=graph.num_nodes)


def explainers() -> dict[str, Callable[..., Any]]:
    """All of them by name."""
    from autobuild.cost.fusion.baselines.explainers.rg_explainer import RG

    return {"gnnexplainer": GNN, "pgexplainer": PG, "rg": RG, "occlusion": Occlusion}
