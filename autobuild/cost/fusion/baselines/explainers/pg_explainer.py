"""PGExplainer: one network, trained on invalid groups, that masks the edges of any group."""

from __future__ import annotations

import random

import torch
import torch_geometric.explain as pyg
from torch import Tensor
from torch_geometric.data import Data

from autobuild.cost.fusion.baselines.explainers.gnn_explainer import CONFIG
from autobuild.cost.fusion.baselines.explainers.group_features import stack
from autobuild.cost.fusion.baselines.explainers.validity_classifier import BATCH, ValidityClassifier
from autobuild.cost.fusion.deadline import Deadline

EPOCHS = 10


class PGExplainer:
    """PGExplainer (Luo et al., 2020), implementation of PyTorch Geometric.

    An operation's score is the mean mask value of its outgoing edges, its self-loop included.

    Args:
        classifier: The classifier to explain.
        seed: Seed of the weights and the batches.
        time_limit_s: Seconds of training, or a deadline that already runs.

    Attributes:
        epochs: Number of the last training epoch.
    """

    def __init__(self, classifier: ValidityClassifier, seed: int = 0, time_limit_s: float | Deadline = 10.0) -> None:
        deadline = Deadline.of(time_limit_s)
        rng = random.Random(seed)
        masks = list(classifier.invalid)
        graphs = []
        for mask in rng.sample(masks, min(len(masks), 1000)):
            if deadline.elapsed > deadline.left:  # half of the time is used
                break
            graphs.append(classifier.encoder.encode(mask))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.algorithm = pyg.PGExplainer(epochs=EPOCHS, lr=0.003)
            self.explainer = pyg.Explainer(
                classifier.net, self.algorithm, explanation_type="phenomenon", edge_mask_type="object",
                model_config=CONFIG,
            )  # fmt: skip
            for epoch in range(EPOCHS):
                if deadline.passed:
                    break
                self._train_epoch(classifier, graphs, epoch, deadline)
        self.epochs = epoch
        self.algorithm._curr_epoch = EPOCHS - 1  # otherwise it refuses to explain after a training that was cut short

    def _train_epoch(self, classifier: ValidityClassifier, graphs: list[Data], epoch: int, deadline: Deadline) -> None:
        for chosen in torch.split(torch.randperm(len(graphs)), BATCH // 2):
            if deadline.passed:
                return
            x, edges, batch = stack([graphs[k] for k in chosen])
            target = torch.ones(len(chosen), dtype=torch.long)
            self.algorithm.train(epoch, classifier.net, x, edges, target=target, batch=batch)

    def __call__(self, graph: Data) -> Tensor:
        """Scores of the operations, shape ``(N,)``."""
        explanation = self.explainer(graph.x, graph.edge_index, target=torch.ones(1, dtype=torch.long))
        senders = graph.edge_index[0]
        total = torch.zeros(graph.num_nodes).index_add(0, senders, explanation.edge_mask)
        return total / torch.bincount(senders, minlength=graph.num_nodes)
