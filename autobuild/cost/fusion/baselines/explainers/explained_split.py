"""Splitters that cut an invalid group at the operations that an explainer scores highest."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor
from torch_geometric.data import Data

from autobuild.cost.fusion.baselines.explainers.gnn_explainer import GNNExplainer
from autobuild.cost.fusion.baselines.explainers.occlusion import Occlusion
from autobuild.cost.fusion.baselines.explainers.pg_explainer import PGExplainer
from autobuild.cost.fusion.baselines.explainers.rg_explainer import RGExplainer
from autobuild.cost.fusion.baselines.explainers.validity_classifier import ValidityClassifier, fit_classifier
from autobuild.cost.fusion.baselines.group_splitting import Splitter, best_cut
from autobuild.cost.fusion.deadline import Deadline
from autobuild.cost.fusion.partition.partition import AnyGroupCosts, TrafficCosts, group_dram, has_tensor_traffic
from autobuild.cost.fusion.partition.topology import Topology
from autobuild.errors import ConfigError, nearest

NAMES = 3  # operations at which a group may be cut


class Explainer(Protocol):
    """Scores the operations of an invalid group; a high score means that the operation makes the group invalid."""

    def __call__(self, graph: Data, /) -> Tensor:
        """Scores, shape ``(N,)``."""


EXPLAINERS: dict[str, Callable[..., Any]] = {
    "gnnexplainer": GNNExplainer,
    "pgexplainer": PGExplainer,
    "rg": RGExplainer,
    "occlusion": Occlusion,
}


class ExplainedSplitter:
    """Fits a validity classifier and an explainer, and names the operations of a group with the highest scores.

    Each group is explained once.

    Args:
        costs: Costs of the groups of a network.
        method: ``gnnexplainer``, ``pgexplainer``, ``rg`` or ``occlusion``.
        seed: Seed of all random choices.
        training_s: Seconds, or a deadline that already runs. The classifier takes up to two thirds, an explainer that
            is trained the rest.
        classifier: A fitted classifier that several explainers share.
        names: Number of operations to name.

    Raises:
        ConfigError: The method is unknown, or the costs do not list tensors and weights.

    Attributes:
        classifier: The fitted classifier.
        explainer: The explainer.
        training_seconds: Time of fitting the classifier and the explainer.
        explaining_seconds: Time of all explanations so far.
    """

    fixed = True

    def __init__(
        self,
        costs: AnyGroupCosts,
        method: str,
        seed: int = 0,
        training_s: float | Deadline = 30.0,
        classifier: ValidityClassifier | None = None,
        names: int = NAMES,
    ) -> None:
        if method not in EXPLAINERS:
            raise ConfigError(f"explainer {method!r} is unknown: {nearest(method, EXPLAINERS)}")
        if not has_tensor_traffic(costs):
            raise ConfigError(
                f"split={method}: needs costs that list tensors and weights, given a {type(costs).__name__}"
            )
        deadline = Deadline.of(training_s)
        self.method, self.names = method, names
        self.classifier = classifier or fit_classifier(costs, seed, deadline.share(2 / 3))
        shared = self.classifier.seconds if classifier else 0.0
        self.explainer: Explainer = EXPLAINERS[method](
            self.classifier, seed, deadline.share(1 / 3 if classifier else 1.0)
        )
        self.training_seconds = shared + deadline.elapsed
        self.explaining_seconds = 0.0
        self._named: dict[int, list[int]] = {}

    def __call__(self, costs: AnyGroupCosts, mask: int, rng: random.Random) -> Sequence[int]:
        """The operations with the highest scores, in descending order."""
        named = self._named.get(mask)
        if named is None:
            start = time.perf_counter()
            graph = self.classifier.encoder.encode(mask)
            best = self.explainer(graph).topk(min(self.names, graph.num_nodes)).indices
            named = self._named[mask] = graph.op[best].tolist()
            self.explaining_seconds += time.perf_counter() - start
        return named


def rectify_rate(costs: TrafficCosts, splitter: Splitter, groups: Sequence[int], seed: int = 0) -> float:
    """Share of invalid groups whose first cut leaves only valid pieces (Mills et al., 2025)."""
    topology, rng = Topology.of(costs), random.Random(seed)
    cuts = [best_cut(costs, topology, group, splitter(costs, group, rng)) for group in groups]
    return sum(all(group_dram(costs, piece) >= 0 for piece in pieces) for pieces in cuts) / len(groups)
