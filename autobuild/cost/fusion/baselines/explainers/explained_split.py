"""Explainers as splitters: an invalid group is cut at the operations that an explainer names."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

from autobuild.cost.fusion.baselines.explainers.explainers import explainers
from autobuild.cost.fusion.baselines.explainers.validity_classifier import Predictor, fit_predictor
from autobuild.cost.fusion.baselines.group_splitting import Splitter, best_cut
from autobuild.cost.fusion.deadline import Deadline
from autobuild.cost.fusion.partition.partition import GroupCosts, TrafficCosts, follows_rule, group_dram
from autobuild.cost.fusion.partition.topology import Order
from autobuild.errors import ConfigError, nearest

NAMES = 3  # operations that an explanation names


class ExplainedSplitter:
    """Cuts where an explainer of a fitted classifier says; each group is explained once.

    Args:
        costs: The network and the cost of its groups.
        method: ``gnnexplainer``, ``pgexplainer``, ``rg`` or ``occlusion``.
        seed: For everything by chance.
        training_s: Seconds, or a deadline that runs already: two thirds at most for the classifier, the rest for an
            explainer that learns.
        predictor: A fitted classifier, to share between explainers.
        names: How many operations it names.

    Raises:
        ConfigError: For an unknown method, or costs that do not say what their tensors are.

    Attributes:
        predictor: The fitted classifier.
        explainer: The explainer.
        training_seconds: Time that both took.
        explaining_seconds: Time that explanations took since.
    """

    fixed = True

    def __init__(
        self,
        costs: GroupCosts,
        method: str,
        seed: int = 0,
        training_s: float | Deadline = 30.0,
        predictor: Predictor | None = None,
        names: int = NAMES,
    ) -> None:
        methods = explainers()
        if method not in methods:
            raise ConfigError(f"explainer {method!r} is unknown: {nearest(method, methods)}")
        if not follows_rule(costs):
            raise ConfigError(f"split={method}: needs costs with tensors and weights, given {type(costs).__name__}")
        deadline = Deadline.of(training_s)
        self.method, self.names = method, names
        self.predictor = predictor or fit_predictor(costs, seed, deadline.share(2 / 3))
        shared = self.predictor.seconds if predictor else 0.0
        self.explainer: Any = methods[method](self.predictor, seed, deadline.share(1 / 3 if predictor else 1.0))
        self.training_seconds = shared + deadline.elapsed
        self.explaining_seconds = 0.0
        self._named: dict[int, list[int]] = {}

    def __call__(self, costs: GroupCosts, mask: int, rng: random.Random) -> Sequence[int]:
        """The operations most responsible, first the most."""
        named = self._named.get(mask)
        if named is None:
            start = time.perf_counter()
            graph = self.predictor.reader.read(mask)
            best = self.explainer(graph).topk(min(self.names, graph.num_nodes)).indices
            named = self._named[mask] = graph.op[best].tolist()
            self.explaining_seconds += time.perf_counter() - start
        return named


def rectify_rate(costs: TrafficCosts, splitter: Splitter, groups: Sequence[int], seed: int = 0) -> float:
    """Share of invalid groups that the first cut leaves valid, all pieces of them."""
    order, rng = Order.of(costs), random.Random(seed)
    cuts = [best_cut(costs, order, group, splitter(costs, group, rng)) for group in groups]
    return sum(all(group_dram(costs, piece) >= 0 for piece in pieces) for pieces in cuts) / len(groups)
