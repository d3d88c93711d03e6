from __future__ import annotations

import functools
import json
import math
import os
import pickle
import shlex
import subprocess
import sys
import time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import user_functions

import autobuild as ab
from autobuild.errors import ConfigError, EvaluationError, LabelError, Pruned
from autobuild.evaluate import TrainingEvaluator, as_evaluator, label_architectures
from autobuild.evaluate.digits import DigitTask
from autobuild.evaluate.evaluator import EVALUATORS, SteppedEvaluator
from autobuild.evaluate.executors import Failed, Finished, Reported, Stopped, make_executor
from autobuild.evaluate.executors.perform import perform
from autobuild.evaluate.metrics import UnusableMetrics, checked_metrics

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def space():
    return ab.space("tiny_mbconv")


@pytest.fixture(scope="module")
def arch(space):
    return space.sample(1, seed=3)[0]


@pytest.fixture
def quick_training(monkeypatch):
    task = DigitTask(n_train=96, n_test=100)
    monkeypatch.setitem(EVALUATORS, "tiny_mbconv", lambda: TrainingEvaluator(task=task, epochs=3))


def command(kind, *more):
    return f"command:{shlex.join([sys.executable, str(HERE / 'program.py'), kind, *map(str, more)])}"


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def wait_for(condition, seconds=300.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_numbers_of_numpy_and_torch_are_numbers():
    given = {"a": np.float32(1.5), "b": np.int64(3), "c": torch.tensor(2.5), "d": np.array(4.0), "e": 7}
    assert checked_metrics(given) == {"a": 1.5, "b": 3.0, "c": 2.5, "d": 4.0, "e": 7.0}
    assert all(type(value) is float for value in checked_metrics(given).values())
    assert math.isnan(checked_metrics({"a": 1, "b": float("nan")}, ["a"])["b"])
    assert checked_metrics(np.float64(3.0), ["acc"]) == {"acc": 3.0}
    ones = {"a": True, "b": np.bool_(1), "c": Decimal("1"), "d": np.ones((1, 1)), "e": torch.ones(1), "f": Fraction(1)}
    assert checked_metrics(ones) == dict.fromkeys("abcdef", 1.0)
    assert checked_metrics((3.0,), ["acc"]) == {"acc": 3.0}
    assert checked_metrics((3.0, 4), ["acc", "ms"]) == {"acc": 3.0, "ms": 4.0}
    assert checked_metrics(pd.Series({"acc": 3.0}), ["acc"]) == {"acc": 3.0}


def test_what_is_no_number_is_left_out_and_told_of():
    found = checked_metrics({"acc": 1.0, "note": "hi", "curve": [1, 2], "extra": 3, "none": None}, ["acc"])
    assert found == {"acc": 1.0, "extra": 3.0}
    assert found.ignored == ("'note': 'hi' (str)", "'curve': [1, 2] (list)", "'none': None (NoneType)")
    assert checked_metrics(found).ignored == found.ignored
    with pytest.raises(UnusableMetrics) as caught:
        checked_metrics({"acc": "x", "ms": 2.0, "nan": math.nan}, ["acc"])
    assert caught.value.metrics["ms"] == 2.0


def test_functions_that_give_no_metrics_are_refused_by_name(small_space):
    async def waits(arch):
        return 1.0

    def yields(arch):
        yield 1.0

    class Needs:
        def __init__(self, folder):
            self.folder = folder

        def __call__(self, arch):
            return 1.0

    for given, told in ((waits, "waits is async"), (yields, "yields is a generator"), (Needs, "give an object")):
        with pytest.raises(ConfigError, match=told):
            as_evaluator(given, small_space)
    arch = small_space.sample(1, 0)[0]
    with pytest.raises(EvaluationError, match="async and gave a coroutine"):
        as_evaluator(lambda arch: waits(arch), small_space)(small_space, arch, 0)
    partial = functools.partial(lambda factor, arch, seed: {"acc": factor + seed}, 2.0)
    assert as_evaluator(partial, small_space)(small_space, arch, 3) == {"acc": 5.0}
    assert as_evaluator(Needs("x"), small_space, needs=["acc"])(small_space, arch, 0) == {"acc": 1.0}


def test_optunas_own_exception_prunes(small_space):
    import optuna

    def gives_up(space, arch, seed):
        raise optuna.TrialPruned("bad start")

    assert perform(7, small_space, gives_up, "w1k3|w1k3", 0, None) == Stopped(7)


@pytest.mark.parametrize(
    ("given", "needs", "told"),
    [
        (None, [], "gave None (NoneType)"),
        ("93.5", ["acc"], "gave '93.5' (str)"),
        (93.5, [], "gave 93.5 (float); accepted: metric names with numbers"),
        (93.5, ["acc", "ms"], "gave 93.5 (float)"),
        (float("nan"), ["acc"], "gave acc=nan, and the target needs a finite number"),
        ({}, [], "gave no metrics"),
        ({"acc": "93.5"}, [], "gave no metrics: 'acc': '93.5' (str)"),
        ({"acc": "93.5"}, ["acc"], "gave 'acc': '93.5' (str); accepted: a number"),
        ({"acc": [1, 2]}, ["acc"], "[1, 2] (list)"),
        ({"acc": np.zeros(2)}, ["acc"], "(ndarray)"),
        ({"acc": torch.zeros(2, 1)}, ["acc"], "(Tensor)"),
        ({"acc": 1j}, ["acc"], "1j (complex)"),
        ({"acc": 10**400}, ["acc"], "(int)"),
        ({1: 2.0}, [], "gave no metrics: 1: 2.0 (float)"),
        ({"acc": None}, ["acc"], "None (NoneType)"),
        ((1.0, 2.0), ["acc"], "gave (1.0, 2.0) (tuple)"),
        ((x for x in [1.0]), ["acc"], "gave a generator"),
        ({"acc": math.inf}, ["acc"], "acc=inf"),
        ({"accuracy": 1.0}, ["acc"], "gave no 'acc', which the target needs: did you mean 'accuracy'"),
        ({"acc": "x" * 5000}, [], "xxx... (str)"),
    ],
)
def test_everything_else_is_refused_saying_what_came(given, needs, told):
    with pytest.raises(EvaluationError) as caught:
        checked_metrics(given, needs, source="f")
    assert told in str(caught.value)
    assert len(str(caught.value)) < 400


# --- kinds ------------------------------------------------------------------------------------------------------------


def test_unknown_kinds_are_answered_with_the_nearest(space):
    for given, wanted in {
        "trian": "did you mean 'train'",
        "tabel:x.csv": "did you mean 'table:FILE'",
        "comand:ls": "did you mean 'command:PROGRAM ARGUMENTS'",
        "": "unknown evaluator",
        "train+latncy": "did you mean 'latency'",
    }.items():
        with pytest.raises(ConfigError, match="accepted: train, latency") as caught:
            as_evaluator(given, space)
        assert wanted in str(caught.value), given


def test_a_table_serves_a_narrowed_space_and_equal_networks(tmp_path):
    space = ab.space("nas_bench_macro")
    small = space.restrict({unit.name: [0, 1] for unit in space.units})
    archs = [*space.sample(60, seed=0), *small.sample(5, seed=0)]
    values = {space.key(arch): float(number) for number, arch in enumerate(archs)}
    frame = pd.DataFrame({"arch": [str(a) for a in archs], "acc": [values[space.key(a)] for a in archs]})
    frame["ms"] = np.nan
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert any(arch not in small for arch in archs)  # rows that the narrowed space no longer holds
    evaluator = as_evaluator(f"table:{tmp_path / 't.csv'}", small, needs=["acc"])
    for arch in archs:
        if arch in small:
            assert evaluator(small, str(arch), 0)["acc"] == frame.loc[frame["arch"] == str(arch), "acc"].iloc[0]
    stranger = next(arch for arch in small.sample(50, seed=9) if space.key(arch) not in values)
    with pytest.raises(EvaluationError, match=r"is not among the \d+ networks of .*t\.csv"):
        evaluator(small, stranger, 0)
    inside = next(arch for arch in archs if arch in small)
    with pytest.raises(EvaluationError, match="ms=nan"):
        as_evaluator(f"table:{tmp_path / 't.csv'}", small, needs=["ms"])(small, inside, 0)
    with pytest.raises(EvaluationError, match="gives no 'fid', which the target needs"):
        as_evaluator(f"table:{tmp_path / 't.csv'}", space, needs=["fid"])
    with pytest.raises(LabelError, match=r"none\.csv"):
        as_evaluator(f"table:{tmp_path / 'none.csv'}", space)


def test_equal_networks_share_a_row(tmp_path):
    space = ab.space("nas_bench_macro")
    arch = next(a for a in space.sample(200, seed=1) if space.key(a) != str(a))
    twin = next(a for a in space.sample(20000, seed=2) if space.key(a) == space.key(arch) and a != arch)
    labels = ab.LabelledSet.from_frame(pd.DataFrame({"arch": [str(arch)], "acc": [61.0]}), space)
    assert as_evaluator("table", space, labels=labels)(space, twin, 0) == {"acc": 61.0}
    assert as_evaluator(labels, space)(space, twin, 0) == {"acc": 61.0}
    with pytest.raises(ConfigError, match="no labels to look up"):
        as_evaluator("table", space)


@pytest.fixture(scope="module")
def surrogate_models(small_labels):
    return {name: ab.fit(small_labels, name, model="linear", seed=0) for name in ("acc", "-latency", "acc - latency")}


def test_a_surrogate_gives_the_metric_of_its_target(small_space, surrogate_models, tmp_path):
    folders = {}
    for number, (target, model) in enumerate(surrogate_models.items()):
        folders[target] = str(tmp_path / f"m{number}")
        model.save(folders[target])
    arch = small_space.sample(1, seed=5)[0]
    predicted = {target: float(model.predict(arch)["predicted"][0]) for target, model in surrogate_models.items()}

    def made(folders, needs=()):
        return as_evaluator(f"surrogate:{folders}", small_space, needs=needs, load_model=ab.FittedModel.load)

    both = made(f"{folders['acc']}, {folders['-latency']}", ["acc", "latency"])
    assert both(small_space, arch, 0) == {
        "acc": pytest.approx(predicted["acc"]),
        "latency": pytest.approx(-predicted["-latency"]),
    }
    mixed = made(folders["acc - latency"])
    assert mixed(small_space, arch, 0) == {"predicted": pytest.approx(predicted["acc - latency"])}
    copy = pickle.loads(pickle.dumps(both))
    assert copy(small_space, arch, 0) == both(small_space, arch, 0)
    assert as_evaluator(surrogate_models["acc"], small_space)(small_space, arch, 0)["acc"] == pytest.approx(
        predicted["acc"]
    )
    with pytest.raises(EvaluationError, match="2 of them predict 'acc'"):
        made(f"{folders['acc']},{folders['acc']}")
    with pytest.raises(EvaluationError, match="gives no 'acc', which the target needs"):
        made(folders["-latency"], ["acc"])
    with pytest.raises(EvaluationError, match="names no model"):
        made(" , ")
    with pytest.raises(ab.AutobuildError, match="nowhere"):
        made(str(tmp_path / "nowhere"))
    tiny = ab.space("tiny_mbconv")
    other = as_evaluator(surrogate_models["acc"], tiny)
    with pytest.raises(EvaluationError, match="surrogate "):
        other(tiny, tiny.sample(1)[0], 0)


def test_training_reports_after_each_epoch_and_ends_as_without(space, arch, quick_training):
    evaluator = as_evaluator("train", space, needs=["acc"])
    assert isinstance(evaluator, SteppedEvaluator)
    reports = []
    stepped = evaluator.steps(space, arch, 1, lambda step, metrics: reports.append((step, metrics["acc"])))
    plain = evaluator(space, arch, 1)
    assert [step for step, _ in reports] == [1, 2]
    assert all(0 <= acc <= 100 for _, acc in reports)
    for name in ("acc", "params", "macs"):
        assert stepped[name] == plain[name]

    def stop(step, metrics):
        raise Pruned

    with pytest.raises(Pruned):
        evaluator.steps(space, arch, 1, stop)
    with pytest.raises(EvaluationError, match="has no evaluator of its own"):
        as_evaluator("train", ab.space("ofa_mbv3"))
    with pytest.raises(EvaluationError, match="gives no 'fid'"):
        as_evaluator("train", space, needs=["fid"])


def test_an_intermediate_value_is_that_of_a_training_that_is_cut_there(space, arch):
    """The first epochs of a longer training are the same steps; only the schedule differs, so it is held constant."""
    task = DigitTask(n_train=96, n_test=100)
    reports = []
    long = TrainingEvaluator(task=task, epochs=2, warm_up=1.0 - 1e-9, learning_rate=1e-30)
    long.steps(space, arch, 0, lambda step, metrics: reports.append(metrics["acc"]))
    short = TrainingEvaluator(task=task, epochs=1, warm_up=1.0 - 1e-9, learning_rate=1e-30)
    assert reports[0] == pytest.approx(short(space, arch, 0)["acc"], abs=2.0)


def test_latency_is_measured_for_trained_and_for_declared_networks(space, arch, quick_training):
    assert as_evaluator("latency", space, needs=["latency_ms"])(space, arch, 0)["latency_ms"] > 0
    both = as_evaluator("train+latency", space, needs=["acc", "latency_ms"])
    assert set(both(space, arch, 0)) == {"acc", "params", "macs", "train_seconds", "latency_ms"}
    macro = ab.space("nas_bench_macro")
    evaluator = as_evaluator("latency", macro).evaluator
    assert (evaluator.input_shape, evaluator.batch) == ((3, 32, 32), 64)
    assert type(evaluator)(evaluator.input_shape, 2, 2, 1)(macro, macro.sample(1)[0], 0)["latency_ms"] > 0
    sized = ab.space("ofa_mbv3", resolution=[128, 160])
    meter = as_evaluator("latency", sized).evaluator
    assert meter.batch == 1
    with pytest.raises(EvaluationError, match="gives no 'acc'"):
        as_evaluator("latency", space, needs=["acc"])
    with pytest.raises(EvaluationError, match="graphs only"):
        as_evaluator("latency", ab.sequence_space("own", units={"a": [1]}, features={"k": [3, 5]}, text="k{k}"))


def test_a_chosen_resolution_is_the_size_of_the_input(monkeypatch):
    from autobuild.evaluate import latency

    seen = []
    monkeypatch.setattr(latency, "measure_latency", lambda net, shape, *how: seen.append(shape) or {"latency_ms": 1.0})
    space = ab.space("ofa_mbv3", resolution=[128, 160])
    evaluator = as_evaluator("latency", space)
    archs = space.sample(4, seed=0)
    for arch in archs:
        evaluator(space, arch, 0)
    assert seen == [(3, *[space.layers(arch)[0][0]["resolution"]] * 2) for arch in archs]


# --- Python functions -------------------------------------------------------------------------------------------------


def test_functions_are_found_by_name(space, arch):
    layers = len(str(arch).split("-"))
    named = as_evaluator("python:user_functions:depth", space, needs=["acc"])
    assert named(space, str(arch), 0) == {"acc": layers}
    assert as_evaluator("python:user_functions:number", space, needs=["fid"])(space, arch, 0) == {"fid": 4.5}
    assert as_evaluator("python:user_functions:seeded", space)(space, arch, 8) == {"acc": 8.0}
    stepped = as_evaluator("python:user_functions:reporting", space)
    reports = []
    assert stepped.steps(space, arch, 1, lambda *given: reports.append(given)) == {"acc": 3.0}
    assert reports == [(1, {"acc": 1.0})]
    assert not isinstance(named, SteppedEvaluator)
    whole = as_evaluator("python:user_functions:Whole", space)
    assert whole(space, arch, 4) == {"acc": len(space.units), "seed": 4}
    whole(space, arch, 4)
    assert sys.modules["user_functions"].Whole.made == 1  # once a process: it may keep what it made ready


def test_functions_may_be_given_as_such(space, arch):
    evaluator = as_evaluator(lambda arch: len(arch.runs), space, needs=["acc"])
    assert evaluator(space, str(arch), 0) == {"acc": len(space.stages)}
    assert as_evaluator(user_functions.Whole(), space)(space, arch, 2)["seed"] == 2
    assert as_evaluator(TrainingEvaluator(), space).evaluator == TrainingEvaluator()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("user_functions", "write python:package.module:function"),
        ("nowhere_at_all:f", "nowhere_at_all cannot be imported (ModuleNotFoundError"),
        ("user_functions:deph", "has no 'deph': did you mean 'depth'"),
        ("user_functions:VALUE", "is 3, which cannot be called"),
        ("user_functions:too_many", "takes (arch, epochs, lr); accepted: a function of (arch)"),
        ("user_functions:nothing_taken", "takes (); accepted"),
    ],
)
def test_names_that_lead_nowhere(space, name, told):
    with pytest.raises(ConfigError) as caught:
        as_evaluator(f"python:{name}", space)
    assert told in str(caught.value)


