from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from executor_evaluators import Faulty, Stepped, fault, steps_taken
from quick_evaluators import truth

import autobuild as ab
from autobuild.errors import ConfigError, Pruned
from autobuild.evaluate import ExecutorSettings, evaluate_many
from autobuild.evaluate.executors import Failed, Finished, Reported, Stopped, make_executor
from autobuild.testing import ExecutorConformance


@pytest.fixture(scope="module")
def space():
    return ab.space("tiny_mbconv")


@pytest.fixture(scope="module")
def archs(space):
    return [str(arch) for arch in space.sample(8, seed=1)]


def drain(executor, seconds=300.0):
    """All events until nothing is left."""
    events, end = [], time.monotonic() + seconds
    while new := executor.wait(max(0.0, end - time.monotonic())):
        events += new
    assert time.monotonic() < end, f"waited too long; so far {events}"
    return events


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


class TestShipped(ExecutorConformance):
    @pytest.fixture(params=["inline", "local"])
    def make(self, request):
        return lambda space, evaluator: make_executor(request.param, space, evaluator, n_jobs=2)


def test_tasks_run_in_order_here_and_side_by_side_elsewhere(space, archs, tmp_path):
    with make_executor("local", space, Faulty(str(tmp_path)), n_jobs=2) as executor:
        assert executor.capacity == 2
    with make_executor("inline", space, Faulty(str(tmp_path)), n_jobs=2) as executor:
        assert executor.capacity == 1
        for number, arch in enumerate(archs):
            executor.submit(number + 10, arch, fault("good"))
        assert [event.task_id for event in drain(executor)] == list(range(10, 18))
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("name", ["inline", "local"])
def test_an_evaluator_that_fails_fails_alone(space, archs, tmp_path, name):
    faults = ["raises", "exits", "text", "nothing", "refuses", "good"]
    with make_executor(name, space, Faulty(str(tmp_path)), n_jobs=1) as executor:
        for kind in faults:
            executor.submit(fault(kind), archs[0], fault(kind))
        events = {event.task_id: event for event in drain(executor)}
    assert events[fault("good")] == Finished(0, {"acc": truth(archs[0], 0)})
    reasons = {kind: events[fault(kind)] for kind in faults[:-1]}
    assert all(isinstance(event, Failed) for event in reasons.values())
    assert "ValueError: its weights went astray (_raises, line" in reasons["raises"].reason
    assert "SystemExit: 4" in reasons["exits"].reason
    assert "gave no metrics: 'acc': 'very good' (str)" in reasons["text"].reason
    assert "None (NoneType)" in reasons["nothing"].reason
    assert [kind for kind, event in reasons.items() if event.retry] == ["refuses"]


def test_a_worker_that_dies_is_told_of_and_replaced(space, archs, tmp_path):
    with make_executor("local", space, Faulty(str(tmp_path)), n_jobs=1) as executor:
        for number, kind in enumerate(["dies", "killed", "good"]):
            executor.submit(number, archs[0], fault(kind))
        events = drain(executor)
    assert events[0] == Failed(0, "its process ended with exit code 3", retry=True)
    assert events[1] == Failed(1, "its process ended with exit code -9", retry=True)
    assert events[2] == Finished(2, {"acc": truth(archs[0], 0)})


