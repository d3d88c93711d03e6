"""What breaks: processes killed and stopped, disks full, storages gone, files from strangers, odd numbers. One table.

python -m benchmarks.faults [--quick] [--part WORD] [--kills N] [--inputs N] [--seconds N] [--rounds N]

Every job is killed by SIGKILL ``--kills`` times, at moments drawn over the time it takes, started again, and compared
with an undisturbed run. Every reader of files gets ``--inputs`` changed ones: only errors of ours, in 2 s and 500 MB an
input; then, where ``atheris`` is installed, ``--seconds`` of files that reach new code. Tests of the other promises run
``--rounds`` times with new examples, moments and orders. ``--part`` takes the lines whose name has the word; the other
lines of the written table stay.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from benchmarks.report import RESULTS, arguments, machine, write

ROOT = Path(__file__).resolve().parents[1]


class Tests(NamedTuple):
    """Tests that try to break a promise, and what it rests on."""

    words: tuple[str, ...]
    rests_on: str
    slow: bool = False


FUZZED = "readers: files changed at random"
COVERED = "readers: files that reach new code"
TESTS = {
    "label: latency phase, interrupts": Tests(("tests/evaluate/test_kills.py",), "rows filled once"),
    "search: killed, two of four workers killed": Tests(
        ("tests/studies/test_search_kills.py", "tests/studies/test_claims.py"), "claims in transactions", slow=True
    ),
    "search: storage away, disk full, worker stopped": Tests(
        ("tests/studies/test_search_faults.py",), "patience, leases and heartbeats", slow=True
    ),
    "folders: read-only, disk full, two jobs, half files": Tests(
        ("tests/jobs/test_run.py",), "a lock, and files renamed"
    ),
    FUZZED: Tests(("tests/hostile", "-k", "changed_files"), "bounds before values are built"),
    COVERED: Tests((), "bounds before values are built"),
    "readers: bombs, and files that would run code": Tests(
        ("tests/hostile", "-k", "not changed_files"), "bounds before values are built; nothing unpickled or evaluated"
    ),
    "spaces, labels and ranks drawn": Tests(
        ("tests/spaces", "tests/labels", "tests/rank", "-k", "not published"), "properties"
    ),
    "odd numbers": Tests(("tests/models/test_numerics.py",), "rows in one order, targets standardised"),
}  # fmt: skip


def killed(name: str, kills: int) -> tuple[str, int]:
    """Kill one job, in a process of its own; what was done in words, and how many runs ended otherwise."""
    from benchmarks.kills import campaign

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        counts = campaign(name, kills, seed=0, place=Path(place) / "runs")
    print("\n".join(counts.failures))
    return f"{counts.kills} kills in {counts.runs} runs", len(counts.failures)


def tested(name: str, rounds: int, inputs: int) -> tuple[str, int]:
    """Run tests with new examples; what was done in words, and how many tests failed."""
    tests, fuzzes = TESTS[name], name == FUZZED
    environment = {key: value for key, value in os.environ.items() if key != "CI"} | {"AUTOBUILD_FUZZ": str(inputs)}
    ran = failed = 0
    for seed in range(1 if fuzzes else rounds):
        words = ["-q", f"--hypothesis-seed={seed}", *([] if tests.slow else ["-m", "not slow"]), *tests.words]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout.splitlines()[-1])}
        ran += sum(counts.values())
        failed += counts.get("failed", 0) + counts.get("error", 0)
        print("\n".join(line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR", "E  "))))
        if not counts:
            raise SystemExit(done.stdout + done.stderr)
    return f"{ran} readers, {inputs:,} files each" if fuzzes else f"{ran} tests in {rounds} rounds", failed


def covered(seconds: int) -> tuple[str, int]:
    """Fuzz every reader by the coverage of its code; what was done in words, and how many readers failed."""
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(
            [sys.executable, "-m", "tests.hostile.covered", str(seconds)],
            cwd=place, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    found = [int(number) for number in re.findall(r"number_of_executed_units: (\d+)", done.stderr)]
    if not found:
        raise SystemExit(done.stderr)
    print(done.stdout, done.stderr if done.returncode else "")
    return f"{len(found)} readers, {seconds} s each: {sum(found):,} files", done.returncode


def main() -> None:
    """Try to break every promise and count."""
    options = arguments(__doc__ or "", kills=20, inputs=1000, seconds=120, rounds=2)
    kills, inputs, rounds = (2, 20, 1) if options.quick else (options.kills, options.inputs, options.rounds)
    seconds = 2 if options.quick else options.seconds
    from benchmarks.kills import JOBS

    lines = {f"{name}: killed": job.rests_on for name, job in JOBS.items()}
    lines |= {name: tests.rests_on for name, tests in TESTS.items()}
    path = RESULTS / "faults.csv"
    rows = {row[0]: row for row in pd.read_csv(path).itertuples(index=False, name=None)} if path.exists() else {}
    for what, rests_on in lines.items():
        if (options.part or "") not in what or (what == COVERED and not importlib.util.find_spec("atheris")):
            continue
        started = time.perf_counter()
        job = what.removesuffix(": killed")
        if what == COVERED:
            tried, failed = covered(seconds)
        else:
            tried, failed = killed(job, kills) if job in JOBS else tested(what, rounds, inputs)
        rows[what] = (what, rests_on, tried, failed, round(time.perf_counter() - started))
        table = pd.DataFrame([rows[name] for name in lines if name in rows],
                             columns=["what", "rests on", "tried", "failed", "seconds"])  # fmt: skip
        write("faults", table, quick=options.quick, note=machine())


if __name__ == "__main__":
    main()
