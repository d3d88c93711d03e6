"""The public face: the walk of the README, bound methods, displays, and laziness."""

import concurrent.futures
import copy
import functools
import inspect
import itertools
import math
import multiprocessing
import pickle
import subprocess
import sys

import numpy as np
import pytest

import autobuild as ab
from autobuild.construct import NoNetworkError
from autobuild.errors import ConfigError


def test_the_walk(small_model):
    scores = small_model.explain()
    built = scores.build(top=5)
    assert len(built) == len(list(built)) == 5
    assert built.frame.columns.tolist() == ["rank", "arch", "score", "predicted", "lower", "upper"]
    assert built[0] in small_model.space
    np.testing.assert_allclose(built.frame["predicted"], small_model.predict(list(built))["predicted"])


def test_built_networks_are_the_best_by_brute_force(small_model):
    scores = small_model.explain(scorer="hopnorm")
    a, b = scores.unit_scores.values()
    order = sorted(
        itertools.product(range(len(a)), range(len(b))), key=lambda ij: (-math.fsum((a[ij[0]], b[ij[1]])), ij)
    )
    built = scores.build(top=400)
    assert [arch.text for arch in built] == [small_model.space.assemble(ij).text for ij in order]
    assert len(scores.build(top=1000)) == 400
    np.testing.assert_allclose(built.scores[0], (max(a) + max(b)) / 2)


def test_narrowing_keeps_the_best_and_says_the_sizes(small_model):
    scores = small_model.explain(scorer="hopnorm")
    small = scores.narrow(top=3)
    assert small.size == 9
    assert "400 -> 9" in small.note
    assert scores.build(top=1)[0] in small
    best = scores.candidates.groupby("unit").head(3)
    assert sorted(best["candidate"]) == sorted(c.text for unit in small.units for c in unit)
    assert small_model.explain(small, scorer="hopnorm").build(top=1)[0] == scores.build(top=1)[0]
    assert 1 <= scores.narrow(mass=0.5).size <= scores.narrow(mass=0.99).size < 400
    assert scores.narrow(share=0.1).size <= 40
    assert "probability of" in scores.narrow(share=0.1).note
    assert scores.narrow(threshold=-1e9).size == 400
    for wrong in (
        {},
        {"top": 3, "mass": 0.5},
        {"mass": 2.0},
        {"mass": "half"},
        {"share": 0},
        {"share": True},
        {"top": 0},
    ):
        with pytest.raises(ConfigError, match=r"narrow|mass|share|top"):
            scores.narrow(**wrong)


@pytest.mark.parametrize("family", ["gp", "graph"])
def test_nouns_are_shown_in_a_line(small_labels, family):
    model = ab.fit(small_labels, "acc - 0.1*latency", model=family, seed=0, config=ab.FitConfig(epochs=10))
    scores = model.explain()
    built = scores.build(top=3)
    for noun in (model, scores, built):
        assert type(noun).__name__ in repr(noun) or "Scores" in repr(noun)
        assert len(repr(noun)) < 200
    assert repr(built).startswith(f"Built(3 architectures, the first {built[0].text}, predicted ")


@pytest.mark.parametrize("given", ["labels.csv", None, 3])
def test_labels_that_are_none_are_refused(given):
    for call in (ab.fit, ab.learning_curve):
        with pytest.raises(ConfigError, match=f"labels={given!r}: a labelled set is accepted"):
            call(given)
    with pytest.raises(ConfigError, match=f"labels={given!r}: a labelled set is accepted"):
        next(ab.rounds(given, "acc", lambda arch: 1.0))


def test_scores_and_architectures_that_are_none_are_refused(small_model):
    for given in (3, None, [], [small_model]):
        with pytest.raises(ConfigError, match="narrow takes scores"):
            ab.narrow(given, top=3)
    with pytest.raises(ConfigError, match="archs=3: an architecture"):
        small_model.predict(3)


