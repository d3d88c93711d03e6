"""Limits of a search: over costs never broken, whoever proposes; over metrics they steer, or are predicted."""

from __future__ import annotations

import html
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import autobuild as ab
from autobuild.errors import EvaluationError
from autobuild.studies.samplers import SAMPLERS


@pytest.fixture(scope="module")
def space():
    return ab.sequence_space("l", {"a": [1, 2], "b": [1, 2]}, {"w": [1, 2, 3], "k": [3, 5]}, text="w{w}k{k}")


def widths(archs):
    return np.array([float(sum(int(width) for width in re.findall(r"w(\d)", str(arch)))) for arch in archs])


def metrics(arch):
    return {"acc": float(widths([arch])[0]) + 0.1 * str(arch).count("k5"), "ms": 2.0 * str(arch).count("w")}


CASES = {
    "seed": st.integers(0, 10**6),
    "share": st.floats(0.02, 0.9),
    "upper": st.booleans(),
    "narrows": st.booleans(),
}


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS.choices if name != "gp"])
@settings(max_examples=3, deadline=None)
@given(**CASES)
def test_no_sampler_breaks_a_limit_over_costs(space, sampler, seed, share, upper, narrows):
    never_breaks(space, sampler, seed, share, upper, narrows)


def test_nor_does_the_gaussian_process_of_optuna(space):
    """What it proposes is checked as for every sampler; each of its proposals takes a second."""
    never_breaks(space, "gp", seed=3, share=0.4, upper=True, narrows=False)


def never_breaks(space, sampler, seed, share, upper, narrows):
    """Whatever the bound, also where fewer networks keep it than are asked for."""
    every = [space.assemble(index) for index in np.ndindex(*(unit.size for unit in space.units))]
    costs = widths(every)
    bound = float(np.quantile(costs, share if upper else 1 - share))
    limit = f"width {'<=' if upper else '>='} {bound:g}"
    keep = costs <= bound if upper else costs >= bound
    labels = None
    if narrows:
        rows = [{"arch": arch.text, **metrics(arch)} for arch in space.sample(40, seed)]
        labels = ab.LabelledSet.from_frame(pd.DataFrame(rows).drop_duplicates("arch"), space)
    found = ab.search(
        space,
        metrics,
        target=["acc", "-ms"] if sampler in ("motpe", "nsga3") else "acc",
        where=f"{limit} and ms <= 6",
        prior=labels,
        model="linear" if sampler == "guided" else None,
        n_trials=14,
        sampler=sampler,
        grain="unit" if sampler == "gp" else "layer",
        seed=seed,
        costs={"width": widths},
    )
    own = found.evaluated
    assert (widths(own["arch"]) <= bound).all() if upper else (widths(own["arch"]) >= bound).all()
    known = set() if labels is None else set(labels.keys)
    free = {space.key(arch) for arch, good in zip(every, keep, strict=True) if good} - known
    assert len(own) == own["arch"].nunique() == min(14, len(free))


@pytest.mark.parametrize("sampler", ["qmc", "tpe"])
def test_what_is_predicted_to_break_a_measured_limit_is_passed_over(sampler):
    space = ab.sequence_space("s", {"a": [1, 2], "b": [1, 2]}, {"w": [1, 2], "k": [3, 5]}, text="w{w}k{k}")
    rows = [{"arch": arch.text, **metrics(arch)} for arch in dict.fromkeys(space.sample(40, 1))]
    labels = ab.LabelledSet.from_frame(pd.DataFrame(rows), space)
    options = {"n_trials": 20, "sampler": sampler, "where": "ms <= 5", "model": None}
    steered = ab.search(space, metrics, prior=labels, **options)
    assert len(steered.evaluated) == 20
    free = 16 - sum(len(arch.runs[0]) + len(arch.runs[1]) == 2 for arch in labels.archs)  # one layer each
    assert (steered.evaluated["ms"][:free] <= 5).all()  # all that keep it, before any other
    assert (steered.evaluated["ms"][free:] > 5).all()
    # Where no network is predicted to keep the limit, the search goes on all the same, and says what came of it.
    none = ab.search(space, metrics, prior=labels, **{**options, "where": "ms <= 1", "n_trials": 5})
    assert len(none.evaluated) == 5
    assert (none.evaluated["violation"] > 0).all()
    assert none.why == "5 networks were evaluated; 5 of 5 break ms <= 1, the nearest reaches 4"
    assert none.why in repr(none)
    assert html.escape(none.why) in none._repr_html_()
    assert steered.why == ""