def test_a_worker_killed_from_outside_and_one_killed_while_idle(space, archs, tmp_path):
    pid_file = tmp_path / f"{fault('hangs')}.pid"
    with make_executor("local", space, Faulty(str(tmp_path)), n_jobs=1) as executor:
        executor.submit(0, archs[0], fault("hangs"))
        assert executor.wait(0.05) == []
        end = time.monotonic() + 60
        while not pid_file.exists() or not pid_file.read_text():
            assert time.monotonic() < end
            time.sleep(0.01)
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
        assert drain(executor) == [Failed(0, "its process ended with exit code -9", retry=True)]
        executor.submit(1, archs[0], fault("good"))
        assert isinstance(drain(executor)[0], Finished)
        pid = int((tmp_path / f"{fault('good')}.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        (worker,) = executor._workers
        while worker.process.is_alive():  # a process with threads is a zombie before its parent can bury it
            time.sleep(0.01)
        executor.submit(2, archs[1], fault("good"))
        assert drain(executor) == [Finished(2, {"acc": truth(archs[1], 0)})]


def test_what_hangs_is_ended_with_the_programs_it_has_started(space, archs, tmp_path):
    with make_executor("local", space, Faulty(str(tmp_path)), n_jobs=1, time_limit_s=0.5) as executor:
        executor.submit(0, archs[0], fault("hangs_in_a_program"))
        executor.submit(1, archs[0], fault("good"))
        events = drain(executor)
        assert events == [
            Failed(0, "it took longer than time_limit_s=0.5, and was ended"),
            Finished(1, {"acc": truth(archs[0], 0)}),
        ]
    child = int((tmp_path / "child.pid").read_text())
    end = time.monotonic() + 10
    while not gone(child):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_inline_takes_no_step_after_a_prune(space, archs, tmp_path):
    with make_executor("inline", space, Stepped(str(tmp_path), 5)) as executor:
        executor.submit(0, archs[0], 0)
        executor.submit(1, archs[1], 0)
        assert [executor.wait(10)[0].step for _ in range(2)] == [1, 2]
        executor.prune(0)
        assert executor.wait(10) == [Stopped(0)]
        assert steps_taken(tmp_path, archs[0]) == 2
        executor.prune(1)
        assert drain(executor) == [Stopped(1)]
        assert steps_taken(tmp_path, archs[1]) == 0


def test_local_stops_soon_after_a_prune(space, archs, tmp_path):
    with make_executor("local", space, Stepped(str(tmp_path), 50, 0.1), n_jobs=1) as executor:
        executor.submit(0, archs[0], 0)
        executor.submit(1, archs[1], 0)
        executor.prune(1)  # before it has begun
        events = executor.wait(60) + executor.wait(60)
        assert events[0] == Stopped(1)
        assert isinstance(events[1], Reported)
        executor.prune(0)
        assert drain(executor)[-1] == Stopped(0)
        assert steps_taken(tmp_path, archs[0]) < 40
        assert steps_taken(tmp_path, archs[1]) == 0
        executor.prune(0)  # of what has ended: nothing
        executor.submit(2, archs[2], 0)
        assert isinstance(executor.wait(60)[0], Reported)


def test_inline_takes_closures_and_honours_the_timeout(space, archs):
    gate = threading.Event()

    def evaluate(space, arch, seed):
        gate.wait(30)
        return {"acc": 1}

    with make_executor("inline", space, evaluate) as executor:
        executor.submit(0, archs[0], 0)
        start = time.monotonic()
        assert executor.wait(0.05) == []
        assert time.monotonic() - start < 5
        gate.set()
        assert executor.wait(30) == [Finished(0, {"acc": 1.0})]


def test_closures_travel_to_processes(space, archs):
    shift = 3

    with make_executor("local", space, lambda space, arch, seed: {"acc": seed + shift}, n_jobs=1) as executor:
        executor.submit(0, archs[0], 4)
        assert drain(executor) == [Finished(0, {"acc": 7.0})]


def test_what_cannot_be_sent_is_refused_before_any_work(space):
    lock = threading.Lock()
    with pytest.raises(ConfigError, match=r"cannot be sent to another process .*executor=inline"):
        make_executor("local", space, lambda space, arch, seed: {"acc": lock.locked()})


def test_an_evaluator_may_give_up_by_itself(space, archs):
    def evaluate(space, arch, seed):
        raise Pruned

    with make_executor("inline", space, evaluate) as executor:
        executor.submit(0, archs[0], 0)
        assert drain(executor) == [Stopped(0)]
    [result] = evaluate_many(space, evaluate, archs[:1], settings=ExecutorSettings("inline"))
    assert (result.metrics, result.reason) == (None, "the evaluator gave it up")


def test_evaluators_may_have_processes_of_their_own(space, archs, tmp_path):
    with make_executor("local", space, Faulty(str(tmp_path)), n_jobs=1) as executor:
        executor.submit(0, archs[0], fault("child_process"))
        assert drain(executor) == [Finished(0, {"acc": 3.0})]


def test_dead_workers_are_tried_again_a_bounded_number_of_times(space, archs, tmp_path):
    seeds = [fault("killed_once"), fault("killed")]
    results = evaluate_many(
        space, Faulty(str(tmp_path)), archs[:1], seeds, settings=ExecutorSettings(n_jobs=1, retries=1)
    )
    assert results[0].metrics == {"acc": truth(archs[0], fault("killed_once"))}
    assert (results[1].metrics, results[1].reason) == (None, "its process ended with exit code -9")
    (tmp_path / f"{fault('killed_once')}.once").unlink()
    results = evaluate_many(
        space, Faulty(str(tmp_path)), archs[:1], seeds[:1], settings=ExecutorSettings(n_jobs=1, retries=0)
    )
    assert results[0].reason == "its process ended with exit code -9"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("locl", {}, "executor='locl': unknown executor: did you mean 'local'"),
        ("local", {"n_jobs": 0}, "n_jobs=0: a whole number of at least 1"),
        ("local", {"time_limit_s": 0.0}, "time_limit_s=0.0: give seconds above 0"),
        ("inline", {"time_limit_s": 3.0}, "inline cannot end an evaluation.*use executor=local"),
        ("local", {"options": {"gpus": 1}}, "executor=local has no option 'gpus'"),
    ],
)
def test_unusable_settings_are_refused(space, name, options, message):
    with pytest.raises(ConfigError, match=message):
        make_executor(name, space, Faulty(""), **options)
