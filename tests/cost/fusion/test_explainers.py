"""The classifier of groups, explainers, and splits by them."""

from __future__ import annotations

import random

import pytest
import torch

from autobuild.cost.fusion import GroupCosts, fold
from autobuild.cost.fusion.baselines.explainers import ExplainedSplitter, fit_classifier, random_groups, rectify_rate
from autobuild.cost.fusion.baselines.explainers.explained_split import EXPLAINERS
from autobuild.cost.fusion.baselines.explainers.group_features import GroupEncoder, stack
from autobuild.cost.fusion.baselines.group_splitting import SplitAnywhere, cuts_at, split_randomly
from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.partition.solver import EXPLAINER_SPLITS, SEARCHES, solve
from autobuild.cost.fusion.partition.topology import Topology
from autobuild.errors import ConfigError
from autobuild.graphs import graph_of
from tests.cost.fusion.random_nets import RandomNet
from tests.cost.fusion.synthetic import Chosen, SyntheticCosts

HEAVY = 12


@pytest.fixture(scope="module")
def costs():
    """A network in which one operation with large weights makes nearly every invalid group invalid."""
    made = SyntheticCosts(25, 2, density=0.2, buffer=1000)
    made.weights[HEAVY] = 900
    return made


@pytest.fixture(scope="module")
def classifier(costs):
    return fit_classifier(costs, seed=0, time_limit_s=60, samples=600)


def test_random_groups_are_connected_convex_and_balanced(costs):
    topology = Topology.of(costs)
    groups = random_groups(costs, topology, 200, seed=3)
    assert len(set(groups)) == len(groups) == 200
    assert all(topology.connected(group) and topology.convex(group) and group.bit_count() > 1 for group in groups)
    assert 0.2 < sum(costs.dram(group) < 0 for group in groups) / 200 < 0.8
    assert groups == random_groups(costs, topology, 200, seed=3)
    assert groups != random_groups(costs, topology, 200, seed=4)


def test_the_classifier_beats_the_majority_class(classifier):
    assert classifier.accuracy > max(classifier.share_invalid, 1 - classifier.share_invalid) + 0.1
    assert classifier.auc > 0.95
    assert not set(classifier.invalid) & set(classifier.held_out)


def test_the_same_seed_gives_the_same_classifier(costs, classifier):
    again = fit_classifier(costs, seed=0, time_limit_s=60, samples=600)
    assert torch.equal(again.logits(classifier.held_out[:20]), classifier.logits(classifier.held_out[:20]))


def test_features_of_a_group():
    """A chain of three whose middle is asked for: amounts are shares of the buffer, what lies outside counts."""
    costs = SyntheticCosts(3, 0, density=1.0, buffer=100)
    encoder = GroupEncoder(costs)
    graph = encoder.encode(0b110)
    assert graph.op.tolist() == [1, 2]
    assert sorted(map(tuple, graph.edge_index.t().tolist())) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    weights, outside, writes, leaves, _ = (graph.x[0, :5] * 100).tolist()
    read_outside = sum(costs.sizes[i] for i in costs.reads[1] if i != 2)
    assert (weights, outside, writes) == pytest.approx((costs.weights[1], read_outside, costs.sizes[1]))
    assert leaves == pytest.approx(costs.sizes[1] if costs.succs[1] & ~0b110 else 0)


def test_features_contain_types_and_accesses():
    graph = fold(graph_of(net := RandomNet(5, steps=12), net.shape))
    costs = GroupCosts(graph, 400)
    encoder = GroupEncoder(costs)
    types = {op.type for op in graph.ops}
    read = encoder.encode(graph.full)
    assert read.x.shape == (len(graph), encoder.size)
    assert torch.equal(read.x[:, -len(types) :].sum(1), torch.ones(len(graph)))
    assert torch.isfinite(read.x).all()


def test_stacked_graphs_are_read_as_each_alone(classifier):
    graphs = [classifier.encoder.encode(mask) for mask in classifier.held_out[:6]]
    alone = torch.cat([classifier.net(graph.x, graph.edge_index) for graph in graphs])
    assert torch.allclose(classifier.net(*stack(graphs)), alone, atol=1e-5)


def test_occlusion_scores_equal_logit_drops(classifier):
    graph = classifier.encoder.encode(classifier.held_out[0])
    scores = EXPLAINERS["occlusion"](classifier)(graph)
    for k in range(graph.num_nodes):
        x = graph.x.clone()
        x[k] = 0
        fall = classifier.net(graph.x, graph.edge_index) - classifier.net(x, graph.edge_index)
        assert scores[k] == pytest.approx(fall.item(), abs=1e-3)


@pytest.mark.parametrize("method", EXPLAINER_SPLITS)
def test_explainers_name_the_responsible_operation(costs, classifier, method):
    """In nearly every invalid group the operation with large weights is among the three with the highest scores."""
    splitter = ExplainedSplitter(costs, method, classifier=classifier, training_s=15)
    rng = random.Random(0)
    groups = [group for group in classifier.held_out if group >> HEAVY & 1 and group.bit_count() > 5][:30]
    named = [splitter(costs, group, rng) for group in groups]
    assert all(group >> i & 1 for group, names in zip(groups, named, strict=True) for i in names)
    by_chance = sum(3 / group.bit_count() for group in groups)
    hits = sum(HEAVY in names for names in named)
    assert hits > by_chance + (len(groups) - by_chance) / 3
    assert [splitter(costs, group, rng) for group in groups] == named
    assert splitter.training_seconds > 0
    assert splitter.explaining_seconds > 0


def test_rectify_rate_counts_first_cuts(costs, classifier):
    groups = classifier.held_out[:40]
    topology = Topology.of(costs)
    possible = [
        any(all(costs.dram(p) >= 0 for p in pieces) for i in bits(g) for pieces in cuts_at(topology, g, i))
        for g in groups
    ]
    rate = rectify_rate(costs, SplitAnywhere(), groups)
    assert 0 < rate <= sum(possible) / 40
    assert 0 <= rectify_rate(costs, split_randomly, groups) <= sum(possible) / 40


@pytest.mark.parametrize("algorithm", SEARCHES)
def test_searches_take_explanations(costs, classifier, algorithm):
    splitter = ExplainedSplitter(costs, "occlusion", classifier=classifier)
    found = solve(costs, algorithm, splitter, budget=60)
    assert found.plans == 60
    assert found.dram_bytes == sum(costs.dram(group) for group in found.groups)


def test_solve_counts_the_fit():
    costs = SyntheticCosts(12, 2, density=0.3, buffer=150)
    found = solve(costs, "random", "occlusion", time_limit_s=4, budget=20)
    assert found.seconds > found.training_seconds > 0.05
    assert found.training_seconds < 3  # half of the limit at most, and the last step of the fit
    assert found.seconds < 8
    assert solve(costs, "random", "oracle", budget=20).training_seconds == 0


def test_wrong_explainers_are_named(costs):
    with pytest.raises(ConfigError, match="did you mean 'occlusion'"):
        ExplainedSplitter(costs, "oclusion")
    with pytest.raises(ConfigError, match="needs costs that list tensors and weights"):
        ExplainedSplitter(Chosen(2, [(0, 1)], {}), "occlusion")
