"""Slurm jobs through submitit's local executor: the same code but for ``sbatch``, ``squeue`` and ``scancel``.

Where a real Slurm is on the machine, the last test runs on it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from executor_evaluators import Faulty, Stepped, fault, steps_taken
from quick_evaluators import truth

import autobuild as ab
from autobuild.errors import ConfigError, RunError
from autobuild.evaluate import ExecutorSettings, as_evaluator, evaluate_many
from autobuild.evaluate.executors import Failed, Finished, Reported, Stopped, make_executor, slurm_job
from autobuild.testing import ExecutorConformance

submitit = pytest.importorskip("submitit", reason="submitit is not installed: pip install 'autobuild-nas[slurm]'")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def space():
    return ab.space("tiny_mbconv")


@pytest.fixture(scope="module")
def archs(space):
    return [str(arch) for arch in space.sample(8, seed=1)]


@pytest.fixture(autouse=True)
def path(monkeypatch):
    """Jobs are processes of their own, and find this checkout and the evaluators of these tests."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(Path(__file__).parent)]))


@pytest.fixture
def local(tmp_path):
    return {"cluster": "local", "folder": str(tmp_path / "jobs")}


def drain(executor, seconds=300.0):
    events, end = [], time.monotonic() + seconds
    while new := executor.wait(max(0.0, end - time.monotonic())):
        events += new
    assert time.monotonic() < end, f"waited too long; so far {events}"
    return events


def next_event(executor, seconds=300.0):
    """The first of the next events; a busy machine may take long to start a job."""
    events = executor.wait(seconds)
    assert events, f"no event within {seconds:g} seconds"
    return events[0]


