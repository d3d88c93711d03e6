"""Solve the partition problem by name of the algorithm: exact, interval, or one of the baseline searches."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np

from autobuild.cost.fusion.baselines.group_splitting import SPLITTERS, Splitter
from autobuild.cost.fusion.baselines.local_search import local_search
from autobuild.cost.fusion.baselines.nsga2 import nsga2
from autobuild.cost.fusion.baselines.random_search import random_search
from autobuild.cost.fusion.baselines.search_run import run_search
from autobuild.cost.fusion.deadline import Deadline
from autobuild.cost.fusion.partition.dynamic_programming import interval_partition
from autobuild.cost.fusion.partition.exact import exact_partition
from autobuild.cost.fusion.partition.partition import AnyGroupCosts, Partition
from autobuild.errors import ConfigError, nearest

SEARCHES: dict[str, Callable[..., Partition]] = {
    "random": partial(run_search, random_search),
    "local": partial(run_search, local_search),
    "nsga2": partial(run_search, nsga2),
}
ALGORITHMS = ("exact", "interval", *SEARCHES)
TRAINING_S = 30.0  # time limit of fitting a classifier and an explainer
EXPLAINER_SPLITS = ("gnnexplainer", "pgexplainer", "rg", "occlusion")
SPLITS = (*SPLITTERS, *EXPLAINER_SPLITS)


def solve(
    costs: AnyGroupCosts,
    algorithm: str = "exact",
    split: str | Splitter = "random",
    seed: int = 0,
    time_limit_s: float | Deadline = 60.0,
    budget: int = 5000,
    **options: Any,
) -> Partition:
    """Partition a network into fusion groups with few DRAM bytes.

    Args:
        costs: Costs of the groups of a network.
        algorithm: One of :data:`ALGORITHMS`. ``exact`` finds the optimum and is faster than the searches. ``interval``
            is a fast heuristic. ``random``, ``local`` and ``nsga2`` are baselines.
        split: For searches: where invalid groups are cut; a splitter, or one of :data:`SPLITS`. Those of
            :data:`EXPLAINER_SPLITS` first fit a graph classifier to the network's groups, in up to half of the time.
        seed: For searches: seed of all random choices.
        time_limit_s: Seconds, or a deadline that already runs. When it passes, the best partition so far is returned,
            in the worst case every operation as its own group. The import of pymoo or torch_geometric is not counted.
        budget: For searches: number of distinct partitions to evaluate.
        options: Further arguments of the algorithm.

    Returns:
        The partition. ``status``, ``lower_bound`` and ``gap`` say how good it is. ``seconds`` is the total time,
        ``training_seconds`` the part that was spent on fitting a classifier and an explainer.

    Raises:
        ConfigError: The algorithm or split is unknown, a limit is not positive, or the seed is not an integer from 0.
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
    partition = SEARCHES[algorithm](costs, splitter, budget=budget, seed=seed, time_limit_s=deadline, **options)
    trained = getattr(splitter, "training_seconds", 0.0) if isinstance(split, str) else 0.0
    return replace(partition, training_seconds=trained)


def load(algorithm: str, split: str | Splitter) -> None:
    """Import the packages that an algorithm and a split need. This takes seconds and is not part of a time limit."""
    if algorithm in SEARCHES and split in EXPLAINER_SPLITS:
        importlib.import_module("autobuild.cost.fusion.baselines.explainers")
    if algorithm == "nsga2":
        with suppress(ImportError):  # the search raises ConfigError
            importlib.import_module("pymoo.algorithms.moo.nsga2")


def deadline_of(time_limit_s: float | Deadline) -> Deadline:
    """A time limit as a deadline that starts now. A deadline that already runs is returned unchanged.

    Args:
        time_limit_s: Seconds, or a deadline.

    Raises:
        ConfigError: It is not a number above zero.
    """
    if not isinstance(time_limit_s, Deadline):
        _above_zero("time_limit_s", time_limit_s)
    return Deadline.of(time_limit_s)


def _above_zero(key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not value > 0:
        raise ConfigError(f"{key}={value!r}: accepted: a number above zero")


def _splitter(costs: AnyGroupCosts, split: str, seed: int, deadline: Deadline) -> Splitter:
    if split in SPLITTERS:
        return SPLITTERS[split]
    from autobuild.cost.fusion.baselines.explainers import (
        ExplainedSplitter,  # needs torch, which takes a second to import
    )

    return ExplainedSplitter(costs, split, seed, training_s=Deadline(min(TRAINING_S, deadline.left / 2)))
