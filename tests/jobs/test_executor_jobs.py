"""``executor=`` and ``evaluator=`` of label and rounds: one command, wherever its evaluations run."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

import autobuild as ab
from autobuild.cli import main

# Known numbers; an evaluation whose seed is 9 kills its worker the first time, one whose seed is 8 every time.
MINE = """
import os, signal
from pathlib import Path

def evaluate(arch, seed=0):
    with open("calls.txt", "a") as file:
        file.write(f"{arch},{seed}\\n")
    if seed == 8 or (seed == 9 and not Path("once").exists()):
        Path("once").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"acc": 60 + 3 * str(arch).count("w2") + 5 * str(arch).count("w3") - len(str(arch)) / 10 + seed / 100}
"""
EXECUTORS = {
    "local": ["executor=local"],
    "ray": ["executor=ray", "executor.cpus=0.5"],
    "slurm": ["executor=slurm", "executor.cluster=local", "executor.folder=jobs"],
}


@pytest.fixture
def work(toy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (toy / "mine.py").write_text(MINE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    from autobuild.evaluate import _functions

    _functions._evaluator.cache_clear()
    return toy


def needed(executor: str) -> None:
    package = {"ray": "ray", "slurm": "submitit"}.get(executor)
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install 'autobuild-nas[{executor}]'")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_label_survives_killed_workers_wherever_it_runs(work: Path, executor: str, capsys) -> None:
    needed(executor)
    words = ["label", "space=toy.yaml", "n=2", "seeds=[0,9]", "evaluator=python:mine:evaluate", "n_jobs=2", "out=l"]
    assert main([*words, *EXECUTORS[executor]]) == 0
    trained = pd.read_csv("l/trained.csv")
    assert len(trained) == 4
    assert "latency_ms" not in trained  # only networks that are trained here are measured
    space, calls = ab.space("toy.yaml"), Counter(Path("calls.txt").read_text().split())
    for row in trained.itertuples():
        arch = str(space.parse(row.arch))
        value = 60 + 3 * arch.count("w2") + 5 * arch.count("w3") - len(arch) / 10 + row.seed / 100
        assert row.acc == pytest.approx(value)
    assert sorted(calls.values()) in ([1, 1, 1, 2], [1, 1, 2, 2])  # both may have found that nobody was killed before
    capsys.readouterr()
    # Where it runs decides nothing about what is found: the run is finished, whatever executor is named now.
    assert main([*words, "executor=inline", "time_limit_s=null", "retries=0"]) == 0
    assert "finished already" in capsys.readouterr().out


def test_what_kills_every_worker_fails_and_the_others_are_kept(work: Path, capsys) -> None:
    words = ["label", "space=toy.yaml", "n=2", "seeds=[0,8]", "evaluator=python:mine:evaluate", "out=l"]
    assert main([*words, "retries=2"]) == 2
    told = capsys.readouterr().err
    assert told.count("its process ended with exit code -9") == 2
    calls = Counter(line.split(",")[1] for line in Path("calls.txt").read_text().split())
    assert calls == {"0": 2, "8": 6}
    assert sorted(pd.read_csv("l/trained.csv")["seed"]) == [0, 0]


def test_label_by_a_program(work: Path, capsys) -> None:
    (work / "train.py").write_text(
        "import json, sys, time\nasked = json.load(sys.stdin)\n"
        "if asked['seed'] == 7: time.sleep(100)\n"
        "print(json.dumps({'fid': sum(len(stage) for stage in asked['layers'])}))\n"
    )
    program = f"evaluator=command:{sys.executable} train.py"
    assert main(["label", "space=toy.yaml", "n=3", program, "out=l"]) == 0
    frame = pd.read_csv("l/labels.csv")
    assert [arch.count("w") for arch in frame["arch"]] == list(frame["fid"])
    assert main(["label", "space=toy.yaml", "n=2", "seeds=[7]", "time_limit_s=1.5", program, "out=slow"]) == 2
    assert capsys.readouterr().err.count("it took longer than time_limit_s=1.5, and was ended") == 2


@pytest.mark.parametrize("executor", ["local", "slurm"])
def test_rounds_by_a_function_found_by_name(work: Path, executor: str) -> None:
    needed(executor)
    words = [
        "rounds", "space=toy.yaml", "labels=labels.csv", "model=linear", "rounds=2", "per_round=3", "build.top=2",
        "plots=false", "evaluator=python:mine:evaluate", "out=r",
    ]  # fmt: skip
    assert main([*words, *EXECUTORS[executor]]) == 0
    rounds, calls = pd.read_csv("r/rounds.csv"), Path("calls.txt").read_text().split()
    assert len(rounds) == 6
    assert sorted(calls) == sorted(f"{arch},0" for arch in rounds["arch"])
    assert json.loads(Path("r/metrics.json").read_text())["failed"] == 0


def test_mistakes_are_named(work: Path, capsys) -> None:
    line = ["label", "space=toy.yaml", "n=2"]
    for words, wanted in {
        ("evaluator=trian",): "did you mean 'train'",
        ("evaluator=python:mine:evalute",): "did you mean 'evaluate'",
        ("executor=rya",): "did you mean 'ray'",
        ("executor.address=auto",): "executor.address belongs to executor=ray, and executor=local was chosen",
        ("evaluator=python:mine:evaluate", "executor=inline", "time_limit_s=3"): "executor=inline cannot end",
        ("evaluator=python:mine:evaluate", "latency=true"): "has no networks",
        ("evaluator=python:mine:evaluate", "executor=slurm"): "executor.cluster=local tries it here",
    }.items():
        if "executor=slurm" in words and shutil.which("srun"):
            continue
        assert main([*line, *words]) == 2, words
        assert wanted in capsys.readouterr().err
