"""Fits on more rows than a process can be exact on, with small numbers in place of thousands."""

import numpy as np
import pytest
import torch

import autobuild as ab
from autobuild.errors import RunError
from autobuild.models import ensemble_fit, many_rows, trees_family
from autobuild.models.many_rows import exact_rows
from autobuild.models.memory import memory_errors
from autobuild.models.trees import BINNED, fit_binned_trees
from autobuild.rank import srcc

EXACT = 80


@pytest.fixture(scope="module")
def labels():
    return ab.LabelledSet.read("tiny_mbconv", ab.space("tiny_mbconv"), n=300)


@pytest.fixture(scope="module")
def model(labels):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many_rows, "EXACT_ROWS", EXACT)
        patch.setattr(many_rows, "LEAST_ROWS", 20)
        patch.setattr(trees_family, "BINNED_ROWS", 100)
        patch.setattr(trees_family, "SCALED_ROWS", 60)
        patch.setattr("autobuild.models.members.CHUNK", 64)
        return ab.fit(labels, "acc")


def test_members_learn_from_parts_and_the_report_says_so(labels, model):
    judged = model.heldout.index.to_numpy()
    assert model.report["n_test"] == len(judged) == 60
    assert model.report["n_train"] == 240
    assert set(model.rows) == set(model.members)
    for rows in model.rows.values():  # no member saw a row that it was judged on
        assert not set(rows) & set(judged)
    entry = next(entry for entry in model.report["approximations"] if entry["member"] == "gp")
    assert (entry["rows"], entry["of"]) == (EXACT, 300)
    assert f"gp learned from {EXACT} of 300 rows (held-out SRCC {entry['srcc']:.4f}" in model.report["picked"]
    assert "graph: not tried with more than 80 rows" in model.report["picked"]
    np.testing.assert_array_equal(model.heldout["measured"], model.training["target"].to_numpy()[judged])
    assert model.report["test_srcc"] == pytest.approx(srcc(model.heldout["predicted"], model.heldout["measured"]))
    assert model.report["test_srcc"] > 0.8


def test_predictions_of_judged_rows_are_those_of_the_model(labels, model):
    judged = model.heldout.index.to_numpy()
    predicted = model.predict_mean([labels.archs[row] for row in judged])
    np.testing.assert_allclose(predicted, model.heldout["predicted"], rtol=1e-9)


def test_it_is_saved_explained_and_built_from(labels, model, tmp_path):
    loaded = ab.load_model(model.save(tmp_path / "model"))
    for one, other in zip(
        loaded.intervals(labels.archs[:20], 0.9), model.intervals(labels.archs[:20], 0.9), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    scores = loaded.explain()
    assert int(scores.candidates.groupby("unit")["n_seen"].sum().iloc[0]) == 300
    assert len(scores.build(top=2)) == 2


def test_folds_that_are_asked_for_judge_all_rows(labels, monkeypatch):
    monkeypatch.setattr(many_rows, "EXACT_ROWS", EXACT)
    monkeypatch.setattr(many_rows, "LEAST_ROWS", 20)
    model = ab.fit(labels, "acc - 1e-9*macs", model="linear", folds=2)
    assert model.report["n_test"] == model.report["n_train"] == 300
    assert model.report["folds"] == 2
    once = ab.fit(labels, "acc - 1e-9*macs", model="linear")  # with cost terms, judged on a part
    assert once.report["n_test"] == 60
    exact = -1e-9 * ab.costs(labels.space)["macs"](list(once.heldout["arch"]))
    acc = dict(zip(labels.frame["arch"], labels.frame["acc"], strict=True))
    measured = [acc[arch] for arch in once.heldout["arch"]] + exact
    np.testing.assert_allclose(once.heldout["measured"], measured, rtol=1e-9)


def test_little_memory_leaves_a_process_fewer_rows(monkeypatch):
    assert exact_rows() >= 500
    monkeypatch.setattr(many_rows, "free_bytes", lambda: 70e6)
    assert exact_rows() == 1000
    monkeypatch.setattr(many_rows, "free_bytes", lambda: 0.0)
    assert exact_rows() == many_rows.LEAST_ROWS
    assert ensemble_fit.exact_rows is exact_rows


def test_errors_of_the_memory_are_said_plainly():
    words = r"the fit needs more memory than there is \(.* GB are free now\): take less"
    with pytest.raises(RunError, match=words), memory_errors("the fit", "take less"):
        np.ones(2**50)
    with pytest.raises(RunError, match=words), memory_errors("the fit", "take less"):
        torch.ones(2**50)
    with pytest.raises(RuntimeError, match="another") as caught, memory_errors("the fit", ""):
        raise RuntimeError("another")
    assert not isinstance(caught.value, RunError)


def test_binned_trees_are_scikit_learns():
    from sklearn.ensemble import HistGradientBoostingRegressor

    rng = np.random.default_rng(0)
    columns, new = (rng.integers(0, 4, size=(n, 6)).astype(np.float32) for n in (400, 50))
    wanted = columns[:, 0] * columns[:, 1] + columns[:, 2]
    theirs = HistGradientBoostingRegressor(**BINNED, random_state=3).fit(columns, wanted)
    np.testing.assert_allclose(fit_binned_trees(columns, wanted, 3).predict(new), theirs.predict(new), atol=1e-12)