def test_modules_of_the_working_folder_are_found_by_workers_too(space, arch, tmp_path, monkeypatch):
    (tmp_path / "my_own_evaluation.py").write_text("def f(arch):\n    return {'acc': len(str(arch))}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    evaluator = as_evaluator("python:my_own_evaluation:f", space)
    monkeypatch.chdir("/")
    with make_executor("local", space, evaluator, n_jobs=1) as executor:
        executor.submit(0, str(arch), 0)
        assert executor.wait(60) == [Finished(0, {"acc": float(len(str(arch)))})]
    sys.modules.pop("my_own_evaluation")


# --- commands ---------------------------------------------------------------------------------------------------------


def test_a_program_is_asked_in_json_and_answers_in_json(space, arch):
    layers = sum(map(len, space.layers(arch)))
    assert as_evaluator(command("good"), space, needs=["acc"])(space, arch, 3) == {"acc": layers + 0.3, "params": 7.0}
    assert as_evaluator(command("pretty"), space)(space, arch, 0) == {"acc": layers, "params": 7.0}
    reports = []
    stepped = as_evaluator(command("steps"), space)
    assert stepped.steps(space, arch, 0, lambda *given: reports.append(given)) == {"acc": 3 * layers}
    assert reports == [(step, {"acc": step * layers}) for step in (1, 2, 3)]
    assert stepped(space, arch, 0) == {"acc": 3 * layers}


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("rubbish", "printed what is no JSON object: 'epoch 1: loss 0.3\\nacc = 93.5'; its standard output takes"),
        ("list", "printed what is no JSON object: '[93.5]'"),
        ("two", "printed 2 objects of metrics"),
        ("nothing", "printed no metrics"),
        ("nan", "gave acc=nan, and the target needs a finite number"),
        ("text", "'93.5' (str)"),
        ("badstep", "printed the step 'one'"),
        ("fails", "ended with exit code 3: ...xx"),
        ("killed", "was ended by the signal SIGKILL: evaluating "),
    ],
)
def test_programs_that_misbehave(space, arch, kind, told):
    evaluator = as_evaluator(command(kind), space, needs=["acc"])
    with pytest.raises(EvaluationError) as caught:
        evaluator(space, arch, 0)
    assert told in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert caught.value.retry == (kind == "killed")
    if kind == "fails":
        assert str(caught.value).endswith("CUDA out of memory")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("command:", "names no program"),
        ("command:no_such_program_here --x", "there is no program 'no_such_program_here'"),
        ("command:python 'train.py", "does not read as a command"),
    ],
)
def test_commands_that_cannot_run(space, line, told):
    with pytest.raises(ConfigError, match=told):
        as_evaluator(line, space)


