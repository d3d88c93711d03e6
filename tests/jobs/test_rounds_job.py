"""``autobuild rounds`` on a table, killed and continued, and with an evaluator some of whose evaluations fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import quick_rounds
from quick_rounds import TRACE, Quick, fails

import autobuild as ab
from autobuild.cli import main
from autobuild.evaluate import evaluator as evaluators

SPACE = """
name: pair
units: {a: [1, 2], b: [1, 2]}
features: {width: [1, 2, 3], kernel: [3, 5]}
text: "w{width}k{kernel}"
"""
WORDS = [
    "rounds", "space=pair.yaml", "labels=start.csv", "table=table.csv", "target=acc", "model=gp", "rounds=3",
    "per_round=5", "build.top=4",
]  # fmt: skip
WRITTEN = ("rounds.csv", "labels.csv", "best.csv", "built.csv")


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All 1,764 networks of a space; wider is better, yet one stage must not be too wide. Some could not be trained."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(ab.__file__).parents[1]))
    Path("pair.yaml").write_text(SPACE)
    space = ab.space("pair.yaml")
    archs = [space.assemble((i, j)) for i in range(space.units[0].size) for j in range(space.units[1].size)]
    width = np.array([[sum(layer["width"] for layer in stage) for stage in space.layers(arch)] for arch in archs])
    acc = 70 + 3 * width[:, 0] - (width[:, 1] - 3.2) ** 2 + np.random.default_rng(0).normal(0, 0.2, len(archs))
    frame = pd.DataFrame({"arch": map(str, archs), "acc": acc, "ms": width.sum(axis=1)})
    start = np.random.default_rng(1).permutation(len(frame))[:24]
    frame.iloc[start].to_csv("start.csv", index=False)
    lost = (np.arange(len(frame)) % 4 == 0) & ~np.isin(np.arange(len(frame)), start)
    frame[~lost].to_csv("table.csv", index=False)
    return tmp_path


def read(folder: str) -> dict[str, str]:
    return {name: Path(folder, name).read_text() for name in WRITTEN}


def test_a_table_is_looked_up_and_everything_is_written(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "out=r"]) == 0
    shown = capsys.readouterr().out
    for part in ("round 3: 5 evaluated", "Best label: ", "Built networks", "Results in r"):
        assert part in shown
    frame, start = pd.read_csv("r/rounds.csv"), pd.read_csv("start.csv")
    truth = pd.read_csv("table.csv").set_index("arch")["acc"]
    assert list(frame["round"]) == [1] * 5 + [2] * 5 + [3] * 5
    assert not frame["arch"].duplicated().any()
    assert not set(frame["arch"]) & set(start["arch"])
    found = frame[frame["reason"].isna()]
    np.testing.assert_allclose(found["measured"], truth[found["arch"]])
    assert set(frame.loc[frame["measured"].isna(), "reason"]) == {"not in the table"}
    labels = pd.read_csv("r/labels.csv")
    assert list(labels["arch"]) == [*start["arch"], *found["arch"]]
    curve = pd.read_csv("r/best.csv")
    assert list(curve["evaluations"]) == list(range(24, 40))
    assert curve["best"].iloc[-1] == max(start["acc"].max(), found["measured"].max())
    assert curve["best"].is_monotonic_increasing
    assert Path("r/best.png").read_bytes().startswith(b"\x89PNG")
    assert len(pd.read_csv("r/built.csv")) == 4
    assert len(ab.FittedModel.load("r/model").training) == len(labels)
    told = json.loads(Path("r/metrics.json").read_text())
    assert (told["evaluations"], told["rounds"], told["n_start"]) == (15, 3, 24)
    assert told["failed"] == len(frame) - len(found)
    before = read("r")
    assert main([*WORDS, "out=r"]) == 0
    assert "finished already" in capsys.readouterr().out
    assert read("r") == before


def test_a_killed_job_goes_on_to_the_same_end(tables: Path) -> None:
    assert main([*WORDS, "out=whole"]) == 0
    # Each time, the process is killed as soon as it has written one thing more: what was asked, or what came out.
    for rows, measured in ((5, True), (10, False)):
        process = subprocess.Popen(
            [sys.executable, "-m", "autobuild.cli", *WORDS, "out=killed"], stdout=subprocess.DEVNULL
        )
        while process.poll() is None and not _reached(Path("killed/rounds.csv"), rows, measured):
            time.sleep(0.002)
        assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not Path("killed/built.csv").exists()
    assert main([*WORDS, "out=killed"]) == 0
    assert read("killed") == read("whole")


def _reached(path: Path, rows: int, measured: bool) -> bool:
    if not path.exists():
        return False
    frame = pd.read_csv(path)
    return len(frame) > rows or (len(frame) == rows and (not measured or bool(frame.iloc[-1, -2:].notna().any())))


def test_evaluations_are_neither_repeated_nor_lost_by_a_kill_and_failures_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(evaluators.EVALUATORS, "tiny_mbconv", Quick)
    space = ab.space("tiny_mbconv")
    archs = ab.sample_design(space, 24, "depth", 0)
    acc = [70 if fails(str(arch)) else Quick(0)(space, arch, 0)["acc"] for arch in archs]
    pd.DataFrame({"arch": [str(arch) for arch in archs], "acc": acc}).to_csv("labels.csv", index=False)
    words = [
        "rounds", "labels=labels.csv", "model=gp", "rounds=2", "per_round=5", "n_jobs=1", "seeds=[0,4]", "plots=false",
    ]  # fmt: skip
    assert main([*words, "out=whole"]) == 0
    told = pd.read_csv("whole/rounds.csv")
    assert list(told["reason"] == "out of memory") == [fails(arch) for arch in told["arch"]]
    assert 0 < told["reason"].notna().sum() < 10
    means = pd.read_csv("whole/trained.csv").groupby("arch")["acc"].mean()
    kept = told[told["reason"].isna()]
    np.testing.assert_allclose(kept["measured"], means[kept["arch"]])
    assert json.loads(Path("whole/metrics.json").read_text())["failed"] == told["reason"].notna().sum()
    assert len(pd.read_csv("whole/labels.csv")) == 24 + len(kept)

    Path(TRACE).unlink()
    program = [sys.executable, quick_rounds.__file__, *words, "out=killed"]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (_reached(Path("killed/rounds.csv"), 5, True) and _trainings(told) >= 2):
        time.sleep(0.002)
    assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = pd.read_csv("killed/trained.csv")
    assert main([*words, "out=killed"]) == 0
    assert read("killed") == read("whole")
    calls = Counter(Path(TRACE).read_text().splitlines())
    finished = [f"{arch},{seed}" for arch, seed in zip(before["arch"], before["seed"], strict=True)]
    failed = [f"{arch},{seed}" for arch in told["arch"][:5] if fails(arch) for seed in (0, 4)]
    assert {calls[call] for call in [*finished, *failed]} == {1}
    assert set(calls) == {f"{arch},{seed}" for arch in told["arch"] for seed in (0, 4)}


def _trainings(told: pd.DataFrame) -> int:
    """How many trainings of the second round are written."""
    trained = pd.read_csv("killed/trained.csv")
    return int(trained["arch"].isin(told["arch"][5:]).sum())


def test_mistakes_are_named(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rounds", "space=toy.yaml", "labels=labels.csv", "model=gp"]) == 2
    told = capsys.readouterr().err
    assert "'toy' has no evaluator" in told
    assert "table=" in told
    assert main(["rounds", "space=toy.yaml", "table=labels.csv", "model=gp"]) == 2
    assert "give n=" in capsys.readouterr().err
    assert main(["rounds", "space=toy.yaml", "labels=labels.csv", "table=nowhere.csv", "model=gp"]) == 2
    assert "nowhere.csv" in capsys.readouterr().err
    assert main(["rounds", "space=toy.yaml", "table=labels.csv", "n=4", "model=gp"]) == 2
    assert "at least 5" in capsys.readouterr().err
    assert main(["rounds", "acquisition=best"]) == 2
    assert "balanced" in capsys.readouterr().err
    assert main(["rounds", "space=toy.yaml", "table=labels.csv", "n=20", "rounds=1", "per_round=3", "model=gp"]) == 2
    assert "not in the table" in capsys.readouterr().err  # all three: 90 of 12 million networks are labelled
