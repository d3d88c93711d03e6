"""Claims: one owner each, never more than the slots, and taken over when a lease ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from autobuild.errors import RunError
from autobuild.studies import _claims as module
from autobuild.studies._claim_stores import FileStore, MemoryStore, TableStore
from autobuild.studies._claims import FULL, GRANTED, TAKEN, Claims, alive, new_owner
from autobuild.studies.storage import relational_engine
from tests.studies import claim_workers

ELSEWHERE = "another-boot|pid:[1]|7|99|a"


@pytest.fixture(params=["memory", "file", "sqlite"])
def store(request, tmp_path):
    if request.param == "memory":
        return MemoryStore()
    if request.param == "file":
        return FileStore(tmp_path / "c.claims")
    return TableStore(relational_engine(f"sqlite:///{tmp_path}/c.db"))


def test_a_key_has_one_owner(store):
    one, other = Claims(store, "s"), Claims(store, "s")
    assert one.claim("k", "arch", 3, limit=5) == GRANTED
    assert other.claim("k", "arch", 4, limit=5) == TAKEN
    assert one.claim("k", limit=5) == TAKEN
    assert not other.measured("k", "1")
    assert not other.forget("k")
    assert one.measured("k", "1")
    assert one.measured("k", "1")
    assert not one.measured("k", "2")
    assert one.spent("k")
    assert not one.spent("k")
    kept = one.get("k")
    assert (kept.arch, kept.trial, kept.state, kept.outcome) == ("arch", 3, "spent", "1")
    assert Claims(store, "another study").claim("k", limit=1) == GRANTED


def test_slots_are_never_exceeded_and_come_back_when_a_claim_is_forgotten(store):
    claims = Claims(store, "s")
    assert [claims.claim(f"k{i}", limit=3) for i in range(5)] == [GRANTED] * 3 + [FULL] * 2
    claims.enter([("p1", "p"), ("k0", "not again")])
    assert claims.counts() == {"held": 3, "measured": 0, "spent": 0, "known": 1}
    assert claims.claim("p1", limit=9) == TAKEN
    assert claims.forget("k1")
    assert claims.claim("k4", limit=3) == GRANTED
    assert claims.claim("@task") == GRANTED  # takes no slot
    assert claims.claimed(["k0", "k1", "p1", "k4"]) == {"k0", "p1", "k4"}
    assert claims.busy("k0")
    assert not claims.busy("p1")


def test_a_lease_that_has_ended_is_taken_over_once(store):
    gone = Claims(store, "s", owner=ELSEWHERE, lease_s=60)
    assert gone.claim("k", limit=1) == GRANTED
    a, b = Claims(store, "s"), Claims(store, "s")
    assert a.take_over("k") is None
    gone.lease_s = -1
    assert gone.renew() == 1
    assert [claim.key for claim in a.lapsed()] == ["k"]
    taken = [worker.take_over("k") for worker in (a, b)]
    assert taken[0].tries == 2
    assert taken[1] is None
    assert not gone.measured("k", "too late")
    assert gone.renew() == 0
    assert a.measured("k", "1")
    assert a.counts()["measured"] == 1


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_jumps_spends_a_key_once(store, days, monkeypatch):
    """Forward, leases of living workers end: they are taken over, and what the first one measured does not count."""
    first, second, clock = Claims(store, "s", owner=ELSEWHERE), Claims(store, "s"), time.time
    assert first.claim("k", limit=1) == GRANTED
    monkeypatch.setattr(time, "time", lambda: clock() + 86_400 * days)
    assert (second.take_over("k") is not None) == (days > 0)
    assert first.renew() == (days < 0)
    assert [worker.measured("k", "1") for worker in (first, second)] == [days < 0, days > 0]
    assert [worker.spent("k") for worker in (first, second)] == [days < 0, days > 0]
    monkeypatch.setattr(time, "time", clock)
    assert Claims(store, "s").counts() == {"held": 0, "measured": 0, "spent": 1, "known": 0}


def test_a_worker_that_was_stopped_and_wakes_up_does_not_count_twice(tmp_path):
    where, told = str(tmp_path / "c.claims"), tmp_path / "told"
    claim_workers.open_store("file", where)
    worker = multiprocessing.get_context("fork").Process(target=claim_workers.evaluate_one, args=(where, str(told)))
    worker.start()
    try:
        _until(told.exists)
        os.kill(worker.pid, signal.SIGSTOP)
        here = Claims(claim_workers.open_store("file", where), "study")
        _until(lambda: here.take_over("k") is not None)
        assert here.measured("k", "here")
        assert here.spent("k")
        os.kill(worker.pid, signal.SIGCONT)
        worker.join(60)
    finally:
        worker.kill()
    assert told.read_text() == "False"
    assert here.get("k").outcome == "here"


def test_renewing_keeps_a_lease_and_releasing_gives_it_up(store):
    here = Claims(store, "s", owner=ELSEWHERE, lease_s=0.2)
    other = Claims(store, "s")
    here.claim("k", limit=1)
    for _ in range(4):
        time.sleep(0.1)
        assert here.renew() == 1
        assert other.take_over("k") is None
    assert here.release("k")
    assert here.renew() == 0
    assert other.claim("k", limit=1) == GRANTED
    assert other.get("k").tries == 1  # it was let go, not lost


def test_an_outcome_that_was_not_told_is_kept_for_who_takes_over(store):
    gone = Claims(store, "s", owner=ELSEWHERE, lease_s=0.01)
    gone.claim("k", "arch", 7, limit=1)
    gone.measured("k", '{"v": 1}')
    time.sleep(0.02)
    here = Claims(store, "s")
    assert here.claim("k", limit=1) == TAKEN  # it must not be evaluated again
    claim = here.take_over("k")
    assert (claim.outcome, claim.trial, claim.tries) == ('{"v": 1}', 7, 1)
    assert here.spent("k")


def test_a_transaction_sees_what_it_has_written(store):
    """An outcome that was told is written down with whatever comes next, and that must not undo it."""
    asked = {
        "renew": lambda claims: claims.renew(),
        "open": lambda claims: claims.open(),
        "counts": lambda claims: 1 - claims.counts()["spent"],
    }
    for key, ask in asked.items():
        claims = Claims(store, f"study {key}")
        claims.claim(key, limit=1)
        claims.measured(key, "{}")
        claims.spent_soon(key)
        assert not ask(claims)
        assert claims.get(key).state == "spent"
        assert claims.claimed([key]) == {key}


class Handing:
    """A lock that lets another thread do something as soon as it is free."""

    def __init__(self, lock, then):
        self.lock, self.then = lock, then

    def __enter__(self):
        self.lock.acquire()

    def __exit__(self, *error):
        self.lock.release()
        then, self.then = self.then, list
        then()


def test_what_was_told_is_written_down_whatever_two_threads_do_at_once(store):
    """The thread of the signs of life writes what the search has told, too: neither may forget the other's."""
    claims = Claims(store, "s")
    for key in ("a", "b"):
        claims.claim(key, limit=2)
        claims.measured(key, "{}")

    def search():
        claims.renew()
        claims.spent_soon("b")

    claims.spent_soon("a")
    claims._mutex = Handing(claims._mutex, search)
    claims.renew()
    assert claims.counts()["spent"] == 2


