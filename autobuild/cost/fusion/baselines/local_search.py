"""Baseline: iterated local search over partitions. Steps merge two groups, cut a group, or move an operation."""

from __future__ import annotations

import random

from autobuild.cost.fusion.baselines.edge_encoding import INITIAL_PLANS, FusibleEdges, random_plans
from autobuild.cost.fusion.baselines.group_splitting import cuts_at
from autobuild.cost.fusion.baselines.search_run import SearchRun
from autobuild.cost.fusion.bitmask import bits

PATIENCE = 150  # proposals without improvement before the search restarts
# A splitter that always cuts a group at the same place undoes a merge step. So half of the cuts are random.
EXPLORE = 0.5
KICKS = 4  # random steps of a perturbation


def local_search(run: SearchRun, seed: int) -> None:
    """Iterated local search. A step is accepted unless it adds DRAM bytes.

    After :data:`PATIENCE` proposals without improvement it restarts, in turns from an initial partition and from the
    perturbed best one. Groups that a step makes invalid are cut by the splitter or, with equal probability, at random.
    """
    initial = [
        run.evaluate(run.edges.groups(plan)) for plan in random_plans(run.edges, INITIAL_PLANS, seed) if not run.done
    ]
    current = run.best
    idle, restarts = 0, 0
    while current is not None and not run.done:
        groups = _step(run.edges, current[1], run.rng)
        if groups is None:
            run.proposals += 1
            continue
        proposed = run.evaluate(groups, EXPLORE)
        idle = 0 if proposed[0] < current[0] else idle + 1
        if proposed[0] <= current[0]:
            current = proposed
        if idle > PATIENCE:
            current = run.rng.choice(initial) if restarts % 2 == 0 else _perturb(run)
            idle, restarts = 0, restarts + 1


def _perturb(run: SearchRun) -> tuple[int, tuple[int, ...]]:
    assert run.best is not None
    current = run.best
    for _ in range(KICKS):
        if (groups := _step(run.edges, current[1], run.rng)) is not None:
            current = run.evaluate(groups, EXPLORE)
    return current


def _step(edges: FusibleEdges, groups: tuple[int, ...], rng: random.Random) -> list[int] | None:
    """A random neighbour of a partition; its groups may be invalid. None if the step is not possible."""
    topology = edges.topology
    across = _pairs(edges, groups)
    kind = rng.random()
    if kind < 0.2 or not across:
        group = rng.choice(groups)
        cuts = cuts_at(topology, group, rng.choice(list(bits(group))))
        return [*(g for g in groups if g != group), *rng.choice(cuts)] if cuts else None
    (i, one), (_, other) = rng.choice(across)
    changed = [one | other] if kind < 0.5 else [other | 1 << i, *topology.pieces(one & ~(1 << i))]
    stepped = [*(g for g in groups if g not in (one, other)), *changed]
    return stepped if topology.order_groups(stepped) is not None else None


def _pairs(edges: FusibleEdges, groups: tuple[int, ...]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Edges between two groups, in both directions: ((operation, its group), (operation, its group))."""
    group_of = {i: group for group in groups for i in bits(group)}
    crossing = []
    for i, j in edges.pairs:
        if group_of[i] != group_of[j]:
            crossing += [((i, group_of[i]), (j, group_of[j])), ((j, group_of[j]), (i, group_of[i]))]
    return crossing
