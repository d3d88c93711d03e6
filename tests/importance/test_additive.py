"""Additive scores: they add up, find a planted truth, carry intervals that mean something, and say what they cannot."""

import numpy as np
import pytest
from scipy.stats import spearmanr

import autobuild as ab
from autobuild.importance import AdditiveScores, project
from autobuild.testing.scorers import ScorerConformance
from tests.conftest import true_score


@pytest.fixture(scope="module")
def model(small_labels):
    return ab.fit(small_labels, "acc", model="gp")


@pytest.fixture(scope="module")
def scores(model):
    return model.explain()


class TestAdditive(ScorerConformance):
    @pytest.fixture
    def scorer(self):
        return "additive"

    @pytest.fixture
    def model(self, small_labels):
        return ab.fit(small_labels, "acc", model="linear")

    def test_scores_every_candidate(self, model):
        super().test_scores_every_candidate(lambda m, space: project(m, space).units, model)

    def test_scores_are_repeatable(self, model):
        super().test_scores_are_repeatable(lambda m, space: project(m, space).units, model)

    def test_a_narrowed_space_keeps_its_scores(self, model):
        """A score is a difference from an average network of its space: differences are kept, not the zero."""
        kept = {unit.name: np.arange(0, unit.size, 3) for unit in model.space.units}
        whole, part = project(model).units, project(model, model.space.restrict(dict(kept))).units
        for unit, a, b in zip(model.space.units, whole, part, strict=True):
            one = a.score[kept[unit.name]]
            np.testing.assert_allclose(one - one.mean(), b.score - b.score.mean(), atol=0.05)


def test_scores_add_up_to_the_prediction(model, scores):
    assert isinstance(scores, AdditiveScores)
    archs = model.space.sample(100, seed=8)
    sums, predicted = scores.projection.sums(archs), model.predict_mean(archs)
    left = predicted - sums
    assert scores.projection.share > 0.97
    assert left.std() < 3 * scores.projection.remainder_sd + 1e-3
    by_hand = [
        scores.base + sum(u.score[i] for u, i in zip(scores.units, model.space.indices(arch), strict=True))
        for arch in archs
    ]
    np.testing.assert_allclose(sums, by_hand)


def test_candidates_follow_the_planted_truth(small_space, scores):
    for number, unit in enumerate(small_space.units):
        truth = [
            true_score(small_space, small_space.assemble([index if place == number else 0 for place in range(2)]))
            for index in range(unit.size)
        ]
        assert spearmanr(truth, scores.units[number].score).statistic > 0.97
        assert np.ptp(scores.units[number].score) == pytest.approx(np.ptp(truth), rel=0.15)  # in units of the target


def test_tables_are_in_units_of_the_target(scores):
    places = scores.places
    assert list(places.columns) == ["unit", "layer", "feature", "value", "effect", "lower", "upper", "n_seen"]
    row = places.set_index(["unit", "layer", "feature", "value"])["effect"]
    # the truth: 0.3 a step of width in unit a, twice that in unit b; 0.1 a unit of kernel
    assert row["a", 1, "width", 2] - row["a", 1, "width", 1] == pytest.approx(0.3, abs=0.08)
    assert row["b", 1, "width", 2] - row["b", 1, "width", 1] == pytest.approx(0.6, abs=0.1)
    assert row["b", 1, "kernel", 5] - row["b", 1, "kernel", 3] == pytest.approx(0.4, abs=0.1)
    assert (places["lower"] <= places["effect"]).all()
    assert set(scores.features["feature"]) == {"depth", "width", "kernel"}
    layers = ["unit", "layer", "score", "lower", "upper", "score_without", "score_range", "best", "n_seen"]
    assert list(scores.layers.columns) == layers
    first = scores.operations.iloc[0]
    assert (first["unit"], first["layer"], first["width"], first["kernel"]) == ("a", 1, 2, 5)
    assert {"lower", "upper"} <= set(scores.candidates.columns)


