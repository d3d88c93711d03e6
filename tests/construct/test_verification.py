"""The honest check: what was built and what was labelled, evaluated anew by the user's own evaluator."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from autobuild.construct.building import Built
from autobuild.construct.verification import verify
from autobuild.errors import ConfigError, EvaluationError
from autobuild.evaluate import EvaluationWarning, ExecutorSettings, evaluate_many, seeds_of


def measured(space, arch, seed):
    """Wider is better, and every seed adds a little of its own."""
    width = sum(layer["width"] for stage in space.layers(space.parse(str(arch))) for layer in stage)
    return {"acc": 10.0 * width + seed % 10, "ms": 2.0 * width}


def test_built_and_labelled_networks_are_measured_with_the_same_fresh_seeds(small_space, small_labels):
    archs = small_space.sample(3, 5)
    frame = pd.DataFrame({"arch": [arch.text for arch in archs], "predicted": [3.0, 2.0, 1.0]})
    found = verify(frame, measured, small_labels, top=2, labelled=2, seeds=3)
    assert list(found.frame.columns) == ["set", "arch", "predicted", "label", "measured", "measured_sd", "seeds"]
    assert list(found.frame["set"]) == ["built", "built", "labelled", "labelled"]
    assert set(found.trained["seed"]) == {10_000, 10_001, 10_002}
    assert not set(found.trained["seed"]) & set(range(1_000))
    for row in found.frame.itertuples():
        own = [measured(small_space, row.arch, seed)["acc"] for seed in (10_000, 10_001, 10_002)]
        assert row.measured == pytest.approx(np.mean(own))
        assert row.measured_sd == pytest.approx(1.0)
        assert row.seeds == 3
    labels = small_labels.frame.set_index("arch")["acc"].sort_values(ascending=False)
    assert list(found.frame["label"][2:]) == list(labels[:2])
    assert list(found.frame["predicted"][:2]) == [3.0, 2.0]
    assert "labelled" in repr(found)
    assert "<table" in found._repr_html_()


def test_what_networks_were_built_for_is_compared(small_space, small_labels):
    archs = tuple(small_space.sample(2, 5))
    built = Built(archs, np.zeros(2), np.zeros(2), target="-ms")
    found = verify(built, measured, space=small_space)
    assert found.target == "-ms"
    assert list(found.frame["measured"]) == [-measured(small_space, arch, 0)["ms"] for arch in archs]
    assert verify(built, measured, space=small_space, target="acc").frame["measured"].min() > 0


def test_targets_over_costs_lists_of_seeds_and_no_labels(small_space):
    def costs(archs):
        return np.array([float(len(str(arch))) for arch in archs])

    archs = small_space.sample(2, 1)
    found = verify(archs, measured, space=small_space, target="acc - ms - size", seeds=[4, 7], costs={"size": costs})
    for row in found.frame.itertuples():
        want = [measured(small_space, row.arch, seed) for seed in (4, 7)]
        assert row.measured == pytest.approx(np.mean([one["acc"] - one["ms"] for one in want]) - len(row.arch))
    assert found.frame["label"].isna().all()


def test_failures_are_told_and_do_not_hide_the_rest(small_space):
    archs = small_space.sample(3, 2)

    def fails(space, arch, seed):
        if str(arch) == archs[0].text:
            raise ValueError("too large")
        return measured(space, arch, seed)

    with pytest.warns(EvaluationWarning, match=r"evaluations of 1 network failed; the first, of .*too large"):
        found = verify(archs, fails, space=small_space)
    assert list(found.frame["seeds"]) == [0, 2, 2]
    assert np.isnan(found.frame["measured"][0])
    assert "too large" in found.failed[archs[0].text]
    with pytest.raises(EvaluationError, match="all evaluations failed; the first"):
        verify(archs[:1], fails, space=small_space)


def test_what_cannot_be_verified_is_refused_by_name(small_space, small_labels):
    arch = small_space.sample(1, 0)
    with pytest.raises(ConfigError, match=r"needs labels= or space="):
        verify(arch, measured)
    with pytest.raises(ConfigError, match="no network was given"):
        verify([], measured, small_labels)
    with pytest.raises(ConfigError, match="a frame with a column arch"):
        verify(pd.DataFrame({"acc": [1.0]}), measured, small_labels)
    with pytest.raises(EvaluationError, match="no 'fid', which the target needs"):
        verify(arch, measured, space=small_space, target="-fid")
    with pytest.raises(EvaluationError, match="has no evaluator of its own"):
        verify(arch, "train", space=small_space)


def test_seeds_are_a_number_of_them_or_a_list(small_space):
    assert seeds_of(3) == [0, 1, 2]
    assert seeds_of(2, 10) == [10, 11]
    assert seeds_of([5, 3, 5]) == [5, 3]
    for wrong in (0, -1, True, "2", [], [-1], [0.5], None):
        with pytest.raises(ConfigError, match="accepted: how many, such as 2, or a list of them"):
            seeds_of(wrong)
    settings = ExecutorSettings("inline", n_jobs=1)
    found = evaluate_many(small_space, measured, small_space.sample(1, 0), 2, settings=settings)
    assert [one.seed for one in found] == [0, 1]
    with pytest.warns(DeprecationWarning, match="workers= is now called n_jobs="):
        assert len(evaluate_many(small_space, measured, small_space.sample(1, 0), workers=1)) == 1
    with pytest.raises(ConfigError, match="workers= and n_jobs= are given: they are one argument, give n_jobs="):
        evaluate_many(small_space, measured, small_space.sample(1, 0), workers=3, n_jobs=2)
