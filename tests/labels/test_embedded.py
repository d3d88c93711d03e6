"""The embedded labels hold what their data card says: spread, noise, and that they were measured."""

import json

import numpy as np
import pandas as pd
import pytest

import autobuild as ab
from autobuild.labels.label_files import EMBEDDED
from autobuild.rank import srcc


@pytest.fixture(scope="module")
def labels():
    return ab.LabelledSet.read("tiny_mbconv", ab.space("tiny_mbconv"))


@pytest.fixture(scope="module")
def by_seed():
    """Accuracy of every single training: a row an architecture, a column a seed."""
    trainings = pd.read_csv(EMBEDDED / "tiny_mbconv_trainings.csv")
    return trainings.pivot(index="arch", columns="seed", values="acc")


def test_at_least_400_distinct_networks_are_labelled(labels):
    assert len(labels) >= 400
    assert len(set(labels.keys)) == len(labels)
    assert {"acc", "latency_ms", "params", "macs"} <= set(labels.metrics)
    assert labels.frame.notna().all().all()


def test_labels_are_the_means_of_two_trainings(labels, by_seed):
    means = by_seed[[0, 1]].mean(axis=1).reindex(labels.frame["arch"])
    np.testing.assert_allclose(labels.frame["acc"], means, atol=1e-9)


def test_accuracies_spread(labels):
    low, high = np.percentile(labels.frame["acc"], [5, 95])
    assert high - low >= 15


def test_noise_is_known_and_small(labels, by_seed):
    """Two more seeds for at least 30; the labels' noise is at most a fifth of their spread; ranks repeat."""
    more = by_seed.dropna()
    assert len(more) >= 30
    assert by_seed.shape[1] == 4
    seed_sd = float(np.sqrt(by_seed[[0, 1]].var(axis=1, ddof=1).mean()))  # of one training; a label is the mean of two
    assert seed_sd / 2**0.5 <= labels.frame["acc"].std() / 5
    assert srcc(by_seed[0], by_seed[1]) >= 0.9
    label = labels.frame.set_index("arch")["acc"].reindex(more.index)
    assert srcc(label, more[[2, 3]].mean(axis=1)) >= 0.9


def test_the_card_says_how_when_and_what(labels):
    card = (EMBEDDED / "tiny_mbconv.md").read_text()
    for word in ("torch", "seed", "latency", "held-out", f"{len(labels)}"):
        assert word in card


def test_counts_are_those_of_the_real_networks(labels):
    """Parameters and MACs of every fortieth network, counted again."""
    from autobuild.evaluate import evaluator_for
    from benchmarks.report import counted_by_torch

    evaluator = evaluator_for(labels.space)
    for row in range(0, len(labels), 40):
        network = labels.space.realise(labels.archs[row])
        counts = counted_by_torch(network, evaluator.input_shape)
        assert counts == (labels.frame["params"][row], labels.frame["macs"][row])


def test_a_recipe_is_kept_beside_the_labels():
    recipe = json.loads((EMBEDDED / "tiny_mbconv.recipe.json").read_text())
    assert recipe
