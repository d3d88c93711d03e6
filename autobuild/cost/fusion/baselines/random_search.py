"""Random search over partitions."""

from __future__ import annotations

from autobuild.cost.fusion.baselines.group_splitting import Splitter, split_randomly
from autobuild.cost.fusion.baselines.search_budget import Trial, chance_plans
from autobuild.cost.fusion.deadline import NEVER, Deadline
from autobuild.cost.fusion.partition.partition import GroupCosts, Partition


def random_partition(
    costs: GroupCosts,
    splitter: Splitter = split_randomly,
    budget: int = 5000,
    seed: int = 0,
    time_limit_s: float | Deadline = NEVER,
) -> Partition:
    """The best of many plans drawn by chance, invalid groups split.

    Args:
        costs: The network and the cost of its groups.
        splitter: Names where an invalid group is cut.
        budget: Distinct partitions that are looked at.
        seed: Of the plans and the splits; the plans are the same for every splitter.
        time_limit_s: Seconds after which it ends.
    """
    trial = Trial(costs, splitter, budget, seed, time_limit_s)
    batch = 0
    with trial:
        while not trial.done:
            for plan in chance_plans(trial.links, 100, seed + 1_000_003 * batch):
                if trial.done:
                    break
                trial.look_at(trial.links.groups(plan))
            batch += 1
    return trial.result()