def wait_for(condition, seconds=300.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


class TestConformance(ExecutorConformance):
    @pytest.fixture
    def make(self, local):
        return lambda space, evaluator: make_executor("slurm", space, evaluator, n_jobs=2, options=local)


def test_every_task_ends_once_whatever_becomes_of_its_job(space, archs, tmp_path, local):
    faults = ["good", "raises", "killed", "killed_once"]
    with make_executor("slurm", space, Faulty(str(tmp_path)), n_jobs=2, options=local) as executor:
        for number, kind in enumerate(faults):
            executor.submit(number, archs[number], fault(kind))
        events = {event.task_id: event for event in drain(executor)}
        assert events[0] == Finished(0, {"acc": truth(archs[0], fault("good"))})
        assert "its weights went astray" in events[1].reason
        for number in (2, 3):
            assert isinstance(events[number], Failed)
            assert "ended (FINISHED) without an outcome" in events[number].reason
        assert {n for n, event in events.items() if isinstance(event, Failed) and event.retry} == {2, 3}
        executor.submit(3, archs[3], fault("killed_once"))  # tried again: this time it lives
        assert drain(executor) == [Finished(3, {"acc": truth(archs[3], fault("killed_once"))})]
    left = [file.suffix for file in (tmp_path / "jobs").rglob("*") if file.is_file()]
    assert sorted(left) == [".err", ".err", ".out", ".out"]  # the logs of the two jobs that died


def test_what_hangs_is_ended_and_a_job_killed_from_outside_is_told_of(space, archs, tmp_path, local):
    pid_file = tmp_path / f"{fault('hangs')}.pid"
    with make_executor("slurm", space, Faulty(str(tmp_path)), n_jobs=1, options=local) as executor:
        executor.submit(0, archs[0], fault("hangs"))
        assert executor.wait(0.05) == []
        wait_for(lambda: pid_file.exists() and pid_file.read_text())
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
        [event] = drain(executor)
        assert event.retry
    pid_file.unlink()
    with make_executor("slurm", space, Faulty(str(tmp_path)), n_jobs=1, time_limit_s=1.0, options=local) as executor:
        executor.submit(0, archs[0], fault("hangs"))
        assert drain(executor) == [Failed(0, "it took longer than time_limit_s=1, and was ended")]
    wait_for(lambda: gone(int(pid_file.read_text())))


def test_prunes_and_cancels(space, archs, tmp_path, local):
    with make_executor("slurm", space, Stepped(str(tmp_path), 500, 0.05), n_jobs=1, options=local) as executor:
        for number in range(1, 4):
            executor.submit(number, archs[number], 0)
        executor.prune(2)  # before it has begun
        assert next_event(executor) == Stopped(2)
        assert isinstance(next_event(executor), Reported)
        executor.prune(1)
        events = []
        while Stopped(1) not in events:
            events += executor.wait(30)
        assert 0 < steps_taken(tmp_path, archs[1]) < 400
        assert steps_taken(tmp_path, archs[2]) == 0
        assert {event.task_id for event in executor.wait(300)} == {3}
        executor.cancel(3)
        assert executor.wait(1) == []
    assert not (tmp_path / "jobs").exists()


def test_jobs_end_when_their_driver_is_killed(space, archs, tmp_path, monkeypatch):
    """They see that its sign of life stands still; here after a second instead of ten minutes."""
    script = tmp_path / "driver.py"
    script.write_text(
        "import sys\nimport autobuild as ab\nfrom autobuild.evaluate.executors import make_executor\n"
        "from executor_evaluators import Faulty, fault\n"
        f"space = ab.space('tiny_mbconv')\noptions = {{'cluster': 'local', 'folder': {str(tmp_path / 'jobs')!r}}}\n"
        f"executor = make_executor('slurm', space, Faulty({str(tmp_path)!r}), n_jobs=1, options=options)\n"
        f"executor.submit(0, {archs[0]!r}, fault('hangs'))\nexecutor.wait(60)\n"
    )
    (tmp_path / "sitecustomize.py").write_text(
        "from autobuild.evaluate.executors import slurm_job\nslurm_job.LOOK_S = 0.2\nslurm_job.ORPHAN_S = 1.0\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    driver = subprocess.Popen([sys.executable, str(script)])
    pid_file = tmp_path / f"{fault('hangs')}.pid"
    wait_for(lambda: pid_file.exists() and pid_file.read_text())
    pid = int(pid_file.read_text())
    driver.kill()
    driver.wait()
    wait_for(lambda: gone(pid))


def test_a_driver_that_is_alive_keeps_its_jobs(monkeypatch, tmp_path):
    """The other side of the test above: with a sign that moves, and one that stands but not for long."""
    monkeypatch.setattr(slurm_job, "LOOK_S", 0.02)
    monkeypatch.setattr(slurm_job, "ORPHAN_S", 0.5)
    ended = []
    monkeypatch.setattr(slurm_job.os, "_exit", lambda code: ended.append(code) or (_ for _ in ()).throw(SystemExit))
    sign = tmp_path / slurm_job.ALIVE
    stop = threading.Event()
    monkeypatch.setattr(slurm_job, "_perform", lambda *given: stop.wait(1.5))

    def live():
        for number in range(1000):
            if stop.wait(0.1):
                return
            sign.write_text(str(number))

    sign.write_text("-1")
    thread = threading.Thread(target=live)
    thread.start()
    slurm_job.evaluate(b"", str(tmp_path / "0-0.jsonl"), "", 0)
    stop.set()
    thread.join()
    assert ended == []
    stop.clear()
    with pytest.raises(SystemExit):
        slurm_job.evaluate(b"", str(tmp_path / "0-0.jsonl"), "", 0)
    assert ended == [1]
    sign.unlink()
    with pytest.raises(SystemExit):
        slurm_job.evaluate(b"", str(tmp_path / "0-0.jsonl"), "", 0)
    stop.set()


def test_lines_are_read_whole_and_once(tmp_path):
    lines, reader = slurm_job.Lines(tmp_path / "a.jsonl"), slurm_job.Lines(tmp_path / "a.jsonl")
    assert list(reader.new()) == []
    lines.add({"begun": True})
    with lines.path.open("ab") as handle:
        handle.write(b'{"step": 1, "metr')  # being written
    assert list(reader.new()) == [{"begun": True}]
    assert list(reader.new()) == []
    with lines.path.open("ab") as handle:
        handle.write(b'ics": {}}\n')
    assert list(reader.new()) == [{"step": 1, "metrics": {}}]


def test_functions_found_by_name_and_retries(space, archs, tmp_path, local):
    evaluator = as_evaluator("python:user_functions:depth", space, needs=["acc"])
    results = evaluate_many(space, evaluator, archs[:2], settings=ExecutorSettings("slurm", 2, options=local))
    assert [result.metrics["acc"] for result in results] == [len(arch.split("-")) for arch in archs[:2]]
    settings = ExecutorSettings("slurm", 1, options=local)
    [once] = evaluate_many(space, Faulty(str(tmp_path)), archs[:1], [fault("killed_once")], settings=settings)
    assert once.metrics == {"acc": truth(archs[0], fault("killed_once"))}


def test_unusable_settings(space, tmp_path, monkeypatch):
    faulty = Faulty(str(tmp_path))
    with pytest.raises(ConfigError, match="executor=slurm has no option 'partitions': did you mean 'partition'"):
        make_executor("slurm", space, faulty, options={"partitions": "a"})
    with pytest.raises(ConfigError, match=r"executor\.cluster=lokal: accepted: local, slurm"):
        make_executor("slurm", space, faulty, options={"cluster": "lokal"})
    with pytest.raises(ConfigError, match=r"executor\.extra=exclude n1: write options of sbatch as key=value"):
        make_executor("slurm", space, faulty, options={"cluster": "local", "extra": "exclude n1"})
    with pytest.raises(ConfigError, match=r"executor\.gpus=0\.5: a Slurm job takes whole ones"):
        make_executor("slurm", space, faulty, options={"cluster": "local", "gpus": 0.5})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"there is no Slurm on this machine .*executor\.cluster=local"):
        make_executor("slurm", space, faulty, options={"folder": str(tmp_path / "jobs")})
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"executor\.folder: .* cannot be made"):
        make_executor("slurm", space, faulty, options={"cluster": "local", "folder": str(tmp_path / "file")})


