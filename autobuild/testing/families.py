"""Every property that a family of models must have, as a pytest suite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from autobuild.labels import LabelledSet
from autobuild.models import FittedModel, fit, load_model
from autobuild.rank import srcc
from autobuild.spaces import SearchSpace, sequence_space

_FITTED: dict[Any, FittedModel] = {}


class FamilyConformance:
    """Subclass it in a test module and give a fixture ``family``, the name that is registered::

    class TestMyFamily(FamilyConformance):
        @pytest.fixture
        def family(self):
            return "my_family"
    """

    options: Mapping[str, Any] = {}  # further arguments of the fit

    @pytest.fixture
    def labels(self) -> LabelledSet:
        """Networks whose label is a sum over layers, with a little noise."""
        space = sequence_space(
            "sums", {"a": [1, 2], "b": [1, 2]}, {"width": [1, 2], "kernel": [3, 5]}, text="w{width}k{kernel}"
        )
        archs = list(dict.fromkeys(space.sample(400, seed=0, design="depth")))[:80]
        noise = np.random.default_rng(0).normal(0, 0.05, len(archs))
        values = [_truth(space, arch.text) + error for arch, error in zip(archs, noise, strict=True)]
        return LabelledSet.from_frame(pd.DataFrame({"arch": [arch.text for arch in archs], "acc": values}), space)

    @pytest.fixture
    def model(self, family: str, labels: LabelledSet) -> FittedModel:
        """A fitted model; it is fitted once."""
        key = type(self), family, labels.content_hash
        if key not in _FITTED:
            _FITTED[key] = fit(labels, "acc", model=family, seed=0, **self.options)
        return _FITTED[key]

    def test_it_ranks_networks_that_it_has_not_seen(self, model: FittedModel, labels: LabelledSet) -> None:
        """The report is of held-out rows; other networks are ranked as well."""
        known = {arch.text for arch in labels.archs}
        others = [arch for arch in dict.fromkeys(labels.space.sample(400, seed=5)) if arch.text not in known]
        truth = np.array([_truth(labels.space, arch.text) for arch in others])
        assert model.report["test_srcc"] > 0.7
        assert srcc(model.predict_mean(others), truth) > 0.7

    def test_predictions(self, model: FittedModel, labels: LabelledSet) -> None:
        """One finite number for each network, whatever stands beside it, of a text as of an architecture."""
        archs = labels.archs[:12]
        predicted = model.predict_mean(archs)
        assert predicted.shape == (12,)
        assert np.isfinite(predicted).all()
        np.testing.assert_allclose(model.predict_mean([arch.text for arch in archs]), predicted, rtol=1e-6)
        np.testing.assert_allclose(model.predict_mean(archs[::-1])[::-1], predicted, rtol=1e-5)
        np.testing.assert_allclose(model.predict_mean(archs[:1]), predicted[:1], rtol=1e-5)
        assert model.predict_mean([]).shape == (0,)

    def test_intervals(self, model: FittedModel, labels: LabelledSet) -> None:
        """Bounds enclose the prediction, widen with the level, and most labels lie within."""
        predicted, lower, upper = model.intervals(labels.archs, 0.8)
        assert (lower <= predicted).all()
        assert (predicted <= upper).all()
        narrow = model.intervals(labels.archs, 0.5)
        assert (upper - lower).mean() > (narrow[2] - narrow[1]).mean()
        values = model.training["target"].to_numpy()
        inside = (model.heldout["measured"] - model.heldout["predicted"]).abs() <= (upper - lower).max()
        assert inside.mean() > 0.6
        assert ((values >= lower) & (values <= upper)).mean() > 0.6

    def test_draws(self, model: FittedModel, labels: LabelledSet) -> None:
        """Joint draws, if the family has them, are seeded and lie around the prediction."""
        drawn = model.draw(labels.archs[:6], 400, seed=1)
        if drawn is None:
            pytest.skip("the family draws nothing")
        assert drawn.shape == (400, 6)
        again = model.draw(labels.archs[:6], 400, seed=1)
        assert again is not None
        np.testing.assert_array_equal(drawn, again)
        away = np.abs(np.median(drawn, axis=0) - model.predict_mean(labels.archs[:6]))
        assert (away <= 5 * drawn.std(axis=0) / 20 + 1e-6).all()

    def test_scores(self, model: FittedModel) -> None:
        """Additive scores rank candidates as the truth does."""
        table = model.explain().candidates
        assert np.isfinite(table["score"]).all()
        best = table[table["unit"] == "b"].iloc[0]["candidate"]
        assert best.count("w2k5") == 2

    def test_the_same_seed_gives_the_same_model(self, family: str, model: FittedModel, labels: LabelledSet) -> None:
        """A second fit predicts the same."""
        again = fit(labels, "acc", model=family, seed=0, **self.options)
        np.testing.assert_allclose(again.predict_mean(labels.archs), model.predict_mean(labels.archs), rtol=1e-6)

    def test_a_saved_model_is_the_same(self, model: FittedModel, labels: LabelledSet, tmp_path: Path) -> None:
        """What is read from disk gives the same predictions, intervals and report."""
        loaded = load_model(model.save(tmp_path / "model"))
        for one, other in zip(loaded.intervals(labels.archs, 0.9), model.intervals(labels.archs, 0.9), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)
        assert loaded.report["test_srcc"] == model.report["test_srcc"]
        assert loaded.family == model.family
        assert loaded.training_archs == model.training_archs


def _truth(space: SearchSpace, text: str) -> float:
    value = 0.0
    for stage, layers in enumerate(space.layers(space.parse(text))):
        for layer in layers:
            value += (1 + stage) * (0.3 * float(str(layer["width"])) + 0.1 * float(str(layer["kernel"])))
    return value
