"""Baseline: random search over partitions."""

from __future__ import annotations

from autobuild.cost.fusion.baselines.edge_encoding import random_plans
from autobuild.cost.fusion.baselines.search_run import SearchRun


def random_search(run: SearchRun, seed: int) -> None:
    """Evaluate random plans until the run is done. Equal seeds give the same plans for every splitter."""
    batch = 0
    while not run.done:
        for plan in random_plans(run.edges, 100, seed + 1_000_003 * batch):
            if run.done:
                break
            run.evaluate(run.edges.groups(plan))
        batch += 1
