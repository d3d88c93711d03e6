"""A real Ray cluster on this machine."""

from __future__ import annotations

import os
import signal
import time

import pytest
from executor_evaluators import Faulty, Stepped, fault, steps_taken
from quick_evaluators import truth

import autobuild as ab
from autobuild.errors import ConfigError, RunError
from autobuild.evaluate import ExecutorSettings, as_evaluator, evaluate_many
from autobuild.evaluate.executors import Failed, Finished, Reported, Stopped, make_executor
from autobuild.testing import ExecutorConformance

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'autobuild-nas[ray]'")


@pytest.fixture(scope="module")
def cluster():
    """Two CPUs and little memory, for all tests of this file."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100_000_000,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def space():
    return ab.space("tiny_mbconv")


@pytest.fixture(scope="module")
def archs(space):
    return [str(arch) for arch in space.sample(8, seed=1)]


def drain(executor, seconds=300.0):
    events, end = [], time.monotonic() + seconds
    while new := executor.wait(max(0.0, end - time.monotonic())):
        events += new
    assert time.monotonic() < end, f"waited too long; so far {events}"
    return events


def heard(executor, wanted, seconds=120.0):
    """Events until one of them is wanted; on a busy machine several come at once, or none for a while."""
    events, end = [], time.monotonic() + seconds
    while not any(map(wanted, events)):
        assert time.monotonic() < end, f"waited too long; so far {events}"
        events += executor.wait(10)
    return events


class TestConformance(ExecutorConformance):
    @pytest.fixture
    def make(self, cluster):
        return lambda space, evaluator: make_executor("ray", space, evaluator, n_jobs=2)


def test_every_task_ends_once_whatever_becomes_of_its_worker(cluster, space, archs, tmp_path):
    faults = ["good", "raises", "text", "killed", "dies", "killed_once", "good"]
    with make_executor("ray", space, Faulty(str(tmp_path)), n_jobs=2) as executor:
        for number, kind in enumerate(faults):
            executor.submit(number, archs[number], fault(kind))
        events = {event.task_id: event for event in drain(executor)}
        assert events[0] == Finished(0, {"acc": truth(archs[0], fault("good"))})
        assert events[6] == Finished(6, {"acc": truth(archs[6], fault("good"))})
        assert "its weights went astray" in events[1].reason
        assert "'very good' (str)" in events[2].reason
        for number in (3, 4, 5):
            assert isinstance(events[number], Failed)
            assert events[number].reason.startswith("its worker died (WorkerCrashedError")
        assert {n for n, event in events.items() if isinstance(event, Failed) and event.retry} == {3, 4, 5}
        executor.submit(5, archs[5], fault("killed_once"))  # tried again: this time it lives
        assert drain(executor) == [Finished(5, {"acc": truth(archs[5], fault("killed_once"))})]
    assert ray.is_initialized()  # it was not started by the executor


def test_a_worker_killed_from_outside_and_an_evaluation_that_hangs(cluster, space, archs, tmp_path):
    pid_file = tmp_path / f"{fault('hangs')}.pid"
    with make_executor("ray", space, Faulty(str(tmp_path)), n_jobs=2) as executor:
        executor.submit(0, archs[0], fault("hangs"))
        assert executor.wait(0.05) == []
        end = time.monotonic() + 30
        while not pid_file.exists() or not pid_file.read_text():
            assert time.monotonic() < end
            time.sleep(0.01)
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
        [event] = drain(executor)
        assert event.retry
        assert "its worker died" in event.reason
    with make_executor("ray", space, Faulty(str(tmp_path)), n_jobs=2, time_limit_s=0.5) as executor:
        executor.submit(0, archs[0], fault("hangs"))
        executor.submit(1, archs[0], fault("good"))
        events = sorted(drain(executor), key=lambda event: event.task_id)
    assert events == [
        Failed(0, "it took longer than time_limit_s=0.5, and was ended"),
        Finished(1, {"acc": truth(archs[0], fault("good"))}),
    ]


def test_prunes_and_cancels(cluster, space, archs, tmp_path):
    with make_executor("ray", space, Stepped(str(tmp_path), 500, 0.05), n_jobs=1) as executor:
        for number in range(1, 4):
            executor.submit(number, archs[number], 0)
        executor.prune(2)  # before it has begun
        events = heard(executor, lambda event: event == Stopped(2))
        if not any(isinstance(event, Reported) for event in events):
            heard(executor, lambda event: isinstance(event, Reported))
        executor.prune(1)
        heard(executor, lambda event: event == Stopped(1))
        assert steps_taken(tmp_path, archs[1]) < 400
        assert steps_taken(tmp_path, archs[2]) == 0
        assert {event.task_id for event in heard(executor, lambda event: event.task_id == 3)} == {3}
        executor.cancel(3)
        assert executor.wait(1) == []
        executor.submit(3, archs[4], 0)  # a prune or cancel of an earlier task says nothing about this one
        heard(executor, lambda event: isinstance(event, Reported))
    with make_executor("ray", space, Stepped(str(tmp_path), 3), n_jobs=1, reports=False) as executor:
        executor.submit(0, archs[5], 0)
        assert drain(executor) == [Finished(0, {"acc": truth(archs[5], 0)})]


def test_reports_go_on_when_the_process_that_takes_them_is_killed(cluster, space, archs, tmp_path):
    with make_executor("ray", space, Stepped(str(tmp_path), 500, 0.05), n_jobs=1) as executor:
        executor.submit(0, archs[0], 0)
        heard(executor, lambda event: isinstance(event, Reported))
        ray.kill(executor._box, no_restart=True)
        events = []
        while not any(isinstance(event, Failed) for event in events):
            events += executor.wait(30)
        assert events[-1].retry
        executor.submit(0, archs[1], 0)
        heard(executor, lambda event: isinstance(event, Reported))


def test_functions_found_by_name_and_retries(cluster, space, archs, tmp_path):
    evaluator = as_evaluator("python:user_functions:depth", space, needs=["acc"])
    results = evaluate_many(space, evaluator, archs[:3], settings=ExecutorSettings("ray", 2))
    assert [result.metrics["acc"] for result in results] == [len(arch.split("-")) for arch in archs[:3]]
    [once] = evaluate_many(
        space, Faulty(str(tmp_path)), archs[:1], [fault("killed_once")], settings=ExecutorSettings("ray", 1)
    )
    assert once.metrics == {"acc": truth(archs[0], fault("killed_once"))}


def test_unusable_settings(space, tmp_path):
    with pytest.raises(ConfigError, match="executor=ray has no option 'gpu': did you mean 'gpus'"):
        make_executor("ray", space, Faulty(str(tmp_path)), options={"gpu": 1})


def test_a_cluster_of_its_own_comes_and_goes(space, archs, tmp_path):
    ray.shutdown()  # the cluster that the tests above share
    with make_executor("ray", space, Faulty(str(tmp_path)), n_jobs=1) as executor:
        executor.submit(0, archs[0], fault("good"))
        assert drain(executor) == [Finished(0, {"acc": truth(archs[0], fault("good"))})]
    assert not ray.is_initialized()
    with pytest.raises(RunError, match=r"executor\.address=127\.0\.0\.1:1: no Ray cluster can be reached"):
        make_executor("ray", space, Faulty(str(tmp_path)), options={"address": "127.0.0.1:1"})
