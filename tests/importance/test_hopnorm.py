"""The hop-norm scorer against the paper's formula written out, and the tables around it."""

import numpy as np
import pytest
import torch

import autobuild as ab
from autobuild.errors import ConfigError
from autobuild.graphs import pack_architectures, pack_candidates
from autobuild.importance import hopnorm, norm_moments, register_scorer
from autobuild.importance.hopweighted_scorer import hopweighted
from autobuild.importance.norm_scores import hop_weights
from autobuild.models import FitConfig
from autobuild.testing import ScorerConformance


class TestHopnorm(ScorerConformance):
    @pytest.fixture
    def scorer(self):
        return hopnorm

    @pytest.fixture
    def model(self, small_model):
        return small_model


class TestHopweighted(ScorerConformance):
    @pytest.fixture
    def scorer(self):
        return hopweighted

    @pytest.fixture
    def model(self, small_model):
        return small_model


def test_hopweighted_equals_the_formula(small_model):
    """Every candidate in one labelled architecture after another, its last layer's norms read from the whole graph."""
    space, model = small_model.space, small_model
    moments, weights = norm_moments(model), hop_weights(model.report, model.hops + 1)
    assert 0 < weights.max() < 1
    order = np.argsort(model.training["target"].to_numpy(), kind="stable")
    contexts = [model.training_archs[order[round(p)]] for p in np.linspace(0, len(order) - 1, 16)]
    scored = hopweighted(model, space)
    for u, unit in enumerate(space.units):
        for i in (0, unit.size - 1):
            norms = []
            for context in contexts:
                chosen = list(space.indices(context))
                chosen[u] = i
                arch = space.assemble(chosen)
                last = sum(space.candidate(arch, v).depth for v in range(u + 1)) - 1
                norms.append(model.node_norms(pack_architectures(space, [arch]))[:, last])
            z = (np.mean(norms, axis=0) - moments.mean) / moments.sd
            assert scored[u].score[i] == pytest.approx(model.mean + model.sd * float(weights @ z), rel=1e-5)


def test_scores_equal_the_formula(small_model):
    """score = mean_y(u,l) + sd_y(u,l) * (|h_root at hop l-1| - mu) / sigma, one candidate at a time."""
    space = small_model.space
    encoder = small_model.network.encoder
    target = small_model.training["target"].to_numpy()
    with torch.no_grad():
        everything = encoder(pack_architectures(space, small_model.training_archs)).nodes
    scored = hopnorm(small_model, space)
    for u, unit in enumerate(space.units):
        depths = np.array([space.candidate(arch, u).depth for arch in small_model.training_archs])
        for i in range(unit.size):
            depth = unit.candidate(i).depth
            with torch.no_grad():
                root = encoder(pack_candidates(space, u, np.array([i]))).nodes[depth - 1][-1]
            norms = everything[depth - 1].abs().sum(1).double().numpy()
            own = target[depths == depth]
            expected = own.mean() + own.std() * (float(root.abs().sum()) - norms.mean()) / norms.std()
            assert scored[u].score[i] == pytest.approx(expected, rel=1e-5)
            assert scored[u].hops[i] == depth - 1
            assert not scored[u].unseen_depth[i]


def test_good_layers_score_high(small_model):
    """The truth grows with width and kernel: of candidates of one depth the widest must beat the narrowest."""
    table = small_model.explain(scorer="hopnorm").candidates
    for _, group in table.groupby("unit"):
        score = group.set_index("candidate")["score"]
        assert score["w2k5"] > score["w1k3"]
        assert score["w2k5-w2k5"] > score["w1k3-w1k3"]


def test_an_unseen_depth_borrows_and_is_flagged(small_labels):
    shallow = [i for i, arch in enumerate(small_labels.archs) if len(arch.runs[0]) == 1]
    model = ab.fit(small_labels.subset(shallow), config=FitConfig(epochs=3, holdout=0), model="graph")
    table = model.explain(scorer="hopnorm").candidates
    unseen = table[(table["unit"] == "a") & (table["hops"] == 1)]
    assert unseen["unseen_depth"].all()
    assert (unseen["n_seen"] == 0).all()
    assert not table[(table["unit"] == "b")]["unseen_depth"].any()


def test_n_seen_counts_by_brute_force(small_model):
    table = small_model.explain(scorer="hopnorm").candidates.set_index(["unit", "candidate"])
    texts = {"a": [], "b": []}
    for arch in small_model.training_archs:
        for unit, text in zip("ab", arch.text.split("|"), strict=True):
            texts[unit].append(text)
    for unit, seen in texts.items():
        for candidate in small_model.space.units["ab".index(unit)]:
            row = table.loc[(unit, candidate.text)]
            assert row["n_seen"] == seen.count(candidate.text)
            values = {part for layer in candidate.text.split("-") for part in (layer[:2], layer[2:])}
            assert row["n_seen_rarest"] == min(sum(value in text for text in seen) for value in values)


