"""Limits of a search: over costs never broken, whoever proposes; over metrics they steer, or are predicted."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import autobuild as ab
from autobuild.studies.samplers import SAMPLERS


@pytest.fixture(scope="module")
def space():
    return ab.sequence_space("l", {"a": [1, 2], "b": [1, 2]}, {"w": [1, 2, 3], "k": [3, 5]}, text="w{w}k{k}")


def widths(archs):
    return np.array([float(sum(int(width) for width in re.findall(r"w(\d)", str(arch)))) for arch in archs])


def metrics(arch):
    return {"acc": float(widths([arch])[0]) + 0.1 * str(arch).count("k5"), "ms": 2.0 * str(arch).count("w")}


@pytest.mark.parametrize("sampler", SAMPLERS)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0.02, 0.9), upper=st.booleans(), narrows=st.booleans())
def test_no_sampler_breaks_a_limit_over_costs(space, sampler, seed, share, upper, narrows):
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


@pytest.mark.parametrize("sampler", ["random", "qmc"])
def test_samplers_that_learn_nothing_pass_over_what_is_predicted_to_break_a_measured_limit(space, sampler):
    rows = [{"arch": arch.text, **metrics(arch)} for arch in dict.fromkeys(space.sample(60, 1))]
    labels = ab.LabelledSet.from_frame(pd.DataFrame(rows), space)
    options = {"n_trials": 40, "sampler": sampler, "where": "ms <= 5", "model": None}
    steered = ab.search(space, metrics, prior=labels, **options)
    assert len(steered.evaluated) == 40
    free = 36 - sum(len(arch.runs[0]) + len(arch.runs[1]) == 2 for arch in labels.archs)  # one layer each
    assert (steered.evaluated["ms"][:free] <= 5).all()  # all that keep it, before any other
    assert (steered.evaluated["ms"][free:] > 5).all()
    blind = ab.search(space, metrics, **options)  # nothing predicts it
    assert (blind.evaluated["ms"] <= 5).mean() < 0.9
    # Where no network is predicted to keep the limit, the search goes on all the same.
    none = ab.search(space, metrics, prior=labels, **{**options, "where": "ms <= 1", "n_trials": 5})
    assert len(none.evaluated) == 5
    assert (none.evaluated["broken"] > 0).all()