@pytest.mark.parametrize("how", ["prune", "cancel", "time limit", "close", "inline prune"])
def test_a_program_is_ended_with_all_it_has_started(space, arch, tmp_path, how):
    pids = tmp_path / "pids"
    evaluator = as_evaluator(command("endless", pids), space)
    name = "inline" if how.startswith("inline") else "local"
    limit = 3.0 if how == "time limit" else None
    with make_executor(name, space, evaluator, n_jobs=1, time_limit_s=limit) as executor:
        executor.submit(0, str(arch), 0)
        assert isinstance(executor.wait(60)[0], Reported)
        both = [int(pid) for pid in pids.read_text().split()]
        assert not any(map(gone, both))
        if "prune" in how:
            executor.prune(0)
        if how == "cancel":
            executor.cancel(0)
            assert executor.wait(60) == []
        elif how != "close":
            events = executor.wait(60)
            while isinstance(events[-1], Reported):
                events = executor.wait(60)
            assert isinstance(events[-1], Failed if limit else Stopped)
    wait_for(lambda: all(map(gone, both)))


def test_a_program_ends_when_what_started_it_is_killed(space, arch, tmp_path):
    pids, script = tmp_path / "pids", tmp_path / "driver.py"
    script.write_text(
        "import sys\nimport autobuild as ab\nfrom autobuild.evaluate import as_evaluator\n"
        "space = ab.space('tiny_mbconv')\n"
        f"as_evaluator({command('endless', pids)!r}, space)(space, {str(arch)!r}, 0)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    driver = subprocess.Popen([sys.executable, str(script)], env=env)
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    both = [int(pid) for pid in pids.read_text().split()]
    assert not any(map(gone, both))
    driver.kill()
    driver.wait()
    wait_for(lambda: all(map(gone, both)))


def test_labels_of_different_evaluators_never_mix(space, tmp_path):
    archs = space.sample(2, seed=0)
    out = tmp_path / "l.csv"
    evaluator = as_evaluator("python:user_functions:depth", space)
    label_architectures(space, evaluator, archs, out, n_jobs=1, latency=False)
    recipe = json.loads((tmp_path / "l.recipe.json").read_text())
    assert recipe == {
        "space": "tiny_mbconv",
        "evaluator": "python",
        "settings": {"function": "user_functions:depth"},
    }
    with pytest.raises(LabelError, match="another recipe"):
        label_architectures(space, as_evaluator(command("good"), space), archs, out, latency=False)
