"""Group costs that networks share equal those of each network alone."""

import random

import pytest

import autobuild as ab
from autobuild.cost.fusion import GroupCosts, fold
from autobuild.cost.fusion import group_cost_cache as module
from autobuild.cost.fusion.group_cost_cache import CachedGroupCosts
from autobuild.cost.fusion.partition.feasible_groups import feasible_groups
from autobuild.cost.fusion.partition.topology import Topology


@pytest.mark.parametrize("scheme", ["lbdf", "brr", "mixed"])
@pytest.mark.parametrize("name", ["nas_bench_macro", "mnasnet", "ofa_resnet50"])
def test_a_group_costs_what_it_costs_alone(name, scheme, monkeypatch):
    monkeypatch.setattr(module, "_known", {})
    monkeypatch.setattr(module, "_ids", {})
    space, rng, hits = ab.space(name), random.Random(1), 0
    first = space.sample(1, seed=2, design="depth")[0]
    for arch in (first, *(space.mutate(first, seed=seed) for seed in range(3))):
        graph = fold(ab.graph_of(space, arch))
        alone, shared = GroupCosts(graph, 200_000, scheme), CachedGroupCosts(graph, 200_000, scheme)
        topology = Topology.of(alone)
        groups = list(feasible_groups(alone, topology)) + [rng.randrange(1, graph.full + 1) for _ in range(20)]
        for group in [*(1 << i for i in range(alone.n)), *rng.sample(groups, min(len(groups), 40))]:
            before = len(shared._shared)
            assert shared.dram(group) == alone.dram(group)
            assert shared.surely_invalid(group) == alone.surely_invalid(group)
            hits += len(shared._shared) == before
            assert shared(group) == alone(group)
    assert hits > 10  # such networks have groups in common
    again = CachedGroupCosts(fold(ab.graph_of(space, first)), 200_000, scheme)
    for i in range(again.n):
        assert again.dram(1 << i) == CachedGroupCosts(again.graph, 200_000, scheme).computed.dram(1 << i)
    assert "computed" not in again.__dict__  # its operations were all known


def test_wiring_beyond_a_group_tells_it_from_another():
    """The same two convolutions: with a skip over the second the first one's map is needed once more."""
    from torch import nn

    from autobuild.spaces.modules import Residual

    plain = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1))
    skip = nn.Sequential(plain[0], Residual(plain[1]), plain[2])
    found = [CachedGroupCosts(fold(ab.graph_of(net, (1, 4, 8, 8))), 10_000).dram(0b11) for net in (plain, skip)]
    weights = 2 * (4 * 4 * 9 + 4 * 4)
    assert found == [weights + 2 * 256, weights + 3 * 256]


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "_known", {})
    monkeypatch.setattr(module, "MAX_GROUPS", 5)
    space = ab.space("nas_bench_macro")
    for arch in space.sample(5, seed=0):
        shared = CachedGroupCosts(fold(ab.graph_of(space, arch)), 100_000)
        for i in range(6):
            shared.dram(1 << i)
        assert sum(map(len, module._known.values())) <= 5 + 6