def test_feature_and_layer_tables(small_model):
    scores = small_model.explain(scorer="hopnorm")
    features = scores.features
    assert set(features.columns) == {"feature", "value", "score", "effect", "n_seen"}
    assert (features["score"] >= 0).all()
    width = features[features["feature"] == "width"].set_index("value")["effect"]
    assert width[2] > width[1]
    nodes = sum(len(run) for arch in small_model.training_archs for run in arch.runs)
    assert (features.groupby("feature")["n_seen"].sum() == nodes).all()
    # effects of a feature average to zero over the nodes seen
    for _, group in features.groupby("feature"):
        assert (group["effect"] * group["n_seen"]).sum() == pytest.approx(0, abs=1e-6 * nodes)
    assert scores.operations["n_seen"].sum() == nodes
    assert scores.layers["n_seen"].sum() == nodes
    assert (scores.layers["score_range"] >= 0).all()


def test_node_scores_are_calibrated(small_model):
    scores = small_model.explain(scorer="hopnorm")
    z = norm_moments(small_model)
    arch = small_model.training_archs[0]
    table = scores.node_scores(arch)
    with torch.no_grad():
        nodes = small_model.network.encoder(pack_architectures(small_model.space, [arch])).nodes
    for hop, node in enumerate(nodes):
        norm = node.abs().sum(1).double().numpy()
        expected = small_model.mean + small_model.sd * (norm - z.mean[hop]) / z.sd[hop]
        np.testing.assert_allclose(table[f"hop{hop}"], expected, rtol=1e-4)


def test_scorers_are_pluggable(small_model, own_plugins):
    @register_scorer("constant_for_a_test")
    def constant(model, space):
        scored = hopnorm(model, space)
        return [type(s)(np.zeros_like(s.score), s.hops, s.unseen_depth) for s in scored]

    scores = small_model.explain(scorer="constant_for_a_test")
    assert (scores.candidates["score"] == 0).all()
    assert small_model.explain(scorer=constant).scorer == "constant"
    with pytest.raises(ConfigError, match="did you mean 'hopnorm'"):
        small_model.explain(scorer="hopnrm")


def test_too_few_hops_and_other_spaces_are_refused(small_labels, small_model, mbv3):
    shallow = ab.fit(small_labels, config=FitConfig(epochs=1), encoder=ab.EncoderConfig(hops=1), model="graph")
    assert len(shallow.explain(scorer="hopnorm").candidates) == 40
    with pytest.raises(ConfigError, match=r"encoder.hops=3"):
        shallow.explain(shallow.space.join_units(0, 1), scorer="hopnorm")
    with pytest.raises(ConfigError, match="fitted on 'small'"):
        small_model.explain(mbv3)


def test_joined_units_are_scored_at_the_hop_of_their_whole_depth(small_model):
    """A joined candidate is one chain of both stages: depths add up, and so do the depths of the labels."""
    space = small_model.space.join_units("a", "b")
    encoder = small_model.network.encoder
    target = small_model.training["target"].to_numpy()
    depths = np.array([sum(map(len, arch.runs)) for arch in small_model.training_archs])
    moments = norm_moments(small_model)
    (scored,) = hopnorm(small_model, space)
    for i in range(0, space.units[0].size, 37):
        candidate = space.units[0].candidate(i)
        hop = sum(len(run) for run in candidate.digits) - 1
        with torch.no_grad():  # with both units joined the candidate is the whole architecture
            root = encoder(pack_architectures(space, [space.parse(candidate.text)])).nodes[hop][-1]
        own = target[depths == hop + 1]
        expected = own.mean() + own.std() * (float(root.abs().sum()) - moments.mean[hop]) / moments.sd[hop]
        assert scored.hops[i] == hop
        assert scored.score[i] == pytest.approx(expected, rel=1e-4)


def test_hops_weigh_by_how_well_they_rank_what_was_held_out():
    weights = hop_weights({"hop_srcc": [0.5, -0.2, 1.0], "hop_ndcg": [0.8, 1.0, 0.6]}, 3)
    assert weights.tolist() == pytest.approx([0.4, 0.0, 0.6])
    for unknown in ({}, {"hop_srcc": None, "hop_ndcg": None}, {"hop_srcc": [-1.0, None, -0.1], "hop_ndcg": [1, 1, 1]}):
        assert hop_weights(unknown, 3).tolist() == pytest.approx([1 / 3] * 3)


def test_scores_of_operations_are_the_weighted_mean_of_their_hops(small_model):
    table = small_model.explain(scorer="hopnorm").operations
    hops = table[[name for name in table if name.startswith("hop")]]
    weights = hop_weights(small_model.report, hops.shape[1])
    assert weights.sum() == pytest.approx(1)
    assert table["score"].to_numpy() == pytest.approx(hops.to_numpy() @ weights)