def test_a_process_of_this_machine_is_known_to_be_alive_or_dead():
    if not module._boot():
        pytest.skip("this system has no /proc")
    assert alive(new_owner()) is True
    assert alive(ELSEWHERE) is None
    code = "from autobuild.studies._claims import new_owner; print(new_owner())"
    owner = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert alive(owner) is False


def test_a_torn_line_is_cut_off_and_another_file_is_refused(tmp_path):
    path = tmp_path / "c.claims"
    Claims(FileStore(path), "s").claim("k", limit=2)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"study": "s", "key"')
    again = Claims(FileStore(path), "s")
    assert again.claim("k", limit=2) == TAKEN
    assert again.claim("m", limit=2) == GRANTED
    assert path.read_bytes().startswith(whole)
    assert Claims(FileStore(path), "s").counts()["held"] == 2
    path.write_text("arch,acc\n")
    with pytest.raises(RunError, match=r"c\.claims is no file of claims.*arch,acc"):
        Claims(FileStore(path), "s").counts()


class Machine(RuleBasedStateMachine):
    """Any order of calls by three workers, against the rules and against each other's view."""

    LIMIT = 3
    keys = st.sampled_from(["a", "b", "c", "d", "e"])
    workers = st.integers(0, 2)

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        # A lease that never ends, and one that has ended when it begins.
        leases = (1e6, 1e6, -1.0)
        self.claims = [Claims(self.store, "s", owner=f"w{i}", lease_s=lease) for i, lease in enumerate(leases)]
        self.spent: Counter[str] = Counter()

    @rule(w=workers, key=keys)
    def claim(self, w, key):
        self.claims[w].claim(key, limit=self.LIMIT)

    @rule(w=workers, key=keys)
    def take_over(self, w, key):
        before = self.claims[w].get(key)
        taken = self.claims[w].take_over(key)
        if taken is not None:
            assert before.expires <= time.time()

    @rule(w=workers, key=keys)
    def measured(self, w, key):
        own = self.claims[w].get(key)
        mine = own is not None and own.owner == f"w{w}" and own.state in ("held", "measured")
        assert self.claims[w].measured(key, "1") == mine

    @rule(w=workers, key=keys)
    def spend(self, w, key):
        self.spent[key] += self.claims[w].spent(key)

    @rule(w=workers, key=keys)
    def release(self, w, key):
        self.claims[w].release(key)

    @rule(w=workers, key=keys)
    def forget(self, w, key):
        self.claims[w].forget(key)

    @rule(w=workers, key=keys)
    def know(self, w, key):
        self.claims[w].enter([(key, key)])

    @invariant()
    def never_too_many_and_never_twice(self):
        counts = self.claims[0].counts()
        assert counts["held"] + counts["measured"] + counts["spent"] <= self.LIMIT
        assert counts["spent"] == len(self.spent - Counter())
        assert all(times <= 1 for times in self.spent.values())


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("kind", ["file", "sqlite"])
def test_processes_that_are_killed_never_spend_a_key_twice_or_too_many(kind, tmp_path):
    where = str(tmp_path / "c.claims") if kind == "file" else f"sqlite:///{tmp_path}/c.db"
    claim_workers.open_store(kind, where)
    limit, logs = 60, [tmp_path / f"log{i}" for i in range(4)]
    workers = [_start(kind, where, i, limit, log) for i, log in enumerate(logs)]
    try:
        _until(lambda: sum(len(_lines(log)) for log in logs) >= 15)
        for worker in workers[:2]:
            worker.send_signal(signal.SIGKILL)
        for worker in workers[2:]:
            assert worker.wait(600) == 0
    finally:
        for worker in workers:
            worker.kill()
    claims = Claims(claim_workers.open_store(kind, where), "study")
    assert claims.counts() == {"held": 0, "measured": 0, "spent": limit, "known": 0}
    told = Counter(line for log in logs for line in _lines(log))
    assert max(told.values()) == 1
    assert limit - 2 <= len(told) <= limit  # a killed worker may have spent one and not logged it


def _start(kind: str, where: str, seed: int, limit: int, log: Path) -> subprocess.Popen:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.studies.claim_workers", kind, where, str(seed), "90", str(limit), str(log)]
    return subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})


def _lines(log: Path) -> list[str]:
    return log.read_text().split() if log.is_file() else []


def _until(done, seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.02)
