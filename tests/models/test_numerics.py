"""Fits of labels that are constant, tiny, huge, tied or missing; results that do not depend on the order of rows."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import autobuild as ab
from autobuild.errors import AutobuildError, ModelError

SAVED = Path(__file__).with_name("saved")
SPACE = ab.sequence_space("few", {"a": "1-2", "b": 1, "c": [1]}, {"kernel": [3, 5], "expand": [2, 4]})
FIXED = ab.sequence_space("fixed", {"a": "1-3", "b": 1}, {"kernel": [3, 5], "width": [8]})
ARCHS = SPACE.sample(24, seed=0)
VALUES = np.array([sum(map(int, filter(str.isdigit, arch.text))) for arch in ARCHS]) + np.sin(np.arange(24))

pytestmark = pytest.mark.filterwarnings("ignore")


def fit(values, archs=ARCHS, space=SPACE, model="linear"):
    frame = pd.DataFrame({"arch": [arch.text for arch in archs], "acc": values})
    return ab.fit(ab.LabelledSet.from_frame(frame, space), "acc", model=model)


@pytest.fixture(scope="module")
def usual():
    return fit(VALUES)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_labels_changes_nothing_but_the_scale(scale, usual):
    found = fit(VALUES * scale).predict_mean(ARCHS) / scale
    np.testing.assert_allclose(found, usual.predict_mean(ARCHS), rtol=1e-4)


def test_the_order_of_rows_and_the_size_of_batches_change_nothing(usual):
    order = np.random.default_rng(0).permutation(len(ARCHS))
    shuffled = fit(VALUES[order], [ARCHS[row] for row in order])
    expected = usual.predict_mean(ARCHS)
    np.testing.assert_array_equal(shuffled.predict_mean(ARCHS), expected)
    assert shuffled.report["test_srcc"] == usual.report["test_srcc"]
    alone = np.concatenate([usual.predict_mean([arch]) for arch in ARCHS])
    np.testing.assert_allclose(alone, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("values", "archs", "space"),
    [
        (np.ones(24), ARCHS, SPACE),
        (np.repeat([1.0, 2.0], 12), ARCHS, SPACE),
        (np.where(np.arange(24) % 8, VALUES, [np.nan, np.inf, -np.inf] * 8), ARCHS, SPACE),
        (VALUES[:8], FIXED.sample(8, seed=0), FIXED),
    ],
    ids=["constant", "two values", "missing and infinite", "a unit of one width"],
)
def test_odd_labels_give_finite_predictions_or_a_plain_error(values, archs, space):
    with contextlib.suppress(AutobuildError):
        assert np.isfinite(fit(values, archs, space).predict_mean(archs)).all()


def test_saved_models_of_this_and_the_format_before_are_read(tmp_path):
    """A folder as this version writes it; format 2 had no checksum of ``model.json``."""
    expected = ab.load_model(SAVED).predict_mean(ab.load_model(SAVED).space.sample(5, seed=0))
    shutil.copytree(SAVED, tmp_path / "old")
    header = json.loads((SAVED / "model.json").read_text())
    del header["sha256"]["model.json"]
    (tmp_path / "old" / "model.json").write_text(json.dumps({**header, "format": "autobuild.model/2"}))
    old = ab.load_model(tmp_path / "old")
    np.testing.assert_array_equal(old.predict_mean(old.space.sample(5, seed=0)), expected)
    assert np.ptp(expected) > 1
    (tmp_path / "old" / "model.json").write_text(json.dumps({**header, "format": "autobuild.model/1"}))
    with pytest.raises(ModelError, match=r"format 'autobuild.model/1'.*fit again, from the labels in training.csv"):
        ab.load_model(tmp_path / "old")
    header["ensemble"]["base"] = None
    (tmp_path / "old" / "model.json").write_text(json.dumps({**header, "format": "autobuild.model/3"}))
    with pytest.raises(ModelError, match="not what the fit wrote"):
        ab.load_model(tmp_path / "old")


def test_what_is_no_model_and_no_folder_is_refused(tmp_path):
    for call in (lambda: ab.save_model("x", tmp_path), lambda: ab.load_model(""), lambda: ab.load_model(None)):
        with pytest.raises(ModelError, match="accepted"):
            call()
