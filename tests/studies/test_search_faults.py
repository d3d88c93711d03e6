"""Searches whose storage goes away, whose disk is full, whose evaluations hang or are killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa

import autobuild as ab
from autobuild.errors import ConfigError, RunError
from autobuild.studies._claims import Claims, digest
from autobuild.studies._study import INFO
from autobuild.studies.storage import open_storage, sqlite_address
from tests.studies import postgres
from tests.studies.test_search_kills import N_TRIALS, begun, check, start, wait_until


@pytest.fixture(scope="module")
def space():
    return ab.space("nas_bench_macro")


@pytest.fixture(scope="module")
def server():
    with postgres.server() as running:
        yield running


class Counting:
    """Calls a function at the fifth evaluation."""

    def __init__(self, at_five):
        self.n, self.at_five = 0, at_five

    def __call__(self, space, arch, seed):
        self.n += 1
        if self.n == 5:
            self.at_five()
        return {"acc": float(sum(map(int, str(arch))))}


def test_a_database_that_comes_back_is_waited_for(space, server):
    def restart():
        server.stop()
        threading.Timer(2.0, server.start).start()

    told = []
    evaluator = Counting(restart)
    options = {"n_trials": 12, "storage": server.address, "name": "back", "sampler": "random"}
    found = ab.search(space, evaluator, on_progress=lambda p: told.append(p.note), **options)
    assert evaluator.n == 12  # the evaluation that ended while the database was away was not lost
    assert set(found.evaluated["state"]) == {"COMPLETE"}
    assert found.evaluated["arch"].nunique() == 12
    assert any("does not answer" in note for note in told)


def test_a_database_that_stays_away_ends_the_search_and_the_same_call_goes_on(space, server):
    options = {"n_trials": 12, "storage": server.address, "name": "away", "sampler": "random"}
    with pytest.raises(RunError, match=r"storage postgresql\+psycopg://.* has not answered for 3 s"):
        ab.search(space, Counting(server.stop), patience_s=3, **options)
    server.start()
    found = ab.search(space, Counting(lambda: None), **options)
    assert set(found.evaluated["state"]) == {"COMPLETE"}
    assert len(found.evaluated) == found.evaluated["arch"].nunique() == 12


def test_a_journal_that_is_away_for_a_while_is_waited_for(space, tmp_path):
    folder, away = tmp_path / "here", tmp_path / "away"

    def hide():
        folder.rename(away)
        threading.Timer(1.5, away.rename, [folder]).start()

    evaluator = Counting(hide)
    found = ab.search(space, evaluator, n_trials=10, storage=f"journal:{folder}/s.journal", sampler="random")
    assert evaluator.n == len(found.evaluated) == found.evaluated["arch"].nunique() == 10


def test_a_full_database_ends_the_search_at_once_and_the_same_call_goes_on(space, tmp_path):
    address = f"sqlite:///{tmp_path}/s.db"
    options = {"n_trials": 60, "storage": address, "sampler": "random"}

    ab.search(space, Counting(lambda: None), **{**options, "n_trials": 2})
    with sa.create_engine(address).connect() as connection:
        pages = connection.execute(sa.text("PRAGMA page_count")).scalar_one()

    def limit(connection, record):
        connection.execute(f"PRAGMA max_page_count={pages + 4}")

    sa.event.listen(sa.Engine, "connect", limit)
    began = time.monotonic()
    try:
        with pytest.raises(RunError, match=r"s\.db: no space is left .*full"):
            ab.search(space, Counting(lambda: None), **options)
    finally:
        sa.event.remove(sa.Engine, "connect", limit)
    assert time.monotonic() - began < 60
    found = ab.search(space, Counting(lambda: None), **options)
    assert len(found.evaluated) == found.evaluated["arch"].nunique() == 60
    assert set(found.evaluated["state"]) == {"COMPLETE"}


def test_a_full_disk_leaves_a_journal_that_the_same_command_goes_on_with(tmp_path):
    address, log = f"journal:{tmp_path}/s.journal", tmp_path / "log"
    process = start(address, log, largest_file=12_345, sleep=0)
    assert process.wait(120) == 1
    done = len(begun(log))
    assert 0 < done < N_TRIALS
    assert (tmp_path / "s.journal").read_bytes().endswith(b"\n")
    again = start(address, log, sleep=0)
    assert again.wait(120) == 0
    check(address, log, kills=1)


def test_a_worker_on_another_machine_is_stood_in_for_when_its_heartbeats_end(tmp_path):
    address, log = f"sqlite:///{tmp_path}/s.db", tmp_path / "log"
    process = start(address, log, elsewhere=1, lease=2)
    wait_until(lambda: len(begun(log)) >= 8)
    time.sleep(1.5)  # until its heart has beaten
    process.send_signal(signal.SIGSTOP)  # and has a trial under way for certain
    wait_until(lambda: True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = start(address, log, lease=2)
    assert again.wait(120) == 0
    check(address, log, kills=1)


def test_optunas_own_retry_takes_up_a_trial_whose_heartbeats_end(space, tmp_path):
    """Without a claim's help: a trial with an old heartbeat is failed by Optuna and queued again by its callback."""
    from autobuild.studies._trials import create_trial

    address = f"sqlite:///{tmp_path}/s.db"
    ab.search(space, Counting(lambda: None), n_trials=2, storage=address, name="s", sampler="random")
    storage = open_storage(address)
    study = optuna.load_study(study_name="s", storage=storage.optuna)
    gone = Claims(storage.claims, f"s:{study.user_attrs[INFO]['id']}", owner="elsewhere|pid:[1]|1|1|x", lease_s=1.0)
    arch = space.parse("22222222")
    frozen = create_trial(space, "unit", arch, {}, state=optuna.trial.TrialState.RUNNING)
    trial_id = study._storage.create_new_trial(study._study_id, frozen)
    assert gone.claim(space.key(arch), arch.text, 2, limit=9) == "granted"
    study._storage.record_heartbeat(trial_id)
    time.sleep(4.5)
    found = ab.search(space, Counting(lambda: None), n_trials=4, storage=address, name="s", sampler="random", lease_s=3)
    assert "22222222" in list(found.evaluated["arch"])
    retried = [trial for trial in found.study.trials if trial.system_attrs.get("retry_history")]
    assert [(trial.system_attrs["failed_trial"], trial.state.name) for trial in retried] == [(2, "COMPLETE")]
    assert not [trial for trial in found.study.trials if "passed_over" in trial.user_attrs]
    assert len(found.evaluated) == 4


