"""Real kills of a labelling process: no finished row is lost, none is repeated, no child survives."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from quick_evaluators import truth

import autobuild as ab

SCRIPT = Path(__file__).with_name("quick_evaluators.py")
ROOT = Path(__file__).resolve().parents[2]


def start(out, trace, n, kind="plain"):
    trace.mkdir(exist_ok=True)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(out), str(trace), str(n), kind],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )


def whole_lines(out):
    return out.read_bytes().split(b"\n")[:-1] if out.exists() else []


def wait_for(condition, seconds=300.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def read(out):
    with out.open(newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.parametrize("seed", range(int(os.environ.get("AUTOBUILD_KILL_SEEDS", "1"))))
def test_sigkill_at_random_moments(tmp_path, seed):
    rng = np.random.default_rng(seed)
    out, trace, n = tmp_path / "l.csv", tmp_path / "trace", 60
    seen, kills = [], 0
    while True:
        process = start(out, trace, n)
        already = len(seen)
        if kills < 5:
            # The moment counts from the first new row on, so that kills fall into the work and not into the start.
            wait_for(lambda p=process, a=already: len(whole_lines(out)) > a or p.poll() is not None)
            time.sleep(rng.uniform(0, 0.25))
            process.kill()
        code = process.wait(timeout=60)
        process.stderr.close()
        now = whole_lines(out)
        assert now[: len(seen)] == seen  # what was finished is still there, byte for byte
        seen = now
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
    assert kills >= 3
    wanted = {(str(a), s) for a in ab.space("tiny_mbconv").sample(n, seed=5) for s in (0, 1)}
    rows = read(out)
    assert len(rows) == len(wanted)
    assert {(r["arch"], int(r["seed"])) for r in rows} == wanted
    assert all(float(r["acc"]) == truth(r["arch"], int(r["seed"])) for r in rows)
    wait_for(lambda: all(gone(int(file.name)) for file in trace.iterdir()), 10)
    # Work done twice is only what was in flight when a kill came: at most one task a worker.
    calls = sum(len(file.read_text().splitlines()) for file in trace.iterdir())
    assert calls <= len(wanted) + 2 * kills


def test_sigkill_in_the_latency_phase(tmp_path):
    out, trace, n = tmp_path / "l.csv", tmp_path / "trace", 12

    def filled():
        return {r["arch"]: r["latency_ms"] for r in read(out) if r["latency_ms"]} if out.exists() else {}

    process = start(out, trace, n, "network")
    wait_for(lambda: len(filled()) >= 4 or process.poll() is not None, 60)
    process.kill()
    process.wait(timeout=30)
    process.stderr.close()
    before = filled()
    rows = {(r["arch"], r["seed"]): r["acc"] for r in read(out)}
    assert 4 <= len(before) < n
    assert len(rows) == 2 * n

    process = start(out, trace, n, "network")
    assert process.wait(timeout=60) == 0, process.stderr.read()
    process.stderr.close()
    assert {(r["arch"], r["seed"]): r["acc"] for r in read(out)} == rows
    after = filled()
    assert len(after) == n
    assert before.items() <= after.items()  # measured once, kept


def test_interrupt_leaves_a_usable_file_and_no_children(tmp_path):
    out, trace, n = tmp_path / "l.csv", tmp_path / "trace", 200
    process = start(out, trace, n)
    wait_for(lambda: len(whole_lines(out)) > 3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in errors
    assert all(gone(int(file.name)) for file in trace.iterdir())
    content = out.read_bytes()
    assert content.endswith(b"\n")
    rows = read(out)
    assert 2 < len(rows) < 2 * n
    assert len({(r["arch"], r["seed"]) for r in rows}) == len(rows)
    assert all(float(r["acc"]) == truth(r["arch"], int(r["seed"])) for r in rows)


STARTING = """
import sys
import time
from pathlib import Path

if __name__ != "__main__":  # a process of the executor imports the script, which takes its time
    Path(sys.argv[1]).touch()
    time.sleep(2)

import autobuild as ab
from autobuild.evaluate import as_evaluator
from autobuild.evaluate.executors import make_executor


def evaluate(arch):
    return 1.0


if __name__ == "__main__":
    space = ab.space("tiny_mbconv")
    with make_executor("local", space, as_evaluator(evaluate, space), n_jobs=1) as executor:
        executor.submit(0, str(space.sample(1, seed=0)[0]), 0)
        try:
            executor.wait(60)
        finally:
            time.sleep(1)  # the process outlives the interrupt for a while
"""


def test_an_interrupt_while_processes_start_is_the_parents_alone(tmp_path):
    """A terminal sends Ctrl-C to all of them; what reads the output sees one interrupt, not one for each process."""
    script, begun = tmp_path / "starting.py", tmp_path / "begun"
    script.write_text(STARTING)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, str(script), str(begun)],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell that starts the tests in the background has SIGINT ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(begun.exists, 60)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert errors.count("Traceback") == 1
    assert process.returncode == -signal.SIGINT
