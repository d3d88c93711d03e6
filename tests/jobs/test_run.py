"""The run folder: what is resumed, what is refused, and what survives a real kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import autobuild
from autobuild.errors import ConfigError, RunError
from autobuild.jobs._arguments import _at_home
from autobuild.jobs._files import input_files
from autobuild.jobs._provenance import digest, plain
from autobuild.jobs.run import Run
from autobuild.studies.storage import _url

CONFIG = {"out": None, "resume": True, "seed": 0, "fit": {"epochs": 3}}


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(autobuild.__file__).parents[1]))  # for the processes that are killed


def leave_unfinished(config: dict, inputs: dict | None = None) -> Path:
    run = Run.open("fit", config, inputs)
    with run.step("one") as todo:
        assert todo
    run.path("table.csv").write_text("a\n1\n")
    run.release()  # what the operating system does when a process is killed
    return run.dir


def test_without_out_the_newest_unfinished_run_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    older = leave_unfinished(CONFIG)
    newer = leave_unfinished({**CONFIG, "resume": False})
    assert older != newer
    with Run.open("fit", CONFIG) as run:
        assert run.resumed
        assert run.dir == newer
        with run.step("one") as todo:
            assert not todo
    assert "resuming" in capsys.readouterr().out
    with Run.open("fit", CONFIG) as again:
        assert again.dir == older  # the newest is finished now


def test_a_finished_run_is_left_alone_without_out() -> None:
    with Run.open("fit", CONFIG) as first:
        pass
    with Run.open("fit", CONFIG) as second:
        assert second.dir != first.dir
        assert not second.resumed


@pytest.mark.parametrize(
    "other", [{**CONFIG, "seed": 1}, {**CONFIG, "fit": {"epochs": 4}}, {**CONFIG, "resume": False}]
)
def test_other_settings_or_resume_false_start_anew(other: dict) -> None:
    folder = leave_unfinished(CONFIG)
    with Run.open("fit", other) as run:
        assert run.dir != folder
        with run.step("one") as todo:
            assert todo


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_jumps_does_not_hide_the_unfinished_run(days: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Jumped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(days=days)

    folder = leave_unfinished(CONFIG)
    for module in ("_folders", "run"):
        monkeypatch.setattr(f"autobuild.jobs.{module}.datetime", Jumped)
    with Run.open("fit", CONFIG) as run:
        assert run.dir == folder
    with Run.open("fit", CONFIG) as new:
        assert new.dir != folder
        assert not new.resumed


@pytest.mark.parametrize("key", ["n_jobs", "plots"])
def test_how_a_job_is_run_does_not_make_it_another(key: str) -> None:
    folder = leave_unfinished({**CONFIG, key: 1})
    with Run.open("fit", {**CONFIG, key: 2}) as run:
        assert run.dir == folder
    nested = leave_unfinished({**CONFIG, "verify": {"seeds": 2, key: 1}})
    with Run.open("fit", {**CONFIG, "verify": {"seeds": 2, key: 2}}) as run:
        assert run.dir == nested


def test_changed_inputs_start_anew(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("arch,acc\n")
    folder = leave_unfinished(CONFIG, {"labels": labels})
    labels.write_text("arch,acc\nx,1\n")
    with Run.open("fit", CONFIG, {"labels": labels}) as run:
        assert run.dir != folder
    with pytest.raises(ConfigError, match="the contents of labels have changed"):
        Run.open("fit", {**CONFIG, "out": str(folder)}, {"labels": labels})


def test_every_file_that_a_command_names_is_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("a.csv", "b.csv", "module_of_features.py"):
        Path(name).write_text("")
    config = {"model": "auto", "sources": ["acc", "a.csv", "b.csv:acc"], "features": ["params", "module_of_features:f"]}
    found = input_files({**config, "evaluator": "surrogate:a.csv, b.csv"})
    assert {key: path.name for key, path in found.items()} == {
        "sources": "a.csv", "sources[1]": "b.csv", "evaluator": "a.csv", "evaluator[1]": "b.csv",
        "features": "module_of_features.py",
    }  # fmt: skip


def test_a_tilde_is_the_home_folder_in_every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h")
    given = {"labels": "~/x", "executor": {"folder": "~"}, "sources": ["~/y:acc"], "evaluator": "table:~/z", "n": 3}
    wanted = {
        "labels": "/h/x",
        "executor": {"folder": "/h"},
        "sources": ["/h/y:acc"],
        "evaluator": "table:/h/z",
        "n": 3,
    }
    assert _at_home({**given, "out": "a~b"}) == {**wanted, "out": "a~b"}
    assert _url("sqlite:///~/x.db").database == "/h/x.db"


def test_a_run_that_a_live_process_holds_is_not_taken() -> None:
    held = Run.open("fit", CONFIG)
    with Run.open("fit", CONFIG) as other:
        assert other.dir != held.dir
    with pytest.raises(RunError, match="another process"):
        Run.open("fit", {**CONFIG, "out": str(held.dir)})
    held.release()


def test_out_with_the_same_settings_goes_on_and_then_shows(capsys: pytest.CaptureFixture[str]) -> None:
    config = {**CONFIG, "out": "here"}
    leave_unfinished(config)
    with Run.open("fit", config) as run:
        assert run.resumed
        run.record(test_srcc=0.5)
    with Run.open("fit", config) as shown:
        assert shown.finished
        assert shown.metrics["test_srcc"] == 0.5
    assert "finished already" in capsys.readouterr().out


def test_out_with_other_settings_is_refused_and_says_what_differs() -> None:
    leave_unfinished({**CONFIG, "out": "here"})
    with pytest.raises(ConfigError, match=r"fit\.epochs is 3 there, 9 here"):
        Run.open("fit", {**CONFIG, "out": "here", "fit": {"epochs": 9}})
    with pytest.raises(ConfigError, match="a run of the job fit, not build"):
        Run.open("build", {**CONFIG, "out": "here"})


GROWS = {"trials": lambda folder: f"seven are done in {folder}"}


@pytest.mark.parametrize("finished", [True, False])
def test_a_key_that_may_grow_reopens_the_run(finished: bool, capsys: pytest.CaptureFixture[str]) -> None:
    config = {**CONFIG, "out": "here", "trials": 6}
    if finished:
        with Run.open("fit", config, grows=GROWS) as run, run.step("one"):
            run.write_text("table.csv", "old")
    else:
        leave_unfinished(config)
    larger = {**config, "trials": 10}
    with pytest.raises(ConfigError, match="trials is 6 there, 10 here"):
        Run.open("fit", larger)  # of a job that has declared nothing
    run = Run.open("fit", larger, grows=GROWS)
    assert "trials from 6 to 10" in capsys.readouterr().out
    assert not run.finished
    assert "one_seconds" not in run.metrics
    with run.step("one") as todo:
        assert todo
    run.release()  # killed
    with pytest.raises(ConfigError, match=r"trials is 10 there, 6 here.*never shrink: seven are done in here"):
        Run.open("fit", config, grows=GROWS)
    with Run.open("fit", larger, grows=GROWS) as again, again.step("one") as todo:
        assert not todo  # what the grown run has done is done
    assert "resuming" in capsys.readouterr().out
    with Run.open("fit", larger, grows=GROWS) as shown:
        assert shown.finished
    with pytest.raises(ConfigError, match=r"seed is 0 there, 3 here"):
        Run.open("fit", {**larger, "trials": 12, "seed": 3}, grows=GROWS)


def test_without_out_only_an_unfinished_run_grows() -> None:
    config = {**CONFIG, "trials": 6}
    folder = leave_unfinished(config)
    with Run.open("fit", {**config, "trials": 5}, grows=GROWS) as smaller:
        assert smaller.dir != folder
    with Run.open("fit", {**config, "trials": 10}, grows=GROWS) as grown:
        assert grown.dir == folder
        assert json.loads((folder / "run.json").read_text())["config"]["trials"] == 10
    with Run.open("fit", {**config, "trials": 12}, grows=GROWS) as other:
        assert other.dir != folder  # that one is finished now


def test_resume_false_replaces_what_the_old_run_wrote_and_nothing_else() -> None:
    folder = leave_unfinished({**CONFIG, "out": "here"})
    (folder / "notes.txt").write_text("mine")
    with Run.open("fit", {**CONFIG, "out": "here", "seed": 5, "resume": False}) as run:
        assert not run.has("table.csv")
        assert (run.dir / "notes.txt").read_text() == "mine"
        with run.step("one") as todo:
            assert todo


def test_files_outside_the_folder_are_never_removed(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    folder = leave_unfinished({**CONFIG, "out": "here"})
    state = json.loads((folder / "run.json").read_text())
    state["files"] += ["../precious.txt", str(precious)]
    (folder / "run.json").write_text(json.dumps(state))
    with Run.open("fit", {**CONFIG, "out": "here", "resume": False}):
        pass
    assert precious.read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in ("file", "file/below", "/proc/nothing/here"):
        with pytest.raises(RunError, match=f"out={out}.*cannot be written"):
            Run.open("fit", {**CONFIG, "out": out})


def test_a_job_that_fails_at_once_leaves_no_folder() -> None:
    with pytest.raises(ConfigError), Run.open("fit", CONFIG):
        raise ConfigError("bad")
    assert list(Path("runs/fit").iterdir()) == []


def test_a_job_that_fails_later_keeps_what_it_has() -> None:
    run = Run.open("fit", CONFIG)
    with pytest.raises(ConfigError):
        write_then_fail(run)
    with Run.open("fit", CONFIG) as again:
        assert again.dir == run.dir
        assert again.has("half.csv")


def test_a_broken_write_leaves_the_old_file(tmp_path: Path) -> None:
    with Run.open("fit", CONFIG) as run:
        run.write_text("a.csv", "old")
        with pytest.raises(RuntimeError):
            break_off(run)
        assert (run.dir / "a.csv").read_text() == "old"
        assert not list(run.dir.glob("_tmp-*"))


def test_half_files_of_a_killed_run_are_removed_in_its_folder_only(tmp_path: Path) -> None:
    with Run.open("fit", CONFIG | {"out": str(tmp_path / "out")}) as run:
        run.write_text("sub/a.csv", "whole")
        run.path("../outside.csv")
    halves = [run.dir / "_tmp-7-a.csv", run.dir / "._tmp-7-best-x.png", run.dir / "sub" / "_tmp-7-a.csv"]
    others = [tmp_path / "_tmp-7-a.csv", run.dir / "a_tmp-7.csv", run.dir / "sub" / "a.csv"]
    for path in (*halves, *others):
        path.write_text("half")
    with Run.open("fit", CONFIG | {"out": str(tmp_path / "out")}):
        pass
    assert [path.exists() for path in (*halves, *others)] == [False] * 3 + [True] * 3


def write_then_fail(run: Run) -> None:
    with run:
        run.write_text("half.csv", "x\n")
        raise ConfigError("bad")


def break_off(run: Run) -> None:
    with run.writing("a.csv") as path:
        path.write_text("half")
        raise RuntimeError


def test_metrics_hold_versions_threads_and_no_nan() -> None:
    with Run.open("fit", CONFIG) as run:
        run.record(test_srcc=float("nan"), hop_srcc=[0.5, float("inf")])
    told = json.loads((run.dir / "metrics.json").read_text())
    assert told["hop_srcc"] == [0.5, None]
    assert told["test_srcc"] is None
    assert set(told["versions"]) == {"python", "torch", "torch-geometric", "numpy", "pandas", "autobuild"}
    assert told["threads"] >= 1


def test_plain_takes_numpy() -> None:
    import numpy as np

    assert plain({"a": np.float64(0.5), 2: np.array([1, 2]), "p": Path("x")}) == {"a": 0.5, "2": [1, 2], "p": "x"}


def test_the_digest_of_a_folder_follows_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("1")
    first = digest(tmp_path / "d")
    (tmp_path / "d" / "a").rename(tmp_path / "d" / "b")
    second = digest(tmp_path / "d")
    (tmp_path / "d" / "b").write_text("2")
    assert len({first, second, digest(tmp_path / "d")}) == 3


_SLOW = """
import sys, time
from autobuild.jobs.run import Run
config = {"out": None, "resume": True, "seed": 0}
with Run.open("fit", config) as run:
    for name in ("one", "two", "three"):
        with run.step(name) as todo:
            if todo:
                with open("log.txt", "a") as log: log.write(name + "\\n")
                run.write_text(name + ".txt", "x" * 200000)
                if name == "two" and len(sys.argv) > 1:
                    with run.writing("half.csv") as path:
                        path.write_text("half"); print("ready", flush=True); time.sleep(60)