def test_workers_lost_again_and_again_say_nothing_about_the_network(space, tmp_path):
    """As on machines that are taken back; and a question mark in a path is part of the path."""
    path = tmp_path / "a?b" / "s.db"
    options = {"storage": sqlite_address(path), "name": "s", "sampler": "random", "retries": 0}
    first = ab.search(space, Counting(lambda: None), n_trials=2, **options)
    assert path.is_file()
    store = open_storage(options["storage"]).claims
    gone = Claims(store, f"s:{first.study.user_attrs[INFO]['id']}", owner="gone")
    arch = next(arch for arch in space.sample(9, seed=3) if arch.text not in set(first.evaluated["arch"]))
    assert gone.claim(space.key(arch), arch.text, limit=9) == "granted"
    with store.transaction(gone.study) as rows:
        rows.put(replace(rows.get(digest(space.key(arch))), tries=9, expires=0.0))
    told = []
    found = ab.search(space, Counting(lambda: None), n_trials=3, on_progress=lambda p: told.append(p.note), **options)
    assert dict(zip(found.evaluated["arch"], found.evaluated["state"], strict=True))[arch.text] == "COMPLETE"
    assert any("was under way 9 times as a worker was lost" in note for note in told)


# -- evaluations -------------------------------------------------------------------------------------------------------


