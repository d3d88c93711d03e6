"""Stability and the deletion check, on a planted truth."""

import numpy as np
import pytest

import autobuild as ab
from autobuild.errors import ConfigError
from autobuild.importance import deletion, stability
from tests.conftest import true_score


@pytest.fixture(scope="module")
def refits(small_labels):
    return [ab.fit(small_labels.subset(rows), "acc", model="linear").explain() for rows, _ in small_labels.folds(3, 0)]


def test_scores_of_folds_agree_and_shuffled_ones_do_not(small_labels, refits):
    frame = stability(refits)
    assert frame["unit"].tolist() == ["a", "b"]
    assert (frame["worst"] > 0.9).all()
    assert (frame["worst"] <= frame["srcc"]).all()
    shuffled = small_labels.frame.assign(acc=np.random.default_rng(0).permutation(small_labels.frame["acc"]))
    other = ab.fit(ab.LabelledSet.from_frame(shuffled, small_labels.space), "acc", model="linear").explain()
    assert (stability([refits[0], other])["srcc"] < 0.8).any()
    with pytest.raises(ConfigError, match="given 1"):
        stability(refits[:1])


def test_what_is_praised_is_missed(small_space, refits):
    def truth(archs):
        return np.array([true_score(small_space, arch) for arch in archs])

    frame = deletion(refits[0], truth, n=60)
    assert (frame["true_loss"] > 0.3).all()
    np.testing.assert_allclose(frame["predicted_loss"], frame["true_loss"], rtol=0.25)
    assert (frame["random_loss"].abs() < frame["true_loss"] / 2).all()
    unknown = deletion(refits[0], lambda archs: np.full(len(archs), np.nan), n=5)
    assert unknown["true_loss"].isna().all()
    assert (unknown["n"] == 0).all()