def test_intervals_of_effects_cover_the_truth():
    """Over several draws of 60 noisy labels, 90 % intervals of place effects hold the planted ones most of the time."""
    space = ab.sequence_space("plain", {"a": 1, "b": 1, "c": 1}, {"w": [1, 2, 3], "k": [1, 2, 3]}, text="w{w}k{k}")
    archs = list(dict.fromkeys(space.sample(2000, seed=0)))
    rng, held = np.random.default_rng(5), []
    worth = rng.normal(size=(3, 2, 3))
    for seed in range(6):
        rows = np.random.default_rng(seed).permutation(len(archs))[:60]
        truth = [
            sum(
                worth[s, 0, layer["w"] - 1] + worth[s, 1, layer["k"] - 1]
                for s, (layer,) in enumerate(space.layers(archs[row]))
            )
            for row in rows
        ]
        noisy = np.array(truth) + 0.5 * np.random.default_rng(100 + seed).normal(size=60)
        frame = {"arch": [archs[row].text for row in rows], "acc": noisy}
        labels = ab.LabelledSet.from_frame(__import__("pandas").DataFrame(frame), space)
        places = ab.fit(labels, "acc", model="gp").explain().places
        for (unit, feature), group in places.groupby(["unit", "feature"]):
            own = worth["abc".index(unit), "wk".index(feature)]
            held += list((group["lower"] <= own - own.mean()) & (own - own.mean() <= group["upper"]))
    assert 0.75 < np.mean(held) <= 1.0


def test_too_few_labels_are_said(small_space):
    """Labels that are all but noise tell no choice apart, and the scores say so."""
    archs = list(dict.fromkeys(small_space.sample(200, seed=1)))[:24]
    import pandas as pd

    noise = np.random.default_rng(2).normal(size=24)
    labels = ab.LabelledSet.from_frame(pd.DataFrame({"arch": [a.text for a in archs], "acc": noise}), small_space)
    said = ab.fit(labels, "acc", model="gp").explain()
    assert said.choices["significant"].mean() < 0.3
    assert any("the order may be chance" in text for text in said.warnings)


def test_enough_labels_tell_choices_apart(scores):
    told = scores.choices.set_index(["unit", "layer", "feature"])["significant"]
    assert told["b", 1, "width"]
    assert not any("the order may be chance" in text for text in scores.warnings)


def test_a_graph_model_has_additive_scores_without_intervals(small_model):
    scores = small_model.explain()
    assert isinstance(scores, AdditiveScores)
    assert scores.projection.share > 0.9
    assert scores.candidates["lower"].isna().all()


def test_node_scores_are_the_scores_of_the_operations(model, scores):
    arch = model.space.sample(1, seed=3)[0]
    row = scores.operations.set_index(["unit", "layer", "width", "kernel"])["score"]
    for node in scores.node_scores(arch).itertuples():
        layers = dict(zip(("a", "b"), model.space.layers(arch), strict=True))[node.unit]
        layer = layers[node.layer - 1]
        assert node.effect == pytest.approx(row[node.unit, node.layer, layer["width"], layer["kernel"]])


def test_a_narrowed_space_judges_only_the_choices_it_has(model, scores):
    small = scores.narrow(top=1)
    own = model.explain(small)
    assert small.size == 1
    assert own.choices.empty  # nothing is left to choose
    has = {
        (unit, layer + 1, feature, value)
        for unit, run in zip(("a", "b"), small.layers(small.sample(1, seed=0)[0]), strict=True)
        for layer, values in enumerate(run)
        for feature, value in values.items()
    }
    places = own.places[own.places["layer"] > 0]
    known = places[places["effect"].notna()]
    assert set(known[["unit", "layer", "feature", "value"]].itertuples(index=False, name=None)) == has
    assert own.features["effect"].notna().all()
    assert own.operations["score"].notna().all()
    assert len(own.operations) <= sum(map(len, small.layers(small.sample(1, seed=0)[0])))


def test_candidates_of_a_huge_unit_are_scored_in_chunks(model, scores, monkeypatch):
    """Only the zero of the scores is estimated then, and the means over choices."""
    monkeypatch.setattr("autobuild.importance.projection.MOST_KEPT", 1)
    chunked = project(model)
    for one, other, means in zip(scores.units, chunked.units, chunked.means, strict=True):
        shift = one.score[0] - other.score[0]
        assert abs(shift) < 0.02 * one.score.std()
        np.testing.assert_allclose(other.score + shift, one.score, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(other.upper - other.lower, one.upper - one.lower, rtol=0.05, atol=1e-9)
        np.testing.assert_array_equal(other.hops, one.hops)
        assert means.shares.shape[1] == len(means.stage.layers)
    archs = model.space.sample(50, seed=3)
    np.testing.assert_allclose(chunked.sums(archs), scores.projection.sums(archs), rtol=1e-9)


def test_the_best_candidates_are_the_first_of_all(scores):
    best = scores.best_candidates(2)
    first = scores.candidates.groupby("unit", sort=False).head(2).reset_index(drop=True)
    assert best.equals(first)