def test_several_targets_are_narrowed_for_their_front(small_labels, small_space):
    targets = ("acc", "acc - 0.9*latency")  # which pull against each other
    scores = [ab.fit(small_labels, target, model="gp", seed=0).explain() for target in targets]
    small = ab.narrow(scores, mass=0.8)
    assert small.size < 400
    assert "of the front in expectation" in small.note
    assert ab.narrow(scores, mass=0.8).to_json() == small.to_json()
    assert ab.narrow(scores, share=0.1).size <= 40
    assert ab.narrow(scores[:1], share=0.1).to_json() == scores[0].narrow(share=0.1).to_json()
    front = ab.pareto(scores)
    assert np.mean([arch in small for arch in front["arch"]]) > 0.5
    kept = {(unit.name, c.text) for own in scores for unit in own.narrow(top=3).units for c in unit}
    assert {(unit.name, c.text) for unit in ab.narrow(scores, top=3).units for c in unit} == kept
    cheap = ab.narrow(scores, share=0.05, where="latency <= 6")
    assert cheap.size <= 20
    assert "networks that break latency <= 6" in cheap.note
    other = ab.space("tiny_mbconv")
    for wrong in (
        [],
        [scores[0], small_space],
        [scores[0], scores[0].model.explain(ab.narrow(scores, top=3))],
        [other],
    ):
        with pytest.raises(ConfigError, match="on the same space"):
            ab.narrow(wrong, top=3)
    with pytest.raises(ConfigError, match="exactly one of"):
        ab.narrow(scores, top=3, mass=0.5)


def test_limits_drop_what_no_network_within_them_can_have(small_model, small_labels):
    gp = ab.fit(small_labels, "acc", model="gp", seed=0)
    scores = gp.explain()
    cheap = scores.narrow(where="latency <= 6")
    assert cheap.size < 400
    assert "networks that break latency <= 6" in cheap.note
    held = [arch for arch, value in zip(small_labels.archs, small_labels.frame["latency"], strict=True) if value <= 6]
    assert held
    assert all(arch in cheap for arch in held)
    both = scores.narrow(share=0.05, where="latency <= 6")
    assert both.size <= 20
    assert scores.build(top=1, where="latency <= 6")[0] in both
    with pytest.raises(NoNetworkError, match="latency"):
        scores.narrow(where="latency <= -50")
    with pytest.raises(ConfigError, match="additive"):
        small_model.explain(scorer="hopnorm").narrow(where="latency <= 6")


def test_identity_twins_are_built_once():
    space = ab.sequence_space("twins", {"a": 2, "b": 2}, {"op": [0, 1, 2]}, text="{op}", identity={"op": 0})
    rng = np.random.default_rng(0)
    from autobuild.construct import build_by_sum

    built = build_by_sum(space, {unit.name: rng.normal(size=unit.size) for unit in space.units}, top=1000)
    keys = [space.key(arch) for arch in built]
    assert len(set(keys)) == len(keys) == (1 + 2 + 4) ** 2


def test_everything_displays_in_jupyter(small_model, small_labels):
    scores = small_model.explain()
    for thing in (small_model, scores, scores.build(top=2), small_model.space, scores.narrow(top=2), small_labels):
        assert thing._repr_html_().startswith(("<p>", "<div>", "<b>", "<table"))


@pytest.mark.parametrize("name", [name for name in ab.__all__ if inspect.isroutine(getattr(ab, name))])
def test_functions_of_the_face_pickle_and_copy(name):
    function = getattr(ab, name)
    assert pickle.loads(pickle.dumps(function)) is function
    assert copy.deepcopy(function) is function


def test_wrong_names_offer_the_nearest():
    with pytest.raises(AttributeError, match="did you mean 'LabelledSet'"):
        _ = ab.LabeledSet


def test_importing_is_lazy():
    code = (
        "import autobuild, sys; autobuild.space('ofa_mbv3'); "
        "print([m for m in ('torch', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("method", "function"),
    [
        (ab.FittedModel.explain, ab.explain),
        (ab.FittedModel.save, ab.save_model),
        (ab.FittedModel.load, ab.load_model),
        (ab.Scores.build, ab.build),
        (ab.Scores.narrow, ab.narrow),
    ],
)
def test_methods_take_what_their_functions_take(method, function):
    of_method = list(inspect.signature(method).parameters.values())
    of_function = list(inspect.signature(function).parameters.values())
    skipped = 0 if method is ab.FittedModel.load else 1
    assert [(p.name, p.default, p.kind) for p in of_method[skipped:]] == [
        (p.name, p.default, p.kind) for p in of_function[skipped:]
    ]


def _raised(thing):
    return isinstance(thing, type) and issubclass(thing, Exception)


@pytest.mark.parametrize("name", ab.__all__)
def test_the_face_shows_all_of_its_parameters(name):
    thing = getattr(ab, name)
    kinds = {p.kind for p in inspect.signature(thing).parameters.values()} if not _raised(thing) else set()
    options = {"load_zoo", "register_space", "space"}  # of networks or spaces
    assert name in options or inspect.Parameter.VAR_KEYWORD not in kinds
    assert len(inspect.getdoc(thing) or "") > 60


def test_every_name_of_the_face_is_listed_once():
    assert sorted(ab._FROM) == sorted(ab.__all__) == sorted(set(ab.__all__))


