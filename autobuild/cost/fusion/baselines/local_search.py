"""Local search over partitions: merge two groups, cut one, move an operation."""

from __future__ import annotations

import random

from autobuild.cost.fusion.baselines.group_splitting import Splitter, cuts_at, split_randomly
from autobuild.cost.fusion.baselines.search_budget import Links, Trial, chance_plans
from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.deadline import NEVER, Deadline
from autobuild.cost.fusion.partition.partition import GroupCosts, Partition

INITIAL = 100  # plans by chance that a search begins with
PATIENCE = 150  # proposals without a better partition before the best is shaken
# A splitter that always cuts a group at the same place undoes a step that merged two: half of the time chance does.
EXPLORE = 0.5
KICKS = 4  # steps of a shake


def local_partition(
    costs: GroupCosts,
    splitter: Splitter = split_randomly,
    budget: int = 5000,
    seed: int = 0,
    time_limit_s: float | Deadline = NEVER,
) -> Partition:
    """Iterated local search: a step is kept unless it costs bytes; after a while without progress, the best is shaken.

    Groups that a step makes invalid are cut where the splitter says, and as often by chance.

    Args:
        costs: The network and the cost of its groups.
        splitter: Names where an invalid group is cut.
        budget: Distinct partitions that are looked at, the initial ones among them.
        seed: Of the initial plans, the steps and the splits; the initial plans are those of the other searches.
        time_limit_s: Seconds after which it ends.
    """
    trial = Trial(costs, splitter, budget, seed, time_limit_s)
    with trial:
        _search(trial, seed)
    return trial.result()


def _search(trial: Trial, seed: int) -> None:
    begun = [
        trial.look_at(trial.links.groups(plan)) for plan in chance_plans(trial.links, INITIAL, seed) if not trial.done
    ]
    current = trial.best
    idle, shakes = 0, 0
    while current is not None and not trial.done:
        groups = _step(trial.links, current[1], trial.rng)
        if groups is None:
            trial.proposals += 1
            continue
        found = trial.look_at(groups, EXPLORE)
        idle = 0 if found[0] < current[0] else idle + 1
        if found[0] <= current[0]:
            current = found
        if idle > PATIENCE:
            # In turns: the best a few steps off, and another beginning, since a good one can lead nowhere.
            current = trial.rng.choice(begun) if shakes % 2 == 0 else _shake(trial)
            idle, shakes = 0, shakes + 1


def _shake(trial: Trial) -> tuple[int, tuple[int, ...]]:
    assert trial.best is not None
    current = trial.best
    for _ in range(KICKS):
        if (groups := _step(trial.links, current[1], trial.rng)) is not None:
            current = trial.look_at(groups, EXPLORE)
    return current


def _step(links: Links, groups: tuple[int, ...], rng: random.Random) -> list[int] | None:
    """A partition one step away, perhaps with invalid groups; None for a step that is none."""
    order = links.order
    across = [(a, b) for a, b in _pairs(links, groups)]
    kind = rng.random()
    if kind < 0.2 or not across:
        group = rng.choice(groups)
        cuts = cuts_at(order, group, rng.choice(list(bits(group))))
        return [*(g for g in groups if g != group), *rng.choice(cuts)] if cuts else None
    (i, one), (_, other) = rng.choice(across)
    changed = [one | other] if kind < 0.5 else [other | 1 << i, *order.pieces(one & ~(1 << i))]
    stepped = [*(g for g in groups if g not in (one, other)), *changed]
    return stepped if order.order_groups(stepped) is not None else None


def _pairs(links: Links, groups: tuple[int, ...]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Links between groups, both ways round: an operation with its group, and the other one with its own."""
    owner = {i: group for group in groups for i in bits(group)}
    found = []
    for i, j in links.pairs:
        if owner[i] != owner[j]:
            found += [((i, owner[i]), (j, owner[j])), ((j, owner[j]), (i, owner[i]))]
    return found
