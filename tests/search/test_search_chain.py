"""Searches that narrow: linked studies, what they carry over, and that nothing is evaluated twice in the chain."""

from __future__ import annotations

import pandas as pd
import pytest

import autobuild as ab
from autobuild.errors import ConfigError
from autobuild.search.study import FACTS
from tests.search.test_search import metrics, refuse


@pytest.fixture(scope="module")
def space():
    return ab.space("nas_bench_macro")


@pytest.fixture(scope="module")
def labels(space):
    archs = list({space.key(arch): arch for arch in space.sample(90, seed=5)}.values())[:50]
    return ab.LabelledSet.from_frame(pd.DataFrame([{"arch": a.text, **metrics(a)} for a in archs]), space)


def test_labels_narrow_the_space_before_anything_is_evaluated(space, labels, tmp_path):
    found = ab.search(
        space,
        metrics,
        prior=labels,
        n_trials=12,
        sampler="tpe",
        narrow={"share": 0.02},
        storage=f"sqlite:///{tmp_path}/s.db",
        name="n",
    )
    chain = found.chain
    assert list(chain["study"]) == ["n", "n/2"]
    assert list(chain["parent"]) == ["", "n"]
    assert list(chain["evaluated"]) == [0, 12]
    assert chain["share"][0] == 1
    assert chain["share"][1] == found.space.size / space.size < 0.05
    assert "->" in chain["why"][1]
    assert all(arch in found.space for arch in found.evaluated["arch"])
    inside = [arch for arch in labels.archs if arch in found.space]
    assert chain["carried"][1] == len(inside)
    # The best label is never narrowed away.
    best = labels.frame.sort_values("acc", ascending=False)["arch"].iloc[0]
    assert best in found.space
    again = ab.search(
        space,
        refuse,
        prior=labels,
        n_trials=12,
        sampler="tpe",
        narrow={"share": 0.02},
        storage=f"sqlite:///{tmp_path}/s.db",
        name="n",
    )
    assert again.space.to_dict()["units"] == found.space.to_dict()["units"]
    assert list(again.evaluated["arch"]) == list(found.evaluated["arch"])


def test_a_space_is_narrowed_again_and_again_and_what_is_known_goes_along(space, labels):
    seen = []
    found = ab.search(
        space,
        lambda arch: seen.append(space.key(arch)) or metrics(arch),
        prior=labels,
        n_trials=18,
        narrow={"top": 4, "rounds": 3},
        name="p",
        sampler="tpe",
    )
    assert len(seen) == len(set(seen)) == 18
    assert not set(seen) & set(labels.keys)
    chain = found.chain
    assert list(chain["study"]) == ["p", "p/2", "p/3", "p/4"]
    assert list(chain["evaluated"]) == [0, 6, 6, 6]
    rows = found.trials
    for number, study in enumerate(found.studies[1:], start=1):
        own = ab.SearchSpace.from_json(study.user_attrs["space_json"])
        assert study.user_attrs[FACTS]["parent"] == found.studies[number - 1].study_name
        earlier = rows[
            (rows["source"] == "search") & rows["study"].isin([s.study_name for s in found.studies[:number]])
        ]
        expected = {a.text for a in labels.archs if a in own} | {arch for arch in earlier["arch"] if arch in own}
        carried = rows[(rows["study"] == study.study_name) & (rows["source"] != "search")]
        assert set(carried["arch"]) == expected
        assert list(carried["acc"]) == [metrics(arch)["acc"] for arch in carried["arch"]]
        best = max([*labels.frame["arch"], *earlier["arch"]], key=lambda arch: metrics(arch)["acc"])
        assert best in own  # never narrowed away
    assert found.best["acc"][0] == rows["acc"].max()
    assert "<table" in found._repr_html_()


def test_without_labels_the_first_part_is_spent_on_the_whole_space(space):
    found = ab.search(space, metrics, n_trials=60, narrow={"mass": 0.9, "rounds": 2}, sampler="random", name="w")
    assert list(found.chain["evaluated"]) == [20, 20, 20]
    assert found.chain["size"][0] == space.size
    assert found.chain["size"].iloc[-1] < space.size
    assert found.evaluated["arch"].nunique() == 60
    assert "widened for as many evaluations" in found.chain["why"].iloc[-1]
    first, last = (found.evaluated[found.evaluated["study"] == name]["acc"].mean() for name in ("w", "w/3"))
    assert last > first + 5


def test_a_killed_chain_goes_on_in_the_study_it_was_in(space, labels, tmp_path):
    options = {
        "prior": labels,
        "narrow": {"top": 5, "rounds": 2},
        "storage": f"sqlite:///{tmp_path}/s.db",
        "sampler": "tpe",
        "name": "k",
    }
    seen = []

    def stopping(arch):
        if len(seen) == 7:
            raise SystemExit  # the executor reports it as a failure of that evaluation
        seen.append(str(arch))
        return metrics(arch)

    with pytest.raises(ab.AutobuildError, match="failed one after another"):
        ab.search(space, stopping, n_trials=40, **options)
    found = ab.search(space, metrics, n_trials=40, **options)
    assert list(found.chain["study"]) == ["k", "k/2", "k/3"]
    assert len(found.evaluated) == found.evaluated["arch"].nunique() == 40
    assert list(found.evaluated["arch"])[:7] == seen


def test_limits_narrow_too(space, labels):
    found = ab.search(
        space, metrics, prior=labels, n_trials=10, narrow={"top": 5}, where="ms <= 4", sampler="tpe", name="l"
    )
    assert len(found.evaluated) == 10
    assert found.best["ms"].max() <= 4


@pytest.mark.parametrize(
    ("narrow", "options", "told"),
    [
        ({"top": 5, "share": 0.1}, {}, "exactly one of top, threshold, mass, share"),
        ({"topp": 5}, {}, "did you mean 'top'"),
        ({"top": 5, "rounds": 0}, {}, "rounds=0"),
        ({"rounds": 2}, {}, "exactly one of"),
        ({"top": 5}, {"target": ["acc", "-ms"]}, "2 targets"),
        ({"top": 5}, {"model": None}, "needs a model"),
        ({"top": 5}, {"n_trials": 8}, "too few"),
    ],
)
def test_narrowing_that_cannot_be_done_is_refused(space, narrow, options, told):
    with pytest.raises(ConfigError, match=told):
        ab.search(space, metrics, **{"n_trials": 30, "narrow": narrow, **options})
