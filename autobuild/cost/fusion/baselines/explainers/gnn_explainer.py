"""GNNExplainer: a mask over the operations of one group, fitted for that group."""

from __future__ import annotations

import torch
import torch_geometric.explain as pyg
from torch import Tensor
from torch_geometric.data import Data

from autobuild.cost.fusion.baselines.explainers.validity_classifier import ValidityClassifier
from autobuild.cost.fusion.deadline import Deadline

CONFIG = {"mode": "binary_classification", "task_level": "graph", "return_type": "raw"}
EPOCHS = 30


class GNNExplainer:
    """GNNExplainer (Ying et al., 2019), implementation of PyTorch Geometric: the score is the value of the node mask.

    Args:
        classifier: The classifier to explain.
        seed: Seed of the mask.
        time_limit_s: Not used: it has no training.
    """

    def __init__(self, classifier: ValidityClassifier, seed: int = 0, time_limit_s: float | Deadline = 0.0) -> None:
        self.net, self.seed = classifier.net, seed
        self.explainer = pyg.Explainer(
            self.net,
            pyg.GNNExplainer(epochs=EPOCHS, lr=0.05),
            explanation_type="phenomenon",
            node_mask_type="object",
            model_config=CONFIG,
        )

    def __call__(self, graph: Data) -> Tensor:
        """Scores of the operations, shape ``(N,)``."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            explanation = self.explainer(graph.x, graph.edge_index, target=torch.ones(1, dtype=torch.long))
        scores: Tensor = explanation.node_mask.view(-1)
        return scores