class Deadly:
    """Kills its process: at the first try of a network that begins with 1, at every try of one that begins with 0."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, space, arch, seed):
        mark = self.folder / str(arch)
        tried = mark.exists()
        mark.touch()
        if str(arch)[0] == "0" or (str(arch)[0] == "1" and not tried):
            os.kill(os.getpid(), signal.SIGKILL)
        return {"acc": 1.0}


class Hanging:
    def __call__(self, space, arch, seed):
        if str(arch)[0] == "0":
            time.sleep(3600)
        return {"acc": 1.0}


def test_evaluations_whose_process_dies_are_tried_again_a_bounded_number_of_times(space, tmp_path):
    found = ab.search(space, Deadly(tmp_path), n_trials=8, n_jobs=2, sampler="random", retries=1)
    states = found.evaluated.set_index("arch")["state"]
    assert dict(states) == {arch: "FAIL" if arch[0] == "0" else "COMPLETE" for arch in states.index}
    assert {arch[0] for arch in states.index} == {"0", "1", "2"}
    reasons = found.evaluated[found.evaluated["state"] == "FAIL"]["reason"]
    assert all("signal 9" in reason or "-9" in reason or "killed" in reason.lower() for reason in reasons)


def test_evaluations_that_hang_are_ended(space):
    began = time.monotonic()
    found = ab.search(space, Hanging(), n_trials=5, n_jobs=2, sampler="random", time_limit_s=2)
    states = found.evaluated.set_index("arch")["state"]
    assert dict(states) == {arch: "FAIL" if arch[0] == "0" else "COMPLETE" for arch in states.index}
    assert states.nunique() == 2
    assert time.monotonic() - began < 120


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"arch,acc\n1,2\n", "not a database"), (b"", None)],
)
def test_a_file_that_is_no_database(space, tmp_path, content, told):
    path = tmp_path / "s.db"
    path.write_bytes(content)
    if told is None:
        assert len(ab.search(space, Counting(lambda: None), n_trials=1, storage=f"sqlite:///{path}").evaluated) == 1
        return
    with pytest.raises(RunError, match=told):
        ab.search(space, Counting(lambda: None), n_trials=1, storage=f"sqlite:///{path}", patience_s=0.5)
    assert path.read_bytes() == content


def test_a_file_that_is_no_journal(space, tmp_path):
    path = tmp_path / "s.journal"
    path.write_text("arch,acc\n1,2\n")
    with pytest.raises((RunError, ConfigError), match="is no journal of Optuna"):
        ab.search(space, Counting(lambda: None), n_trials=1, storage=f"journal:{path}", patience_s=0.5)
    assert path.read_text() == "arch,acc\n1,2\n"


def test_a_server_that_is_not_there_is_named_without_the_password(space):
    address = "postgresql+psycopg://me:secret@127.0.0.1:1/nothing"
    with pytest.raises(RunError, match=r"postgresql\+psycopg://me:\*\*\*@127\.0\.0\.1:1/nothing") as refused:
        ab.search(space, Counting(lambda: None), n_trials=1, storage=address, patience_s=0.5)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("content", ["", "no database\n" * 200])
def test_a_storage_that_cannot_be_opened_is_named_once(space, tmp_path, monkeypatch, content):
    monkeypatch.setattr("autobuild.studies.storage._OPENING_SECONDS", 0.1)
    file = tmp_path / "notes.txt"
    file.write_text(content or "a file where a folder is meant")
    address = f"sqlite:///{file}" if content else f"sqlite:///{file}/s.db"
    with pytest.raises(RunError, match=r"storage sqlite:.*: .*(file is not a database|unable to open)") as told:
        ab.search(space, lambda arch: 1.0, n_trials=2, storage=address)
    assert str(told.value).count(address) == 1
