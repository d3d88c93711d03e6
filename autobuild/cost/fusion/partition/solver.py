"""One door to all ways of finding a partition."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np

from autobuild.cost.fusion.baselines.group_splitting import SPLITTERS, Splitter
from autobuild.cost.fusion.baselines.local_search import local_partition
from autobuild.cost.fusion.baselines.nsga2 import nsga2_partition
from autobuild.cost.fusion.baselines.random_search import random_partition
from autobuild.cost.fusion.deadline import Deadline
from autobuild.cost.fusion.partition.dynamic_programming import interval_partition
from autobuild.cost.fusion.partition.exact import exact_partition
from autobuild.cost.fusion.partition.partition import GroupCosts, Partition
from autobuild.errors import ConfigError, nearest

SEARCHES: dict[str, Callable[..., Partition]] = {
    "random": random_partition,
    "local": local_partition,
    "nsga2": nsga2_partition,
}
ALGORITHMS = ("exact", "interval", *SEARCHES)
TRAINING_S = 30.0  # the longest that a classifier and an explainer are fitted
EXPLAINED = ("gnnexplainer", "pgexplainer", "rg", "occlusion")
SPLITS = (*SPLITTERS, *EXPLAINED)


def solve(
    costs: GroupCosts,
    algorithm: str = "exact",
    split: str | Splitter = "random",
    seed: int = 0,
    time_limit_s: float | Deadline = 60.0,
    budget: int = 5000,
    **options: Any,
) -> Partition:
    """Partition a network into fusion groups with few DRAM bytes.

    Args:
        costs: The network and the cost of its groups.
        algorithm: One of :data:`ALGORITHMS`. ``exact`` is the best, and the fastest but for ``interval``.
        split: For searches: where invalid groups are cut; a splitter, or one of :data:`SPLITS`. Those of
            :data:`EXPLAINED` fit a graph classifier to the network's groups first, for half of the time at most.
        seed: For searches.
        time_limit_s: Seconds, or a deadline that runs already. What was found by then is the answer, at least every
            operation alone, with the bytes that no partition stays under. Nothing but the import of a package that an
            algorithm or split needs (pymoo, torch_geometric) comes on top.
        budget: For searches: distinct partitions that are looked at.
        options: Passed on to the algorithm.

    Returns:
        The partition; ``status``, ``lower_bound`` and ``gap`` say how good it is, ``seconds`` how long all took, the
        fit of an explainer included, ``training_seconds`` that fit alone.

    Raises:
        ConfigError: For an unknown algorithm or split, a limit that is not positive, or a seed that is none.
    """
    if algorithm not in ALGORITHMS:
        raise ConfigError(f"algorithm={algorithm!r} is unknown: {nearest(algorithm, ALGORITHMS)}")
    if isinstance(split, str) and split not in SPLITS:
        raise ConfigError(f"split={split!r} is unknown: {nearest(split, SPLITS)}")
    _above_zero("budget", budget)
    load(algorithm, split)
    deadline = deadline_of(time_limit_s)
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise ConfigError(f"seed={seed!r}: accepted: an integer from 0")
    if not costs.n:
        return Partition((), 0, "optimal", 0)
    if algorithm == "exact":
        return exact_partition(costs, time_limit_s=deadline, **options)
    if algorithm == "interval":
        return interval_partition(costs, time_limit_s=deadline, **options)
    splitter = _splitter(costs, split, seed, deadline) if isinstance(split, str) else split
    found = SEARCHES[algorithm](costs, splitter, budget=budget, seed=seed, time_limit_s=deadline, **options)
    trained = getattr(splitter, "training_seconds", 0.0) if isinstance(split, str) else 0.0
    return replace(found, training_seconds=trained)


def load(algorithm: str, split: str | Splitter) -> None:
    """Import the packages that an algorithm and a split need: seconds, and no part of a time limit."""
    if algorithm in SEARCHES and split in EXPLAINED:
        importlib.import_module("autobuild.cost.fusion.baselines.explainers")
    if algorithm == "nsga2":
        with suppress(ImportError):  # the search says so
            importlib.import_module("pymoo.algorithms.moo.nsga2")


def deadline_of(time_limit_s: float | Deadline) -> Deadline:
    """Seconds that a caller gave as a deadline that runs from now; one that runs already stays as it is.

    Raises:
        ConfigError: It is no number above zero.
    """
    if not isinstance(time_limit_s, Deadline):
        _above_zero("time_limit_s", time_limit_s)
    return Deadline.of(time_limit_s)


def _above_zero(key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not value > 0:
        raise ConfigError(f"{key}={value!r}: accepted: a number above zero")


def _splitter(costs: GroupCosts, split: str, seed: int, deadline: Deadline) -> Splitter:
    if split in SPLITTERS:
        return SPLITTERS[split]
    from autobuild.cost.fusion.baselines.explainers import (
        ExplainedSplitter,  # needs torch, which takes a second to import
    )

    return ExplainedSplitter(costs, split, seed, training_s=Deadline(min(TRAINING_S, deadline.left / 2)))
