"""The best so far and the hypervolume so far, against counting by hand; reading a search back."""

from __future__ import annotations

import numpy as np
import pytest

import autobuild as ab
from autobuild.construct.pareto import hypervolume
from autobuild.errors import ConfigError
from autobuild.studies.result import load_search
from tests.studies.test_search import metrics


@pytest.fixture(scope="module")
def space():
    return ab.space("nas_bench_macro")


def test_the_curves_are_those_of_counting_by_hand(space):
    import pandas as pd

    archs = list({space.key(arch): arch for arch in space.sample(30, seed=5)}.values())
    labels = ab.LabelledSet.from_frame(pd.DataFrame([{"arch": a.text, **metrics(a)} for a in archs]), space)

    def evaluate(arch):
        if str(arch)[0] == "1":
            raise ValueError("no")
        return metrics(arch)

    targets = ["acc", "-ms"]
    found = ab.search(
        space, evaluate, target=targets, prior=labels, n_trials=25, sampler="random", model=None, where="ms <= 5"
    )
    curve = found.history
    known = [[m["acc"], -m["ms"]] for m in map(metrics, archs) if m["ms"] <= 5]
    own = [metrics(arch) for arch in found.evaluated["arch"]]
    points = [
        [m["acc"], -m["ms"]] if state == "COMPLETE" and m["ms"] <= 5 else None
        for m, state in zip(own, found.evaluated["state"], strict=True)
    ]
    assert None in points
    every = np.array([*known, *(point for point in points if point)])
    low, high = every.min(axis=0), every.max(axis=0)
    for count in range(26):
        seen = np.array([*known, *(point for point in points[:count] if point)])
        assert curve["best"][count] == seen[:, 0].max()
        assert curve["hypervolume"][count] == pytest.approx(hypervolume((seen - low) / (high - low), [-0.1, -0.1]))
    assert list(curve["arch"][1:]) == list(found.evaluated["arch"])


def test_a_search_is_read_back_from_its_storage(space, tmp_path):
    address = f"sqlite:///{tmp_path}/s.db"
    found = ab.search(space, metrics, n_trials=45, storage=address, name="x", narrow={"top": 5}, sampler="tpe")
    read = load_search(address, "x")
    assert read.trials.equals(found.trials)
    assert read.chain.equals(found.chain)
    assert read.space.to_dict()["units"] == found.space.to_dict()["units"]
    with pytest.raises(ConfigError, match=r"no search 'y'.*x"):
        load_search(address, "y")
