"""`ab.search`: what it evaluates, enters, keeps and refuses."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import optuna
import pandas as pd
import pytest

import autobuild as ab
from autobuild.construct.dominance import undominated
from autobuild.cost import read_hardware
from autobuild.errors import ConfigError, EvaluationError, Pruned, TargetError
from autobuild.evaluate import EvaluationWarning
from autobuild.studies._study import INFO
from autobuild.studies._worker import MAX_FAILURES


@pytest.fixture(scope="module")
def space():
    return ab.space("nas_bench_macro")


@pytest.fixture(scope="module")
def labels(space):
    archs = list({space.key(arch): arch for arch in space.sample(80, seed=5)}.values())[:40]

    rows = [{"arch": arch.text, **metrics(arch)} for arch in archs]
    return ab.LabelledSet.from_frame(pd.DataFrame(rows), space)


def metrics(arch):
    digits = [int(digit) for digit in str(arch)]
    return {"acc": float(sum(d * (i + 1) for i, d in enumerate(digits))), "ms": 1.0 + sum(d == 2 for d in digits)}


def everything(space):
    """Every network of a space with its metrics, each once."""
    import itertools

    archs = [space.assemble(i) for i in itertools.product(*(range(unit.size) for unit in space.units))]
    return {arch.text: metrics(arch) for arch in {space.key(arch): arch for arch in archs}.values()}


@pytest.mark.parametrize("storage", [None, "sqlite:///{}/s.db", "journal:{}/s.journal"])
@pytest.mark.parametrize("sampler", ["random", "tpe", "evolution"])
def test_as_many_distinct_networks_as_asked_for(space, storage, sampler, tmp_path):
    address = storage and storage.format(tmp_path)
    seen = []
    found = ab.search(
        space, lambda arch: seen.append(str(arch)) or metrics(arch), n_trials=15, sampler=sampler, storage=address
    )
    assert len(seen) == len(set(seen)) == 15
    rows = found.evaluated
    assert sorted(rows["arch"]) == sorted(seen)
    assert list(rows["acc"]) == [metrics(arch)["acc"] for arch in rows["arch"]]
    assert list(rows["ms"]) == [metrics(arch)["ms"] for arch in rows["arch"]]
    assert found.best["acc"][0] == rows["acc"].max() == found.study.best_value
    assert (rows["seconds"] >= 0).all()


def test_the_same_seed_gives_the_same_networks(space):
    runs = [ab.search(space, metrics, n_trials=12, sampler="tpe", seed=3).evaluated["arch"] for _ in range(2)]
    assert list(runs[0]) == list(runs[1])
    assert list(ab.search(space, metrics, n_trials=12, sampler="tpe", seed=4).evaluated["arch"]) != list(runs[0])


def test_a_finished_search_has_nothing_to_do_and_more_trials_go_on(space, tmp_path):
    address = f"sqlite:///{tmp_path}/s.db"
    first = ab.search(space, metrics, n_trials=5, storage=address)
    again = ab.search(space, refuse, n_trials=5, storage=address)
    assert list(again.evaluated["arch"]) == list(first.evaluated["arch"])
    more = ab.search(space, metrics, n_trials=8, storage=address)
    assert list(more.evaluated["arch"])[:5] == list(first.evaluated["arch"])
    assert more.evaluated["arch"].nunique() == 8


def refuse(arch):
    raise AssertionError(f"{arch} was evaluated")


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_a_small_space_is_used_up(space, sampler):
    small = space.restrict({0: [0, 1, 2], 1: [0, 3], 2: [1, 8]})
    found = ab.search(small, metrics, n_trials=100, sampler=sampler)
    assert dict(zip(found.evaluated["arch"], found.evaluated["acc"], strict=True)).keys() == everything(small).keys()
    assert found.notes
    assert "no further network" in found.notes[0]


def test_labels_in_the_space_are_entered_and_never_evaluated(space, labels):
    small = space.restrict({0: range(5)})
    inside = [arch for arch in labels.archs if arch in small]
    assert 3 < len(inside) < 40
    keys = {space.key(arch) for arch in labels.archs}
    seen = []
    found = ab.search(small, lambda arch: seen.append(arch) or metrics(arch), prior=labels, n_trials=30, model=None)
    entered = found.trials[found.trials["source"] == "label"]
    assert sorted(entered["arch"]) == sorted(arch.text for arch in inside)
    assert list(entered["acc"]) == [metrics(arch)["acc"] for arch in entered["arch"]]
    assert not keys & {space.key(arch) for arch in seen}
    assert len(seen) == len(found.evaluated) == 30
    assert found.best["acc"][0] == found.trials["acc"].max()
    states = {trial.state.name for trial in found.study.trials}
    assert states == {"COMPLETE"}


def test_trials_carry_what_a_reader_needs(space, labels, tmp_path):
    found = ab.search(
        space, metrics, prior=labels, n_trials=3, model="gp", storage=f"sqlite:///{tmp_path}/s.db", name="mine"
    )
    trial = found.study.trials[-1]
    assert trial.user_attrs["metrics"] == metrics(trial.user_attrs["arch"])
    model = ab.fit(labels, "acc", model="gp")
    assert trial.user_attrs["predicted"] == pytest.approx(model.predict_mean([trial.user_attrs["arch"]]).tolist())
    assert found.evaluated["predicted"].iloc[-1] == trial.user_attrs["predicted"][0]
    facts = found.study.user_attrs[INFO]
    assert (facts["space"], facts["size"], facts["targets"]) == ("nas_bench_macro", "6561", ["acc"])
    assert ab.SearchSpace.from_json(found.study.user_attrs["space_json"]).to_dict() == space.to_dict()
    assert space.from_params(trial.params, facts["grain"]).text == trial.user_attrs["arch"]
    assert list(found.chain["study"]) == ["mine"]
    assert "mine" in found.study.study_name
    assert "<table" in found._repr_html_()


def test_the_guided_samplers_own_models_predict_where_there_are_no_labels(space):
    found = ab.search(space, metrics, target=["acc", "-ms"], n_trials=32, sampler="guided")
    rows = found.evaluated
    told = rows[["predicted.acc", "predicted.-ms"]].notna().all(axis=1)
    assert not told[:20].any()  # too few to fit a model on
    assert told[20:].all()
    assert np.corrcoef(rows["acc"][20:], rows["predicted.acc"][20:])[0, 1] > 0.8
    assert np.abs(rows["-ms"] - rows["predicted.-ms"])[20:].mean() < 1
    silent = ab.search(space, metrics, n_trials=24, sampler="guided", model=None)
    assert "predicted" not in silent.evaluated


# -- limits and several targets ----------------------------------------------------------------------------------------


def test_no_evaluation_is_spent_outside_an_exact_limit(space):
    limit = float(np.median(ab.costs(space)["params"](space.sample(200, seed=0))))
    seen = []
    found = ab.search(
        space, lambda arch: seen.append(arch) or metrics(arch), n_trials=25, sampler="tpe", where=f"params <= {limit}"
    )
    assert len(seen) == 25
    assert (ab.costs(space)["params"](seen) <= limit).all()
    passed = [trial for trial in found.study.trials if "passed_over" in trial.user_attrs]
    assert passed, "about every second random proposal is outside"
    assert all(trial.state.name == "PRUNED" and sum(trial.constraints.values()) > 0 for trial in passed)
    assert len(found.evaluated) == 25


def test_measured_limits_are_told_to_optuna_and_keep_the_best_inside(space):
    found = ab.search(space, metrics, n_trials=30, sampler="tpe", where="ms <= 3")
    rows = found.evaluated
    assert (rows["ms"] > 3).any()
    broken = {row.arch: max(0.0, (row.ms - 3) / 3) for row in rows.itertuples()}
    evaluated = [trial for trial in found.study.trials if trial.state.name == "COMPLETE"]
    assert len(evaluated) == 30
    for trial in evaluated:  # those of proposals that were passed over are predicted
        assert trial.constraints["ms <= 3"] == pytest.approx((metrics(trial.user_attrs["arch"])["ms"] - 3) / 3)
    assert dict(zip(rows["arch"], rows["violation"], strict=True)) == pytest.approx(broken)
    assert found.best["acc"][0] == rows[rows["ms"] <= 3]["acc"].max() == found.study.best_value


def test_a_limit_that_is_not_measured_is_predicted_from_the_labels(space, labels):
    def only_acc(arch):
        return {"acc": metrics(arch)["acc"]}

    found = ab.search(space, only_acc, prior=labels, n_trials=4, model=None, where="ms <= 3")
    model = ab.fit(labels, "label.ms", model="gp")
    for row in found.evaluated.itertuples():
        predicted = float(model.predict_mean([row.arch])[0])
        assert row.violation == pytest.approx(max(0.0, (predicted - 3) / 3))
    with pytest.raises(EvaluationError, match="'ms' is neither measured by the evaluator nor a cost"):
        ab.search(space, only_acc, n_trials=20, where="ms <= 3")


def test_a_limit_over_what_is_never_measured_is_refused_before_an_evaluation(space, labels):
    with pytest.raises(EvaluationError, match=r"limit 'mss <= 4': 'mss' is neither measured .* did you mean 'ms'"):
        ab.search(space, labels, n_trials=3, where="mss <= 4")
    assert len(ab.search(space, metrics, n_trials=3, where="ms <= 4").evaluated) == 3


def test_several_targets_give_the_front(space):
    small = space.restrict({0: range(4), 1: range(3), 2: range(3)})
    found = ab.search(small, metrics, target=["acc", "-ms"], n_trials=100, sampler="nsga2")
    values = np.array([[each["acc"], -each["ms"]] for each in everything(small).values()])
    expected = {tuple(row) for row in values[undominated(values)]}
    assert {tuple(row) for row in found.front[["acc", "-ms"]].to_numpy()} == expected
    assert {tuple(trial.values) for trial in found.study.best_trials} == expected


# -- intermediate values -----------------------------------------------------------------------------------------------


class Steps:
    """Reports acc after each of nine steps, on the way to its final value."""

    def __init__(self):
        self.steps_taken = {}

    def steps(self, space, arch, seed, report):
        final = metrics(arch)
        for step in range(1, 10):
            self.steps_taken[str(arch)] = step
            report(step, {"acc": final["acc"] * step / 10})
        return final

    def __call__(self, space, arch, seed):
        return self.steps(space, arch, seed, lambda step, given: None)


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median"])
def test_pruned_evaluations_end_early_and_take_a_slot(space, pruner):
    evaluator = Steps()
    found = ab.search(space, evaluator, n_trials=40, sampler="random", pruner=pruner)
    rows = found.evaluated
    counts = rows["state"].value_counts()
    assert counts["PRUNED"] >= 3
    assert counts["COMPLETE"] >= 3
    assert counts.sum() == 40
    for trial in found.study.trials:
        taken = evaluator.steps_taken[trial.user_attrs["arch"]]
        assert (taken == 9) if trial.state.name == "COMPLETE" else (taken == trial.last_step)
        assert len(trial.intermediate_values) == taken


def test_an_evaluator_may_give_up_by_itself(space):
    def evaluate(arch):
        if int(str(arch)[0]) == 0:
            raise Pruned
        return metrics(arch)

    states = ab.search(space, evaluate, n_trials=12).evaluated.set_index("arch")["state"]
    assert dict(states.items()) == {arch: "PRUNED" if arch[0] == "0" else "COMPLETE" for arch in states.index}
    assert states.nunique() == 2


# -- evaluators that misbehave -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"acc": math.nan}, "acc=nan"),
        ({"acc": "high"}, "'high'"),
        ("0.93", "'0.93'"),
        (None, "None"),
        ({}, "no metrics"),
        ({"top1": 3.0}, "no 'acc'"),
    ],
)
def test_what_an_evaluator_gives_wrongly_fails_that_network_alone(space, wrong, told):
    def evaluate(arch):
        return metrics(arch) if int(str(arch)[1]) else wrong

    found = ab.search(space, evaluate, n_trials=20)
    failed = found.evaluated[found.evaluated["state"] == "FAIL"]
    assert len(found.evaluated) == 20
    assert 0 < len(failed) < 20
    assert all(told in reason for reason in failed["reason"])
    assert all(arch[1] == "0" for arch in failed["arch"])


def test_an_evaluator_that_raises_is_told_with_its_reason_and_ends_a_hopeless_search(space, tmp_path):
    def evaluate(arch):
        raise ValueError("no such device")

    address = f"sqlite:///{tmp_path}/s.db"
    with pytest.raises(EvaluationError, match=f"{MAX_FAILURES} evaluations failed one after another.*no such device"):
        ab.search(space, evaluate, n_trials=50, storage=address)
    # What failed is not tried again, and the same call goes on.
    found = ab.search(space, metrics, n_trials=50, storage=address)
    assert dict(found.evaluated["state"].value_counts()) == {"COMPLETE": 50 - MAX_FAILURES, "FAIL": MAX_FAILURES}
    assert found.evaluated["arch"].nunique() == 50


def test_a_target_that_is_not_finite_fails(space):
    found = ab.search(space, metrics, target="log(acc - 36)", n_trials=30, sampler="random")
    for row in found.evaluated.itertuples():
        assert (row.state == "COMPLETE") == (metrics(row.arch)["acc"] > 36)
    assert set(found.evaluated["state"]) == {"COMPLETE", "FAIL"}


def test_interrupted_searches_go_on(space, tmp_path):
    address = f"sqlite:///{tmp_path}/s.db"
    seen = []

    def evaluate(arch):
        seen.append(str(arch))
        if len(seen) == 6:
            raise KeyboardInterrupt
        return metrics(arch)

    class Interrupting:
        capacity = 1

        def __init__(self):
            from collections import deque

            self.tasks = deque()

        def submit(self, task_id, arch, seed):
            self.tasks.append((task_id, arch))

        def wait(self, timeout_s):
            from autobuild.evaluate.executors import Finished

            task_id, arch = self.tasks.popleft()
            return [Finished(task_id, evaluate(arch))]

        def prune(self, task_id):
            pass

        def cancel(self, task_id):
            pass

        close = prune

    with pytest.raises(KeyboardInterrupt):
        ab.search(space, metrics, n_trials=10, storage=address, executor=Interrupting())
    found = ab.search(space, metrics, n_trials=10, storage=address)
    assert len(found.evaluated) == found.evaluated["arch"].nunique() == 10
    assert set(found.evaluated["state"]) == {"COMPLETE"}
    assert seen[5] in list(found.evaluated["arch"])  # what was under way is taken up again, at once


def test_a_network_that_was_interrupted_again_and_again_has_not_failed(space, tmp_path):
    """Ctrl-C says nothing about a network: it does not use up the retries of one whose worker is lost."""
    address = f"sqlite:///{tmp_path}/s.db"
    seen = []

    class Interrupting:
        capacity = 1

        def submit(self, task_id, arch, seed):
            seen.append(arch)

        def wait(self, timeout_s):
            raise KeyboardInterrupt

        def cancel(self, task_id):
            pass

    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            ab.search(space, metrics, n_trials=3, storage=address, retries=0, executor=Interrupting())
    found = ab.search(space, metrics, n_trials=3, storage=address, retries=0)
    assert set(found.evaluated["state"]) == {"COMPLETE"}
    assert set(seen) == {found.evaluated["arch"].iloc[0]}


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"sampler": "tpee"}, "did you mean 'tpe'"),
        ({"evaluator": "tabel:x.csv"}, "unknown evaluator"),
        ({"executor": "locl"}, "did you mean 'local'"),
        ({"pruner": "ashaa"}, "did you mean 'asha'"),
        ({"grain": "units"}, "did you mean 'unit'"),
        ({"n_trials": 0}, "n_trials=0"),
        ({"n_trials": 2.5}, "n_trials=2.5"),
        ({"seed": -1}, "seed=-1"),
        ({"target": []}, "one to 4 expressions"),
        ({"target": ["acc", "acc"]}, "twice"),
        ({"target": ["acc", "-ms"], "pruner": "asha"}, "2 targets"),
        ({"storage": "mysqlite//x"}, "accepted: sqlite:///PATH"),
        ({"storage": 3}, "accepted: sqlite:///PATH"),
        ({"storage": "journal:"}, "names no file"),
        ({"storage": "oracle+cx_oracle://me:secret@host/x"}, "driver is not installed"),
        ({"model": "gpp"}, "did you mean 'gp'"),
        ({"model": 3}, "model=3: .*None, a fitted model"),
        ({"target": None}, "target=None: one to 4 expressions"),
        ({"sampler": None}, "sampler=None: a name"),
        ({"sampler": 3}, "sampler=3: a name"),
        ({"sampler_options": 3}, "sampler_options=3: a mapping"),
        ({"sampler": "evolution", "sampler_options": {"populaton": 3}}, "did you mean 'population'"),
        ({"narrow": 0.02}, "narrow=0.02: a mapping"),
        ({"prior": "labels.csv"}, "prior='labels.csv': a labelled set"),
        ({"time_limit_s": "1 h"}, "time_limit_s='1 h': seconds above 0"),
        ({"time_limit_s": float("nan")}, "time_limit_s=nan: seconds above 0"),
        ({"lease_s": 0}, "lease_s=0: seconds above 0"),
        ({"patience_s": "a"}, "patience_s='a': seconds from 0"),
        ({"out": 3}, "out=3: the path"),
        ({"executor": 3}, "executor=3: .*accepted: inline"),
        ({"executor_options": 3}, "executor_options=3: a mapping"),
        ({"sampler": optuna.samplers.TPESampler}, "a name such as 'auto', or a sampler of Optuna"),
        ({"space": "nas_bench_macro"}, "'nas_bench_macro'.*search space"),
        ({"target": ["acc", 5]}, "one to 4 expressions"),
        ({"sampler": "evolution", "sampler_options": {"population": "5"}}, "population='5': an integer of at least 2"),
        ({"sampler": "nsga2", "sampler_options": {"population": 2.5}}, "population=2.5: an integer of at least 2"),
        ({"sampler": "guided", "sampler_options": {"refit_every": "a"}}, "refit_every='a': an integer"),
        ({"patience_s": -1}, "patience_s=-1: seconds from 0"),
    ],
)
def test_options_that_cannot_be_used_are_refused_by_name(space, options, told):
    given = {"n_trials": 3, **options}
    with pytest.raises((ConfigError, TargetError), match=told) as refused:
        ab.search(given.pop("space", space), given.pop("evaluator", metrics), **given)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("given", ["nas_bench_macro", None, 3])
def test_a_space_that_is_none_is_refused(given):
    with pytest.raises(ConfigError, match=f"space={given!r}: a search space is accepted, as ab.space"):
        ab.search(given, metrics, n_trials=2)
    with pytest.raises(ConfigError, match=f"space={given!r}: a search space is accepted"):
        ab.costs(given)


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2", "qmc"])
def test_any_seed_that_is_no_negative_integer_is_taken(space, sampler):
    assert len(ab.search(space, metrics, n_trials=2, sampler=sampler, seed=2**40).evaluated) == 2


@pytest.mark.parametrize(
    ("target", "told"),
    [("acc +", "not an expression"), ("3", "names no metric"), ("cost.paramms", "did you mean 'cost.params'")],
)
def test_targets_that_cannot_be_read(space, target, told):
    with pytest.raises(TargetError, match=told):
        ab.search(space, metrics, target=target, n_trials=3)


def test_a_study_of_something_else_is_refused_naming_both(space, tmp_path):
    address = f"sqlite:///{tmp_path}/s.db"
    ab.search(space, metrics, n_trials=2, storage=address, name="s")
    small = space.restrict({0: [0, 1]})
    with pytest.raises(ConfigError, match=r"study 's'.*'nas_bench_macro' \(6,561 arch.*\(1,458 arch"):
        ab.search(small, metrics, n_trials=4, storage=address, name="s")
    with pytest.raises(ConfigError, match=r"'nas_bench_macro'.*'tiny_mbconv'"):
        ab.search(ab.space("tiny_mbconv"), metrics, n_trials=4, storage=address, name="s")
    with pytest.raises(ConfigError, match=r"targets \['acc'\], and \['-ms'\] was given"):
        ab.search(space, metrics, target="-ms", n_trials=4, storage=address, name="s")
    with pytest.raises(ConfigError, match=r"where None, and 'ms <= 3' was given"):
        ab.search(space, metrics, where="ms <= 3", n_trials=4, storage=address, name="s")
    assert len(ab.search(space, metrics, n_trials=4, storage=address, name="s").evaluated) == 4


def test_a_study_is_of_one_hardware_where_a_target_or_limit_asks_for_it(space, tmp_path):
    address = f"sqlite:///{tmp_path}/s.db"
    for name, given in (("t", {"target": "acc - 1e-9*dram_bytes"}), ("l", {"where": "roofline_ms <= 100"})):
        options = {"storage": address, "name": name, **given}
        ab.search(space, metrics, n_trials=2, **options)
        with pytest.raises(ConfigError, match=r"hardware 'edge_npu \(\w{8}\)', and 'mobile_npu \(\w{8}\)' was given"):
            ab.search(space, refuse, n_trials=4, hardware="mobile_npu", **options)
        other = dataclasses.replace(read_hardware("edge_npu"), buffer_bytes=2**19)
        with pytest.raises(ConfigError, match=r"hardware 'edge_npu \(\w{8}\)', and 'edge_npu \(\w{8}\)' was given"):
            ab.search(space, refuse, n_trials=4, hardware=other, **options)
        assert len(ab.search(space, metrics, n_trials=3, **options).evaluated) == 3
    plain = {"storage": address, "name": "p", "where": "params < 1e9"}
    ab.search(space, metrics, n_trials=2, **plain)
    assert len(ab.search(space, metrics, n_trials=3, hardware="mobile_npu", **plain).evaluated) == 3


def test_a_study_made_by_others_is_left_alone(space, tmp_path):
    address = f"sqlite:///{tmp_path}/s.db"
    optuna.create_study(storage=address, study_name="theirs").enqueue_trial({"x": 1})
    with pytest.raises(ConfigError, match=r"'theirs'.*was not made by autobuild"):
        ab.search(space, metrics, n_trials=2, storage=address, name="theirs")


def test_a_deleted_study_takes_its_claims_with_it(space, tmp_path):
    address = f"sqlite:///{tmp_path}/s.db"
    ab.search(space, metrics, n_trials=3, storage=address, name="s")
    optuna.delete_study(study_name="s", storage=address)
    assert len(ab.search(space, metrics, n_trials=3, storage=address, name="s").evaluated) == 3


def test_claims_that_were_lost_are_made_again_from_the_study(space, tmp_path):
    address = f"journal:{tmp_path}/s.journal"
    first = ab.search(space, metrics, n_trials=5, storage=address)
    (tmp_path / "s.journal.claims").unlink()
    again = ab.search(space, metrics, n_trials=9, storage=address)
    assert list(again.evaluated["arch"])[:5] == list(first.evaluated["arch"])
    assert again.evaluated["arch"].nunique() == 9 == len(again.evaluated)


def test_a_command_line_evaluator_and_names_in_the_config_are_taken(space, tmp_path):
    program = tmp_path / "measure.py"
    program.write_text(
        "import json, sys\ngiven = json.load(sys.stdin)\nprint(json.dumps({'acc': float(given['arch'].count('2'))}))\n"
    )
    import sys

    found = ab.search(space, f"command:{sys.executable} {program}", n_trials=2)
    assert [row.acc == row.arch.count("2") for row in found.evaluated.itertuples()] == [True, True]
    assert json.loads(json.dumps(found.study.user_attrs[INFO]))["targets"] == ["acc"]


# -- what evaluators give ----------------------------------------------------------------------------------------------

QUICK = {"n_trials": 6, "sampler": "random", "model": None}


def test_what_an_evaluator_measures_is_kept_and_the_rest_is_told_once(space):
    def talks(arch):
        return {"acc": np.float32(str(arch).count("1")), "extra": True, "note": "fine", "curve": [1, 2]}

    with pytest.warns(EvaluationWarning, match=r"no number and is not kept: 'note', 'curve'") as told:
        found = ab.search(space, talks, **QUICK)
    assert len([one for one in told if issubclass(one.category, EvaluationWarning)]) == 1
    assert (found.evaluated["state"] == "COMPLETE").all()
    assert (found.evaluated["extra"] == 1).all()
    assert "note" not in found.evaluated


def test_failures_are_counted_told_and_keep_what_was_measured(space):
    calls = iter(range(100))

    def sometimes(arch):
        turn = next(calls) % 3
        if turn == 1:
            raise optuna.TrialPruned
        return {"acc": "much" if turn == 2 else 1.0, "ms": 4.0}

    with pytest.warns(EvaluationWarning, match=r"2 of 6 evaluations failed; the first.*gave 'acc': 'much' \(str\)"):
        found = ab.search(space, sometimes, **QUICK)
    assert repr(found).startswith("Search(6 evaluated (2 failed, 2 pruned)")
    assert dict(found.evaluated["state"].value_counts()) == {"COMPLETE": 2, "FAIL": 2, "PRUNED": 2}
    assert (found.evaluated.query("state == 'FAIL'")["ms"] == 4).all()


@pytest.mark.parametrize("given", [None, "93.5", [1.0, 2.0], {"accuracy": 1.0}])
def test_a_search_in_which_all_evaluations_fail_raises(space, given):
    with pytest.raises(EvaluationError, match=r"all 6 evaluations failed; the first, of \d+: .* gave "):
        ab.search(space, lambda arch: given, **QUICK)


def test_a_tuple_gives_the_metrics_in_the_order_of_the_targets(space):
    found = ab.search(space, lambda arch: (1.0, str(arch).count("2")), target=["acc", "-ms"], **QUICK)
    assert (found.evaluated["ms"] == found.evaluated["arch"].str.count("2")).all()
    assert (found.evaluated["-ms"] == -found.evaluated["ms"]).all()


def test_former_and_unknown_options_are_told_by_name(space):
    with pytest.warns(DeprecationWarning, match="workers= is now called n_jobs="):
        assert len(ab.search(space, lambda arch: 1.0, workers=1, **QUICK).evaluated) == 6
    for words in ({"direction": "minimize"}, {"directions": ["minimize"]}, {"minimize": True}):
        with pytest.raises(ConfigError, match="every target is maximised: to minimise a metric, put a minus before it"):
            ab.search(space, lambda arch: 1.0, **words, **QUICK)
    with pytest.raises(ConfigError, match="no option 'n_trails': did you mean 'n_trials'"):
        ab.search(space, lambda arch: 1.0, n_trails=3)
    with pytest.raises(TargetError, match="every target is maximised"):
        ab.search(space, lambda arch: 1.0, target="minimize ms", **QUICK)


def test_importing_the_room_leaves_the_filters_of_warnings_alone():
    code = "import warnings; before = list(warnings.filters); import autobuild.studies; from autobuild.studies import *"
    code += "; print([one for one in warnings.filters if one[1] is not None and 'IProgress' in one[1].pattern])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