def test_trials_alone_teach_a_limit(space):
    """Without labels the first 20 evaluations say what the next ones are to keep clear of."""
    found = ab.search(space, metrics, n_trials=40, sampler="random", where="ms <= 5", model=None, seed=1).evaluated
    first, later = found["violation"][:20] > 0, found["violation"][20:] > 0
    assert first.mean() > 0.3
    assert later.mean() <= 0.2


WIDE = ab.sequence_space(
    "wide", {"a": [2, 3], "b": [2, 3], "c": [2, 3]}, {"w": [1, 2, 3], "k": [3, 5]}, text="w{w}k{k}"
)


def measured(arch):
    """Whatever raises the accuracy costs time, and the two are not quite sums over layers."""
    layers = [layer for stage in WIDE.layers(arch) for layer in stage]
    size = sum(layer["w"] * (1 + 0.1 * layer["k"]) for layer in layers)
    ms = sum(
        layer["w"] * (1 + 0.1 * layer["k"]) * (1 + 0.3 * place / len(layers)) for place, layer in enumerate(layers)
    )
    return {"acc": 70 + 8 * np.log(size) + 0.5 * np.sin(len(layers)), "latency_ms": 0.5 * ms}


@pytest.fixture(scope="module")
def wide_labels():
    archs = list(dict.fromkeys(WIDE.sample(200, 3, "depth")))[:120]
    return ab.LabelledSet.from_frame(pd.DataFrame([{"arch": arch.text, **measured(arch)} for arch in archs]), WIDE)


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2", "evolution", "guided"])
@pytest.mark.parametrize("narrow", [None, {"share": 0.02}])
def test_a_measured_limit_is_kept_by_every_sampler_narrowed_or_not(wide_labels, sampler, narrow):
    """Labels hold the metric, and four in five networks break the limit; the best are just within it."""
    bound = float(wide_labels.frame["latency_ms"].quantile(0.2))
    found = ab.search(
        WIDE,
        measured,
        target=["acc", "-latency_ms"] if sampler == "nsga2" else "acc",
        prior=wide_labels,
        n_trials=12,
        sampler=sampler,
        narrow=narrow,
        model="gp",
        where=f"latency_ms <= {bound:.6g} and params_like <= 1000",
        costs={"params_like": widths},
    )
    own = found.evaluated
    assert len(own) == 12
    assert (own["violation"] > 0).sum() <= 3
    if narrow:
        assert found.space.size < 0.2 * WIDE.size
    within = wide_labels.frame[wide_labels.frame["latency_ms"] <= bound]["acc"].max()
    if sampler == "guided":
        assert own[own["violation"] <= 0]["acc"].max() > within  # it is not kept by staying far inside


def test_searches_under_limits_pickle_and_names_with_dashes_are_limits(space):
    archs = space.sample(30)
    rows = [{"arch": arch.text, "acc": metrics(arch)["acc"], "npu-ms": metrics(arch)["ms"]} for arch in archs]
    labels = ab.LabelledSet.from_frame(pd.DataFrame(rows).drop_duplicates("arch"), space)
    found = ab.search(
        space, lambda arch: metrics(arch)["acc"], prior=labels, where="`npu-ms` <= 6", n_trials=3, model="gp"
    )
    assert all(metrics(arch)["ms"] <= 6 for arch in found.best["arch"])
    again = pickle.loads(pickle.dumps(found))
    assert again.best.equals(found.best)
    with pytest.raises(EvaluationError, match="gave no 'top', which the target needs: write `top-1`"):
        ab.search(space, lambda arch: {"top-1": 1.0}, target="top-1", n_trials=2, model=None, sampler="random")
