"""Every property that an acquisition must have, as a pytest suite."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from autobuild._typing import FloatArray
from autobuild.construct.acquisition import Uncertain
from autobuild.spaces import Architecture, SearchSpace, load_space

Acquisition = Callable[..., Iterable[int]]
N = 60


class Draws:
    """A model of independent normal distributions, which draws jointly or, without ``draws``, not at all."""

    def __init__(self, space: SearchSpace, archs: list[Architecture], mean: FloatArray, sd: float, draws: bool) -> None:
        self.space, self.training_archs = space, archs[:0]
        self.mean = dict(zip((arch.text for arch in archs), mean, strict=True))
        self.sd, self.draws = sd, draws

    def predict_mean(self, archs: Iterable[Architecture]) -> FloatArray:
        """Means. Shape ``(n,)``."""
        return np.array([self.mean[arch.text] for arch in archs])

    def intervals(self, archs: Iterable[Architecture], level: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Means and bounds. Shapes ``(n,)``."""
        mean = self.predict_mean(archs)
        return mean, mean - self.sd, mean + self.sd

    def draw(self, archs: Iterable[Architecture], count: int, seed: int) -> FloatArray | None:
        """Draws, shape ``(count, n)``."""
        mean = self.predict_mean(archs)
        return mean + self.sd * np.random.default_rng(seed).normal(size=(count, len(mean))) if self.draws else None


class AcquisitionConformance:
    """Subclass it in a test module and give a fixture ``acquisition``, the function that is registered::

    class TestMyAcquisition(AcquisitionConformance):
        @pytest.fixture
        def acquisition(self):
            return my_acquisition
    """

    @pytest.fixture(params=[True, False], ids=["draws", "no draws"])
    def given(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        """The arguments of an acquisition."""
        space = load_space("tiny_mbconv")
        archs = list(dict.fromkeys(space.sample(3 * N, seed=0)))[:N]
        predicted = np.random.default_rng(0).normal(size=N)
        model: Uncertain = Draws(space, archs, predicted, 0.5, request.param)
        upper = predicted + np.random.default_rng(1).uniform(0.2, 1, N)
        return {"model": model, "archs": archs, "predicted": predicted, "upper": upper, "count": 8, "seed": 0}

    @pytest.mark.parametrize("count", [1, 8, N - 1, N, N + 5])
    def test_distinct_places(self, acquisition: Acquisition, given: dict[str, Any], count: int) -> None:
        """As many distinct places as are asked for, all of them if there are fewer."""
        places = _places(acquisition, {**given, "count": count})
        assert len(places) == len(set(places)) == min(count, N)
        assert set(places) <= set(range(N))

    def test_seeded(self, acquisition: Acquisition, given: dict[str, Any]) -> None:
        """The same arguments give the same places, and stay as they were."""
        before = given["predicted"].copy(), given["upper"].copy(), list(given["archs"])
        assert _places(acquisition, given) == _places(acquisition, given)
        np.testing.assert_array_equal(given["predicted"], before[0])
        np.testing.assert_array_equal(given["upper"], before[1])
        assert given["archs"] == before[2]

    def test_a_clearly_best_network_is_chosen_first(self, acquisition: Acquisition, given: dict[str, Any]) -> None:
        """A network whose prediction and bound exceed all others comes first, wherever it stands."""
        for place in (0, 17, N - 1):
            raised = {key: given[key] + 100.0 * (np.arange(N) == place) for key in ("predicted", "upper")}
            model = given["model"]
            better = Draws(model.space, given["archs"], raised["predicted"], model.sd, model.draws)
            assert _places(acquisition, {**given, **raised, "model": better})[0] == place

    def test_equal_and_large_predictions(self, acquisition: Acquisition, given: dict[str, Any]) -> None:
        """Ties and values of any size give a whole batch."""
        model = given["model"]
        for values in (np.zeros(N), 1e12 * given["predicted"]):
            flat = Draws(model.space, given["archs"], values, model.sd, model.draws)
            places = _places(acquisition, {**given, "predicted": values, "upper": values + 1, "model": flat})
            assert len(set(places)) == 8


def _places(acquisition: Acquisition, given: dict[str, Any]) -> list[int]:
    named = inspect.signature(acquisition).parameters
    return [int(place) for place in acquisition(**{key: value for key, value in given.items() if key in named})]