def test_functions_of_the_face_run_in_other_processes(small_labels):
    """As joblib and multiprocessing send them: pickled by name."""
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        model = pool.submit(ab.fit, small_labels, "acc", model="linear").result()
    assert model.report["n_train"] == len(small_labels)


def test_targets_may_name_costs():
    """A bare name is a label column or a cost: the cost where the column repeats it; if they differ the error asks."""
    space = ab.space("tiny_mbconv")
    labels = ab.LabelledSet.read("tiny_mbconv", space, n=60)
    config = ab.FitConfig(epochs=2)
    model = ab.fit(labels, "acc - 1e-5*cost.macs", config=config, model="graph")
    expected = labels.frame["acc"] - 1e-5 * labels.frame["macs"]
    np.testing.assert_allclose(model.training["target"], expected)
    differs = labels.frame[["arch", "acc", "macs"]].assign(macs=lambda frame: frame["macs"] + 1)
    with pytest.raises(ab.AutobuildError, match=r"label\.macs.*cost\.macs"):
        ab.fit(ab.LabelledSet.from_frame(differs, space), "acc - 1e-5*macs", config=config, model="graph")
    np.testing.assert_allclose(
        ab.fit(labels, "acc - 1e-5*macs", config=config, model="graph").training["target"], expected
    )
    bare = ab.LabelledSet.from_frame(labels.frame[["arch", "acc"]], space)
    np.testing.assert_allclose(
        ab.fit(bare, "acc - 1e-5*macs", config=config, model="graph").training["target"], expected
    )


def test_what_is_no_space_no_list_and_no_labels_is_refused(small_model, small_labels):
    scores = small_model.explain()
    with pytest.raises(ConfigError, match="space='small': a search space"):
        small_model.explain("small")
    with pytest.raises(ConfigError, match="pareto takes a list"):
        ab.pareto(scores)
    with pytest.raises(ConfigError, match=r"time_limit_s: given '10'"):
        scores.build(where="latency <= 3", labels=small_labels, time_limit_s="10")
    for build in (scores.build, functools.partial(ab.build, scores)):
        with pytest.warns(DeprecationWarning, match="time_limit= is now called time_limit_s="):
            assert len(build(top=1, where="latency <= 90", labels=small_labels, time_limit=5)) == 1
        with (
            pytest.warns(DeprecationWarning, match="time_limit="),
            pytest.raises(ConfigError, match="time_limit= and time_limit_s= are given"),
        ):
            build(time_limit=5, time_limit_s=5)
    with pytest.raises(ConfigError, match=r"labels='labels\.csv': a labelled set"):
        scores.build(where="latency <= 3", labels="labels.csv")
    others = ab.LabelledSet.read("tiny_mbconv", ab.space("tiny_mbconv"), n=30)
    with pytest.raises(ConfigError, match="labels of 'tiny_mbconv'; the scores are of 'small'"):
        scores.build(where="acc >= 50", labels=others)


def test_limits_that_are_no_sums_say_so_where_nothing_is_found(small_model, small_labels):
    scores = small_model.explain()
    with pytest.raises(NoNetworkError, match=r"log\(latency\) <= -9: only checked on the networks that score best"):
        scores.build(where="log(latency) <= -9", labels=small_labels)


def test_old_import_paths_warn_and_work():
    code = (
        "import warnings; warnings.simplefilter('error', DeprecationWarning)\n"
        "import autobuild as ab\n"
        "try:\n    from autobuild.explain import register_scorer\n"
        "except DeprecationWarning as told:\n    assert 'autobuild.importance.register_scorer' in str(told), told\n"
        "else:\n    raise SystemExit('no warning')\n"
        "warnings.simplefilter('ignore')\n"
        "from autobuild.fit import FittedModel\n"
        "assert FittedModel is ab.FittedModel and callable(ab.fit)\n"
        "from autobuild.search import search\n"
        "assert search.__module__ == 'autobuild.studies.searching'"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_fits_and_explanations_show_progress_where_it_is_asked_for(small_labels, monkeypatch, capsys):
    for setting, shown in (("0", False), ("1", True)):
        monkeypatch.setenv("AUTOBUILD_PROGRESS", setting)
        monkeypatch.setenv("FORCE_COLOR", "1")  # rich draws no bar that goes away where it sees no terminal
        model = ab.fit(small_labels, "acc", model="linear")
        assert ("\x1b[" in capsys.readouterr().err) == shown
        model.explain()
        assert ("explaining" in capsys.readouterr().err) == shown
