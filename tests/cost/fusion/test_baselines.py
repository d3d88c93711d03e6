"""Searches over partitions and the splitting of invalid groups."""

from __future__ import annotations

import random

import pytest

from autobuild.cost.fusion.baselines.edge_encoding import FusibleEdges, random_plans
from autobuild.cost.fusion.baselines.group_splitting import (
    SPLITTERS,
    SplitAnywhere,
    best_cut,
    cuts_at,
    expected_bytes,
    split_randomly,
    split_tree,
)
from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.partition.exact import exact_partition
from autobuild.cost.fusion.partition.partition import group_dram, partition_violation
from autobuild.cost.fusion.partition.solver import SEARCHES, solve
from autobuild.cost.fusion.partition.topology import Topology
from autobuild.errors import ConfigError
from tests.cost.fusion.synthetic import Chosen, SyntheticCosts

NETWORK = {"n": 30, "seed": 4, "density": 0.15, "buffer": 220}


def network() -> SyntheticCosts:
    return SyntheticCosts(**NETWORK)


@pytest.mark.parametrize("seed", range(20))
def test_cuts_of_a_partition_give_a_partition(seed):
    """Cutting a group of a partition gives a partition."""
    topology = Topology.of(SyntheticCosts(9, seed, density=0.3))
    everything = topology.pieces(topology.everything)
    for group in everything:
        for operation in bits(group):
            for pieces in cuts_at(topology, group, operation):
                assert partition_violation(topology, [*(g for g in everything if g != group), *pieces]) is None
                assert len(pieces) > 1


def test_a_group_of_two_can_be_cut_at_either():
    topology = Topology.of(Chosen(2, [(0, 1)], {}))
    assert cuts_at(topology, 3, 0) == cuts_at(topology, 3, 1) == [(1, 2)]


@pytest.mark.parametrize("splitter", SPLITTERS.values(), ids=SPLITTERS)
def test_splitting_ends_with_valid_groups(splitter):
    costs = network()
    topology = Topology.of(costs)
    for piece in topology.pieces(topology.everything):
        groups = split_tree(costs, topology, piece, splitter, random.Random(0))
        assert all(group_dram(costs, group) >= 0 for group in groups)
        assert sum(groups) == piece


def test_expected_bytes_of_an_invalid_group():
    costs = network()
    topology = Topology.of(costs)
    alone = sum(costs.dram(1 << i) for i in range(len(topology)))
    assert costs.dram(topology.everything) < 0
    assert costs(topology.everything).dram_bytes < expected_bytes(costs, topology.everything) < alone
    assert expected_bytes(costs, 3) == costs.dram(3)
    group = topology.pieces(topology.everything)[0]
    cuts = [pieces for i in bits(group) for pieces in cuts_at(topology, group, i)]
    kept = best_cut(costs, topology, group, list(bits(group)))
    assert sum(expected_bytes(costs, g) for g in kept) == min(sum(expected_bytes(costs, g) for g in c) for c in cuts)


@pytest.mark.parametrize("seed", range(30))
def test_every_plan_is_a_partition_and_every_partition_a_plan(seed):
    costs = SyntheticCosts(8, seed, density=(0.2, 0.4)[seed % 2], buffer=10**6, inputs=1 + seed % 3)
    topology = Topology.of(costs)
    edges = FusibleEdges.of(costs, topology)
    for plan in random_plans(edges, 30, seed):
        groups = edges.groups(plan)
        assert partition_violation(topology, groups) is None
        assert sorted(edges.groups(edges.plan(groups))) == sorted(groups)


def test_plans_with_a_cycle_are_repaired():
    """a1 -> a2, a1 -> b1, b2 -> b1, b2 -> a2, with a1-a2 and b2-b1 fused: only one of the two can be."""
    costs = Chosen(4, [(0, 2), (0, 3), (1, 2), (1, 3)], {})
    topology = Topology.of(costs)
    edges = FusibleEdges(topology, ((0, 2), (1, 2), (0, 3), (1, 3)), ((), (), ((0, 0), (1, 1)), ((2, 0), (3, 1))))
    groups = edges.groups([True, False, False, True])
    assert partition_violation(topology, groups) is None
    assert sorted(map(int.bit_count, groups)) == [1, 1, 2]


def test_pairs_that_never_fit_are_left_out():
    costs = network()
    costs.weights[7] = 10**6
    costs._cost.cache_clear()
    edges = FusibleEdges.of(costs, Topology.of(costs))
    assert not any(7 in pair for pair in edges.pairs)
    assert edges.pairs


@pytest.mark.parametrize("algorithm", SEARCHES)
@pytest.mark.parametrize("split", SPLITTERS)
def test_searches_find_valid_partitions(algorithm, split):
    costs = network()
    best = exact_partition(costs)
    found = solve(costs, algorithm, split, seed=1, budget=150)
    assert partition_violation(Topology.of(costs), found.groups) is None
    assert found.dram_bytes == sum(costs.dram(group) for group in found.groups)
    assert best.dram_bytes <= found.dram_bytes < 1.5 * best.dram_bytes
    assert found.lower_bound <= best.dram_bytes
    assert found.status == "heuristic"
    assert found.plans == len(found.trace) == 150
    assert list(found.trace) == sorted(found.trace, reverse=True)
    again = solve(network(), algorithm, split, seed=1, budget=150)
    assert (again.groups, again.trace) == (found.groups, found.trace)


def test_initial_plans_are_the_same_for_all():
    traces = {search(network(), SplitAnywhere(), budget=40, seed=3).trace for search in SEARCHES.values()}
    assert len(traces) == 1


def test_local_search_finds_the_optimum_of_a_small_network():
    costs = SyntheticCosts(14, 3, density=0.2, buffer=160)
    assert solve(costs, "local", "random", budget=800).dram_bytes == exact_partition(costs).dram_bytes


def test_a_search_ends_if_there_are_few_partitions():
    costs = SyntheticCosts(3, 0, buffer=10**6)
    for algorithm in SEARCHES:
        found = solve(costs, algorithm, budget=1000)
        assert found.plans <= 5
        assert found.seconds < 20


def test_a_search_without_time_leaves_every_operation_alone():
    costs = network()
    for search in SEARCHES.values():
        found = search(costs, split_randomly, budget=10, time_limit_s=0.0)
        assert len(found.groups) == costs.n
        assert found.lower_bound <= exact_partition(costs).dram_bytes <= found.dram_bytes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": "exakt"}, "did you mean 'exact'"),
        ({"algorithm": "local", "split": "orakel"}, "did you mean 'oracle'"),
        ({"time_limit_s": 0}, "accepted: a number above zero"),
        ({"algorithm": "random", "budget": 0}, "accepted: a number above zero"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        solve(network(), **options)