print(run.dir)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_after_a_real_kill_the_same_command_goes_on(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW, "slow"],
        stdout=subprocess.PIPE,
        text=True,
        # a shell that starts the tests in the background has SIGINT ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    (folder,) = Path("runs/fit").iterdir()
    process.send_signal(number)
    process.wait()
    state = json.loads((folder / "run.json").read_text())
    assert state["status"] == ("running" if number == signal.SIGKILL else "interrupted")
    again = subprocess.run([sys.executable, "-c", _SLOW], capture_output=True, text=True, check=True)
    assert str(folder) in again.stdout
    assert "finished steps: one" in again.stdout
    assert Path("log.txt").read_text().split() == ["one", "two", "two", "three"]
    assert not list(folder.glob("_tmp-*"))
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"


def test_kills_at_many_moments_never_break_the_folder() -> None:
    """Whatever the moment, the JSON files can be read, and each step is marked as done only after its file."""
    for milliseconds in (0, 1, 2, 3, 5, 8, 13):
        process = subprocess.Popen([sys.executable, "-uc", _MANY_STEPS], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(milliseconds / 1000)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        (folder,) = Path("runs/fit").iterdir()
        state = json.loads((folder / "run.json").read_text())
        assert state["status"] == "running"
        assert all((folder / f"{step}.txt").stat().st_size == 200000 for step in state["steps"])
        json.loads((folder / "metrics.json").read_text())


_MANY_STEPS = """
import itertools
from autobuild.jobs.run import Run
with Run.open("fit", {"out": None, "resume": True, "seed": 0}) as run:
    for number in itertools.count():
        with run.step(f"step{number}") as todo:
            if todo:
                print(number)
                run.write_text(f"step{number}.txt", "x" * 200000)
"""
