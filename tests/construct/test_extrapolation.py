"""How far a model without draws is followed beyond its labels."""

import numpy as np
import pandas as pd
import pytest

import autobuild as ab
from autobuild.construct import extrapolation, from_scores


@pytest.fixture(scope="module")
def planted():
    """Labels of a law that adds up over layers, known by trees, which are constant beyond the labels."""
    space = ab.space("ofa_mbv3")
    worth = {"e4": 0.4, "e6": 1.0, "k5": 0.3, "k7": 0.5, "e": 0.2}  # every layer has an e

    def truth(arch):
        return sum(value * arch.text.count(part) for part, value in worth.items())

    archs = space.sample(150, seed=0)
    frame = pd.DataFrame({"arch": [arch.text for arch in archs], "acc": [truth(arch) for arch in archs]})
    model = ab.fit(ab.LabelledSet.read(frame, space), model="trees")
    return model.explain(), truth


def test_trees_are_followed_no_further_than_they_prove_right(planted, monkeypatch):
    scores, truth = planted
    share = extrapolation.followed(scores)
    assert 0 < share < 0.9
    built = scores.build(3)
    monkeypatch.setattr(from_scores, "followed", lambda scores: 1.0)
    climbed = scores.build(3)
    assert np.mean([truth(arch) for arch in built]) > np.mean([truth(arch) for arch in climbed])


def test_a_process_and_a_few_labels_are_followed_as_they_are(planted):
    scores, _ = planted
    few = scores.model.labels.head(30)
    assert extrapolation.followed(ab.fit(few, model="trees").explain()) == 1
    assert extrapolation.followed(ab.fit(few, model="gp").explain()) == 1
