"""The embedded labels hold what their data card says: spread, noise, and that they were measured."""

import json

import numpy as np
import pandas as pd
import pytest

import autobuild as ab
from autobuild.labels.tables import EMBEDDED
from autobuild.rank import srcc


@pytest.fixture(scope="module")
def labels():
    return ab.LabelledSet.read("tiny_mbconv", ab.space("tiny_mbconv"))


@pytest.fixture(scope="module")
def by_seed(labels):
    repeats = pd.read_csv(EMBEDDED / "tiny_mbconv_repeats.csv")
    wide = repeats.pivot(index="arch", columns="seed", values="acc")
    wide[0] = labels.frame.set_index("arch")["acc"].reindex(wide.index)
    return wide


def test_at_least_400_distinct_networks_are_labelled(labels):
    assert len(labels) >= 400
    assert len(set(labels.keys)) == len(labels)
    assert {"acc", "latency_ms", "params", "macs"} <= set(labels.metrics)
    assert labels.frame.notna().all().all()


def test_accuracies_spread(labels):
    low, high = np.percentile(labels.frame["acc"], [5, 95])
    assert high - low >= 15


def test_noise_is_known_and_small(labels, by_seed):
    assert len(by_seed) >= 30
    assert by_seed.shape[1] == 3
    assert by_seed.notna().all().all()
    seed_sd = float(np.sqrt(by_seed.var(axis=1, ddof=1).mean()))
    assert seed_sd <= labels.frame["acc"].std() / 5
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert srcc(by_seed[a], by_seed[b]) >= 0.9


def test_the_card_says_how_when_and_what(labels):
    card = (EMBEDDED / "tiny_mbconv.md").read_text()
    for word in ("torch", "seed", "latency", "held-out", f"{len(labels)}"):
        assert word in card


def test_counts_are_those_of_the_real_networks(labels):
    """Parameters and MACs of every fortieth network, counted again."""
    from autobuild.cost.count import count_macs, count_params
    from autobuild.evaluate import evaluator_for

    evaluator = evaluator_for(labels.space)
    for row in range(0, len(labels), 40):
        network = labels.space.realise(labels.archs[row])
        assert count_params(network) == labels.frame["params"][row]
        assert count_macs(network, evaluator.input_shape) == labels.frame["macs"][row]


def test_a_recipe_is_kept_beside_the_labels():
    recipe = json.loads((EMBEDDED / "tiny_mbconv.recipe.json").read_text())
    assert recipe
