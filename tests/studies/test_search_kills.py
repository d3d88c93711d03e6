"""Searches whose processes are killed: they end with exactly as many distinct networks as were asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest

import autobuild as ab
from autobuild.studies._claims import Claims
from autobuild.studies._study import INFO
from autobuild.studies._trials import ARCH, FROM, counts
from autobuild.studies.storage import open_storage
from tests.studies import postgres

ROOT = Path(__file__).parents[2]
N_TRIALS = 30
PATIENCE_S = 600  # on a busy machine, where the imports of four workers alone take a minute


@pytest.fixture(params=["sqlite", "journal"])
def address(request, tmp_path):
    return f"sqlite:///{tmp_path}/s.db" if request.param == "sqlite" else f"journal:{tmp_path}/s.journal"


def start(address: str, log: Path, **options: object) -> subprocess.Popen:
    words = [f"{key}={value}" for key, value in {"n_trials": N_TRIALS, "log": log, **options}.items()]
    command = [sys.executable, "-m", "tests.studies.search_worker", address, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)


def begun(*logs: Path) -> list[str]:
    return [line for log in logs if log.is_file() for line in log.read_text().split()]


def wait_until(done, seconds: float = PATIENCE_S) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.02)


def check(address: str, *logs: Path, kills: int) -> None:
    """Exactly as many as asked for, all distinct; begun twice only what was under way at a kill."""
    storage = open_storage(address)
    study = optuna.load_study(study_name="macro", storage=storage.optuna)
    trials = study.get_trials(deepcopy=False)
    finished = [trial for trial in trials if counts(trial) and FROM not in trial.user_attrs]
    assert Counter(trial.state.name for trial in finished) == {"COMPLETE": N_TRIALS}
    space = ab.space("nas_bench_macro")
    assert len({space.key(space.parse(trial.user_attrs[ARCH])) for trial in finished}) == N_TRIALS
    assert all(trial.values[0] == sum(map(int, trial.user_attrs[ARCH])) for trial in finished)
    assert not [trial for trial in trials if not trial.state.is_finished()]
    claims = Claims(storage.claims, f"macro:{study.user_attrs[INFO]['id']}")
    assert claims.counts() == {"held": 0, "measured": 0, "spent": N_TRIALS, "known": 0}
    times = Counter(begun(*logs))
    assert sum(times.values()) - N_TRIALS <= kills
    assert len(times) == N_TRIALS


def test_a_search_that_is_killed_and_started_again(address, tmp_path):
    log = tmp_path / "log"
    kills = 0
    for after in (8, 18):
        process = start(address, log)
        wait_until(lambda: len(begun(log)) >= after or process.poll() is not None)  # noqa: B023
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    process = start(address, log)
    assert process.wait(PATIENCE_S) == 0
    assert process.stdout.read().split() == [str(N_TRIALS).encode()]
    check(address, log, kills=kills)
    again = start(address, log)
    assert again.wait(PATIENCE_S) == 0
    check(address, log, kills=kills)  # nothing was left to do


@pytest.mark.slow
def test_four_workers_on_postgresql_of_which_two_are_killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("postgres", numbered=True)
    with postgres.server() as server:
        logs = [folder / f"log{number}" for number in range(4)]
        workers = [start(server.address, log, sleep=0.4) for log in logs]
        try:
            wait_until(lambda: all(len(begun(log)) >= 2 for log in logs))
            for worker in workers[:2]:
                worker.send_signal(signal.SIGKILL)
            for worker in workers[2:]:
                assert worker.wait(PATIENCE_S) == 0
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        check(server.address, *logs, kills=2)
