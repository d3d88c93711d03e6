"""Searches that narrow: linked studies, what they carry over, and that nothing is evaluated twice in the chain."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time

import numpy as np
import pandas as pd
import pytest

import autobuild as ab
from autobuild.construct.dominance import undominated
from autobuild.errors import ConfigError
from autobuild.studies._study import INFO
from tests.studies.test_search import metrics, refuse


def search(space, evaluate, **options):
    """A search with the model that is fitted fastest; chains work alike with every model."""
    return ab.search(space, evaluate, **{"model": "linear", **options})


@pytest.fixture(scope="module")
def space():
    return ab.space("nas_bench_macro")


@pytest.fixture(scope="module")
def labels(space):
    archs = list({space.key(arch): arch for arch in space.sample(90, seed=5)}.values())[:50]
    return ab.LabelledSet.from_frame(pd.DataFrame([{"arch": a.text, **metrics(a)} for a in archs]), space)


def test_labels_narrow_the_space_before_anything_is_evaluated(space, labels, tmp_path):
    options = {"prior": labels, "n_trials": 12, "sampler": "tpe", "narrow": {"share": 0.02}, "name": "n"}
    options |= {"storage": f"sqlite:///{tmp_path}/s.db", "model": "auto"}
    found = search(space, metrics, **options)
    chain = found.chain
    assert list(chain["study"]) == ["n", "n/2"]
    assert list(chain["parent"]) == ["", "n"]
    assert list(chain["evaluated"]) == [0, 12]
    assert chain["space_share"][0] == 1
    assert chain["space_share"][1] == found.space.size / space.size < 0.05
    assert "->" in chain["why"][1]
    assert all(arch in found.space for arch in found.evaluated["arch"])
    inside = [arch for arch in labels.archs if arch in found.space]
    assert chain["reused"][1] == len(inside)
    # The best label is never narrowed away.
    best = labels.frame.sort_values("acc", ascending=False)["arch"].iloc[0]
    assert best in found.space
    again = search(space, refuse, **options)
    assert again.space.to_dict()["units"] == found.space.to_dict()["units"]
    assert list(again.evaluated["arch"]) == list(found.evaluated["arch"])


def test_a_space_is_narrowed_again_and_again_and_what_is_known_goes_along(space, labels):
    seen = []
    found = search(
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
        assert study.user_attrs[INFO]["parent"] == found.studies[number - 1].study_name
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
    found = search(space, metrics, n_trials=60, narrow={"mass": 0.9, "rounds": 2}, sampler="random", name="w")
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
        search(space, stopping, n_trials=40, **options)
    found = search(space, metrics, n_trials=40, **options)
    assert list(found.chain["study"]) == ["k", "k/2", "k/3"]
    assert len(found.evaluated) == found.evaluated["arch"].nunique() == 40
    assert list(found.evaluated["arch"])[:7] == seen


@pytest.mark.parametrize("with_labels", [True, False])
def test_a_chain_that_has_ended_grows_by_one_narrowing_more(space, labels, with_labels):
    seen = []

    def once(arch):
        seen.append(space.key(arch))
        return metrics(arch)

    with tempfile.TemporaryDirectory() as folder:
        options = {
            "prior": labels if with_labels else None,
            "narrow": {"share": 0.05, "rounds": 2 if with_labels else 1},
            "sampler": "tpe",
            "storage": f"sqlite:///{folder}/s.db",
            "name": "g",
        }
        first, larger = (12, 18) if with_labels else (40, 48)
        before = search(space, once, n_trials=first, **options)
        found = search(space, once, n_trials=larger, **options)
        assert len(seen) == len(set(seen)) == len(found.evaluated) == larger
        assert list(found.chain["evaluated"]) == [*before.chain["evaluated"], larger - first]
        assert list(found.evaluated["arch"])[:first] == list(before.evaluated["arch"])
        if with_labels:
            assert not set(seen) & set(labels.keys)
        smaller = search(space, refuse, n_trials=first, **options)  # a worker that was asked for less evaluates nothing
        assert list(smaller.evaluated["arch"]) == list(found.evaluated["arch"])


def test_a_chain_grows_before_it_has_ended(space, labels, tmp_path):
    """Studies keep the ends they were made with; what is added is shared out among the narrowings left."""
    options = {"prior": labels, "narrow": {"top": 5, "rounds": 3}, "storage": f"sqlite:///{tmp_path}/s.db"}

    def stop(progress):
        if progress.done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(space, metrics, n_trials=18, sampler="tpe", name="k", on_progress=stop, **options)
    found = search(space, metrics, n_trials=30, sampler="tpe", name="k", **options)
    assert list(found.chain["evaluated"]) == [0, 6, 6, 18]
    assert found.evaluated["arch"].nunique() == 30


def test_evaluations_that_fail_leave_the_first_part_longer_until_a_model_can_be_fitted(space):
    count = iter(range(1000))

    def failing(arch):
        if next(count) % 2:
            raise ValueError("no luck")
        return metrics(arch)

    found = search(space, failing, n_trials=48, narrow={"top": 4}, sampler="random", name="f")
    assert found.chain["evaluated"][0] == 20  # complete ones
    assert len(found.studies) == 2
    assert len(found.evaluated) == found.evaluated["arch"].nunique() == 48
    never = search(space, failing, n_trials=30, narrow={"top": 4}, sampler="random", name="g")
    assert len(never.studies) == 1
    assert "was not narrowed" in never.notes[-1]


def search_in_a_worker(space, labels, folder, address, killed_at, n_trials, pause_s=0.0):
    """Narrow and search; the process kills itself at the evaluation of this number, counted over all processes."""
    calls = folder / "calls.txt"

    def evaluate(arch):
        with calls.open("a") as file:
            file.write(f"{arch}\n")
        if len(calls.read_text().split()) == killed_at:
            os.kill(os.getpid(), 9)
        time.sleep(pause_s)
        return metrics(arch)

    options = {"sampler": "tpe", "name": "k", "seed": 1, "narrow": {"top": 5, "rounds": 3}}
    found = search(space, evaluate, prior=labels, n_trials=n_trials, storage=f"{address}{folder}/s.db", **options)
    # one that was asked for fewer may see what the others evaluate meanwhile
    assert len(found.evaluated) == found.evaluated["arch"].nunique() >= n_trials
    (folder / str(n_trials)).write_text(" ".join(map(str, found.chain["evaluated"])))


def start(*arguments):
    """A worker that need not import everything again."""
    process = multiprocessing.get_context("fork").Process(target=search_in_a_worker, args=arguments)
    process.start()
    return process


@pytest.mark.parametrize("address", ["sqlite:///", "journal:"])
def test_what_a_killed_worker_was_at_is_stood_in_for_in_the_study_it_belongs_to(space, labels, address, tmp_path):
    def run(killed_at, n_trials):
        process = start(space, labels, tmp_path, address, killed_at, n_trials)
        process.join()
        return process.exitcode

    assert run(9, 12) == -9  # in the third study
    assert run(0, 12) == 0
    assert (tmp_path / "12").read_text() == "0 4 4 4"
    assert run(15, 16) == -9  # grown
    assert run(0, 16) == 0
    assert (tmp_path / "16").read_text() == "0 4 4 4 4"
    calls = (tmp_path / "calls.txt").read_text().split()
    assert len(calls) == 18
    assert len(set(calls)) == 16  # twice what was under way, nothing else


def test_workers_that_were_asked_for_different_numbers_share_a_chain_that_grows(space, labels, tmp_path):
    asked = [(10, 15), (0, 15), (0, 24)]  # the first dies if the tenth is its own
    workers = [start(space, labels, tmp_path, "sqlite:///", *own, 0.3) for own in asked]
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers][1:] == [0, 0]
    assert sum(map(int, (tmp_path / "24").read_text().split())) == 24
    calls = (tmp_path / "calls.txt").read_text().split()
    assert len(set(calls)) == 24
    assert len(calls) <= 25


def test_limits_narrow_too(space, labels):
    found = search(
        space, metrics, prior=labels, n_trials=10, narrow={"top": 5}, where="ms <= 4", sampler="tpe", name="l"
    )
    assert len(found.evaluated) == 10
    assert found.best["ms"].max() <= 4


@pytest.mark.parametrize("how", [{"share": 0.02}, {"mass": 0.6, "rounds": 3}, {"top": 5, "rounds": 2}])
def test_several_targets_narrow_for_the_front(space, labels, how):
    seen = []
    found = search(
        space,
        lambda arch: seen.append(space.key(arch)) or metrics(arch),
        prior=labels,
        target=["acc", "-ms"],
        n_trials=18,
        narrow=how,
        sampler="nsga2",
        name="f",
    )
    rounds = how.get("rounds", 1)
    assert list(found.chain["evaluated"]) == [0, *[18 // rounds] * rounds]
    assert len(seen) == len(set(seen)) == 18
    assert not set(seen) & set(labels.keys)
    rows = found.trials
    for number, study in enumerate(found.studies[1:], start=1):
        own = ab.SearchSpace.from_json(study.user_attrs["space_json"])
        before = [earlier.study_name for earlier in found.studies[:number]]
        earlier = list(rows[(rows["source"] == "search") & rows["study"].isin(before)]["arch"])
        known = [*labels.frame["arch"], *earlier]
        values = np.array([[metrics(arch)["acc"], -metrics(arch)["ms"]] for arch in known])
        for row in undominated(values):  # the front known is never narrowed away
            assert known[row] in own
        why = study.user_attrs[INFO]["why"]
        assert "top" in how or "of the front in expectation" in why


def test_without_labels_a_front_is_narrowed_for_after_a_first_part(space):
    found = search(
        space, metrics, target=["acc", "-ms"], n_trials=45, narrow={"share": 0.05}, sampler="motpe", name="w"
    )
    assert list(found.chain["evaluated"]) == [22, 23]
    assert found.chain["space_share"][1] < 0.6
    assert found.evaluated["arch"].nunique() == 45
    # Whatever lies on the true front and was looked for is better than what chance finds.
    first, last = (found.evaluated[found.evaluated["study"] == name] for name in ("w", "w/2"))
    assert (last["acc"] - 5 * last["ms"]).mean() > (first["acc"] - 5 * first["ms"]).mean()


@pytest.mark.parametrize(
    ("narrow", "options", "told"),
    [
        ({"top": 5, "share": 0.1}, {}, "exactly one of top, threshold, mass, share"),
        ({"topp": 5}, {}, "did you mean 'top'"),
        ({"top": 5, "rounds": 0}, {}, "rounds=0"),
        ({"rounds": 2}, {}, "exactly one of"),
        ({"top": 5}, {"model": None}, "needs a model"),
        ({"top": 5}, {"n_trials": 8}, "too few"),
    ],
)
def test_narrowing_that_cannot_be_done_is_refused(space, narrow, options, told):
    with pytest.raises(ConfigError, match=told):
        search(space, metrics, **{"n_trials": 30, "narrow": narrow, **options})