def test_a_job_that_cannot_be_submitted_stops_the_run(space, archs, tmp_path, local, monkeypatch):
    """A full disk: nothing is evaluated, nothing is told of as failed; the same command may go on later."""
    with make_executor("slurm", space, Faulty(str(tmp_path)), options=local) as executor:

        def full(*args, **options):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(executor._submitit, "submit", full)
        with pytest.raises(RunError, match=r"cannot be submitted: .*No space left on device"):
            executor.submit(0, archs[0], 0)


def slurm_runs():
    if shutil.which("sinfo") is None:
        return False
    return subprocess.run(["sinfo"], capture_output=True, timeout=20).returncode == 0


@pytest.mark.skipif(not slurm_runs(), reason="no Slurm runs on this machine")
def test_a_real_slurm(space, archs, tmp_path):
    """Ends well, raises, is killed by scancel, hangs: as jobs of a Slurm that runs on this machine."""
    options = {"folder": str(tmp_path / "jobs"), "minutes": 5}
    with make_executor("slurm", space, Faulty(str(tmp_path)), n_jobs=4, time_limit_s=20, options=options) as executor:
        for number, kind in enumerate(["good", "raises", "killed", "hangs"]):
            executor.submit(number, archs[number], fault(kind))
        events = {event.task_id: event for event in drain(executor, 300)}
    assert events[0] == Finished(0, {"acc": truth(archs[0], fault("good"))})
    assert "its weights went astray" in events[1].reason
    assert events[2].retry
    assert "without an outcome" in events[2].reason
    assert "took longer" in events[3].reason
