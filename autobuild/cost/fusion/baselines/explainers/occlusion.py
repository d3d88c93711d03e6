"""Occlusion: the drop of the classifier's logit when one operation's features are set to zero."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

from autobuild.cost.fusion.baselines.explainers.validity_classifier import ValidityClassifier
from autobuild.cost.fusion.deadline import Deadline

CHUNK = 20_000  # nodes of one forward pass


class Occlusion:
    """The score of an operation is how much the logit "invalid" drops without its features.

    Args:
        classifier: The classifier to explain.
        seed: Not used: it is deterministic.
        time_limit_s: Not used: it has no training.
    """

    def __init__(self, classifier: ValidityClassifier, seed: int = 0, time_limit_s: float | Deadline = 0.0) -> None:
        self.net = classifier.net

    def __call__(self, graph: Data) -> Tensor:
        """Scores of the operations, shape ``(N,)``."""
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
