"""``autobuild search`` and ``autobuild report``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

import autobuild as ab
from autobuild.cli import main

WORDS = ["search", "space=toy.yaml", "evaluator=python:search_evaluators:quick", "executor=inline", "sampler=tpe"]
HERE = Path(__file__).parent


@pytest.fixture
def folder(toy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", f"{Path(ab.__file__).parents[1]}{os.pathsep}{HERE}")
    monkeypatch.syspath_prepend(str(HERE))
    return toy


def calls() -> list[str]:
    return Path("calls.txt").read_text().split()


def test_everything_is_written_and_a_finished_run_is_only_shown(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*WORDS, "labels=labels.csv", "n_trials=12", "narrow.share=0.3", "out=s"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "search: 12/12" in shown
    assert "best so far" in shown
    assert ", ETA " in shown
    assert "optuna-dashboard sqlite:///s/search.db" in shown
    space = ab.space("toy.yaml")
    numbers = json.loads(Path("s/metrics.json").read_text())
    trials, best = (pd.read_csv(f"s/{name}.csv", dtype={"arch": str}) for name in ("trials", "best"))
    own = trials[trials["source"] == "search"]
    assert sorted(own["arch"]) == sorted(calls())
    assert len(set(calls())) == 12 == numbers["evaluated"]
    labels = ab.LabelledSet.read("labels.csv", space)
    assert not {space.key(space.parse(arch)) for arch in own["arch"]} & set(labels.keys)
    small = ab.SearchSpace.from_json(Path("s/narrowed.json").read_text())
    assert set(trials[trials["source"] == "label"]["arch"]) == {arch.text for arch in labels.archs if arch in small}
    assert best["acc"].is_monotonic_decreasing
    assert best["acc"][0] == numbers["best"] == trials["acc"].max()
    assert list(pd.read_csv("s/chain.csv")["study"]) == ["toy", "toy/2"]
    history = pd.read_csv("s/history.csv")
    assert history["best"].iloc[-1] == numbers["best"]
    assert list(history["evaluations"]) == list(range(13))
    for name in ("history.png", "chain.png"):
        assert Path("s", name).read_bytes().startswith(b"\x89PNG")
    assert main(words) == 0
    again = capsys.readouterr().out
    assert "finished already" in again
    assert len(calls()) == 12
    assert again.count("12 networks were evaluated") == 1


def test_several_targets_give_a_front_and_its_hypervolume(folder: Path) -> None:
    assert (
        main([*WORDS, "sampler=nsga2", "target=acc; -ms", "n_trials=25", "where=ms <= 7", "out=s", "storage=journal"])
        == 0
    )
    front, history = pd.read_csv("s/front.csv"), pd.read_csv("s/history.csv")
    assert (front["ms"] <= 7).all()
    assert front["acc"].is_monotonic_decreasing
    assert front["ms"].is_monotonic_decreasing
    assert history["hypervolume"].is_monotonic_increasing
    assert json.loads(Path("s/metrics.json").read_text())["hypervolume"] == pytest.approx(
        history["hypervolume"].iloc[-1]
    )
    assert {path.name for path in Path("s").glob("*.png")} == {
        "history.png", "front.png", "hypervolume.png", "chain.png"
    }  # fmt: skip


def test_a_search_that_finds_nothing_says_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "sampler=random", "n_trials=3", "where=ms <= 0.001", "out=s", "plots=false"]) == 0
    why = "3 networks were evaluated; 3 of 3 break ms &lt;= 0.001, the nearest reaches"
    assert why.replace("&lt;", "<") in " ".join(capsys.readouterr().out.split())
    assert main(["report", "run=s", "out=page"]) == 0
    assert f"No best network: {why}" in Path("page/report.html").read_text()


def test_several_targets_narrow_for_the_front(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["target=acc; -ms", "labels=labels.csv", "narrow.share=0.1", "narrow.rounds=2", "n_trials=12", "out=s"]
    assert main([*WORDS, *words]) == 0
    assert "of the front in expectation" in "".join(pd.read_csv("s/chain.csv")["why"].fillna(""))
    small = ab.SearchSpace.from_json(Path("s/narrowed.json").read_text())
    assert small.size < ab.space("toy.yaml").size
    assert len(set(calls())) == len(calls()) == 12
    assert main(["report", "run=s", "out=page"]) == 0
    page = Path("page/report.html").read_text()
    assert page.count("data:image/png;base64,") == 4  # front, hypervolume, history, chain
    assert all(name in page for name in pd.read_csv("s/chain.csv")["study"])
    capsys.readouterr()


def test_a_killed_search_goes_on_by_the_same_command(folder: Path) -> None:
    words = [*WORDS, "evaluator=python:search_evaluators:slow", "n_trials=14", "out=s", "plots=false"]
    command = [sys.executable, "-m", "autobuild.cli", *words]
    for after in (4, 9):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 120
        while len(calls() if Path("calls.txt").exists() else []) < after:
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert main(["report", "run=s", "out=half"]) == 0  # of a search that is not finished
    half = Path("half/report.html").read_text()
    assert "1 still running" in half
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.count("resuming") == 1
    trials = pd.read_csv("s/trials.csv", dtype={"arch": str})
    assert len(trials) == trials["arch"].nunique() == 14
    assert set(trials["state"]) <= {"COMPLETE", "FAIL"}
    times = Counter(calls())
    assert set(times) == set(trials["arch"])
    assert sum(times.values()) <= 16


@pytest.mark.parametrize("narrow", [[], ["labels=labels.csv", "narrow.share=0.3"]])
def test_a_finished_search_grows(folder: Path, narrow: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = [*WORDS, *narrow, "out=s"]
    assert main([*words, "n_trials=6"]) == 0
    first, picture = pd.read_csv("s/trials.csv", dtype={"arch": str}), Path("s/history.png").read_bytes()
    assert main([*words, "n_trials=10"]) == 0
    assert "going on with the run in s: n_trials from 6 to 10" in capsys.readouterr().out
    trials = pd.read_csv("s/trials.csv", dtype={"arch": str})
    own = trials[trials["source"] == "search"]
    assert len(own) == own["arch"].nunique() == 10
    assert sorted(own["arch"]) == sorted(calls())  # none evaluated twice
    assert list(own["arch"])[:6] == list(first[first["source"] == "search"]["arch"])
    assert set(own["state"]) <= {"COMPLETE", "FAIL"}
    assert len(pd.read_csv("s/history.csv")) == 11
    assert Path("s/history.png").read_bytes() != picture
    assert json.loads(Path("s/metrics.json").read_text())["evaluated"] == 10
    assert main([*words, "n_trials=8"]) == 2
    refused = capsys.readouterr().err
    assert "n_trials is 10 there, 8 here" in refused
    assert "10 networks are evaluated there already" in refused
    assert main([*words, "n_trials=12", "seed=1"]) == 2
    assert "seed is 0 there, 1 here" in capsys.readouterr().err
    assert len(calls()) == 10
    assert main(["report", "run=s", "out=page"]) == 0


def test_a_search_that_grows_outlives_a_kill(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*WORDS, "evaluator=python:search_evaluators:slow", "out=s", "plots=false"]
    assert main([*words, "n_trials=4"]) == 0
    command = [sys.executable, "-m", "autobuild.cli", *words, "n_trials=12"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while len(calls()) < 8:
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(calls())
    assert main([*words, "n_trials=4"]) == 2
    told = capsys.readouterr().err
    assert f"{done - 1} networks are evaluated" in told or f"{done} networks are evaluated" in told
    assert main([*words, "n_trials=12"]) == 0
    trials = pd.read_csv("s/trials.csv", dtype={"arch": str})
    assert len(trials) == trials["arch"].nunique() == 12
    times = Counter(calls())
    assert set(times) == set(trials["arch"])
    assert sum(times.values()) <= 13  # what was under way


def test_a_report_is_one_page_that_shows_what_came_as_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "n_trials=40", "sampler=random", "out=s", "plots=false"]) == 0
    failed = pd.read_csv("s/trials.csv").query("state == 'FAIL'")
    assert len(failed) > 0
    assert f"failed, {len(failed)} of them: ValueError: <b>out of memory</b>" in capsys.readouterr().out
    assert main(["report", "run=s", "out=page"]) == 0
    page = Path("page/report.html").read_text()
    assert page.count("data:image/png;base64,") == 1  # there is no chain of spaces to show
    assert f"({40 - len(failed)} complete, {len(failed)} failed)" in page
    assert "&lt;b&gt;out of memory&lt;/b&gt;" in page
    assert "<b>" not in page
    assert failed["arch"].iloc[0] in page
    Path("s").rename("moved")  # a folder is read where it lies
    assert main(["report", "run=moved", "out=page"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["sampler=tpee"], "did you mean 'tpe'"),
        (["sampler=tpe", "sampler.population=5"], "sampler.population belongs to"),
        (["evaluator=tabel:labels.csv"], "unknown evaluator"),
        (["narrow.top=3", "narrow.share=0.1"], "exactly one of top, threshold, mass, share"),
        (["n_trials=0"], "n_trials=0"),
        (["pruner=asha", "target=acc; -ms"], "2 targets"),
        (["storage=mongodb"], "accepted: sqlite:///PATH"),
        (["sampler=gp", "grain=layer"], "grain='unit'"),
        (["where=ms <> 3"], "ms <> 3"),
        (["labels=missing.csv"], "missing.csv"),
    ],
)
def test_what_cannot_be_used_is_named(
    folder: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = [word for word in WORDS if word.split("=")[0] not in {extra.split("=")[0] for extra in words}]
    assert main([*base, *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
    assert not Path("calls.txt").exists()


def test_passwords_are_not_written_down(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = "postgresql+psycopg://me:secret@127.0.0.1:1/nas"
    assert main([*WORDS, f"storage={address}", "out=s", "patience_s=0"]) == 2
    said = capsys.readouterr()
    assert "secret" not in said.out + said.err
    assert "me:***@127.0.0.1" in said.err
    assert not any("secret" in path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("words", "told"), [([], "report needs the folder of a run"), (["run=nowhere"], "no such folder")]
)
def test_a_report_of_nothing_is_refused(
    folder: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", *words]) == 2
    assert told in capsys.readouterr().err
