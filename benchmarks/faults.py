"""What breaks: processes killed and stopped, disks full, storages gone, files from strangers, odd numbers. One table.

python -m benchmarks.faults [--quick] [--part WORD]

CI runs one round of the same tests with fixed examples; here moments and examples are drawn anew in every round. A
round fails if one of its tests does: a row lost or doubled, another result than undisturbed, a process left behind, an
error that is not ours, more than 2 s or 500 MB for an input. ``--part`` takes the campaigns whose name has the word.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from benchmarks.report import arguments, machine, write

ROOT = Path(__file__).resolve().parents[1]


class Campaign(NamedTuple):
    """Tests, the number of rounds, and on what the promise rests that they try to break."""

    tests: tuple[str, ...]
    rests_on: str
    rounds: int = 5
    slow: bool = False


CAMPAIGNS = {
    "label: killed at random moments": Campaign(("tests/evaluate/test_kills.py",), "whole lines, appended one by one"),
    "fit: killed and resumed": Campaign(
        ("tests/models/test_fit.py", "-k", "killed"), "checkpoints, renamed when whole"
    ),
    "jobs: killed and interrupted": Campaign(("tests/jobs", "-k", "kill"), "steps noted in run.json, files renamed"),
    "search: killed, two of four workers killed": Campaign(
        ("tests/studies/test_search_kills.py", "tests/studies/test_claims.py"), "claims in transactions", slow=True
    ),
    "search: storage away, disk full, worker stopped": Campaign(
        ("tests/studies/test_search_faults.py",), "patience, leases and heartbeats", slow=True
    ),
    "folders: read-only, two jobs, half files": Campaign(("tests/jobs/test_run.py",), "a lock, and files renamed"),
    "files and texts from strangers": Campaign(("tests/hostile",), "bounds before values are built", rounds=1),
    "spaces, labels, ranks and constructions drawn": Campaign(
        ("tests/spaces", "tests/labels", "tests/rank", "tests/construct", "-k", "not published"),
        "properties",
        rounds=20,
    ),
    "odd numbers": Campaign(("tests/models/test_numerics.py",), "rows in one order, targets standardised", rounds=1),
}


def run(campaign: Campaign, seed: int, quick: bool) -> list[str]:
    """Run a round; the names of tests that failed."""
    counts = {"AUTOBUILD_KILL_SEEDS": "2" if quick else "20", "AUTOBUILD_FUZZ": "500" if quick else "100000"}
    environment = {**{name: value for name, value in os.environ.items() if name != "CI"}, **counts}
    words = ["-q", f"--hypothesis-seed={seed}", *([] if campaign.slow else ["-m", "not slow"]), *campaign.tests]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed or ([f"pytest ended with {done.returncode}"] if done.returncode else [])


def main() -> None:
    """Run every campaign several times and count."""
    options = arguments(__doc__ or "")
    rows = []
    for what, campaign in CAMPAIGNS.items():
        if (options.part or "") not in what:
            continue
        rounds = 1 if options.quick else campaign.rounds
        started = time.perf_counter()
        failures = [run(campaign, seed, options.quick) for seed in range(rounds)]
        print("\n".join(line for failed in failures for line in failed))
        seconds = round(time.perf_counter() - started)
        rows.append((what, campaign.rests_on, rounds, sum(map(bool, failures)), seconds))
    table = pd.DataFrame(rows, columns=["what", "rests on", "rounds", "rounds with a failure", "seconds"])
    write("faults", table, quick=options.quick or bool(options.part), note=machine())


if __name__ == "__main__":
    main()
