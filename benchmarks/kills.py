"""A campaign of real kills: SIGKILL and Ctrl-C at random moments of labelling, fitting and whole jobs.

python -m benchmarks.kills [--quick]

CI runs one round of the same tests; here the moments are drawn anew in every round. No finished row may be lost or
repeated, a resumed fit must end with the same bytes, no child process may survive.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from benchmarks.report import arguments, machine, write

ROOT = Path(__file__).resolve().parents[1]
CAMPAIGNS = {
    "labelling, killed at random moments": ["tests/evaluate/test_kills.py"],
    "a fit, killed and resumed": ["tests/models/test_fit.py", "-k", "killed"],
    "jobs and run folders, killed and interrupted": ["tests/jobs", "-k", "kill"],
}


def main() -> None:
    """Run every campaign several times and count."""
    options = arguments(__doc__ or "")
    rounds = 1 if options.quick else 5
    seeds = "2" if options.quick else "8"
    rows = []
    for what, tests in CAMPAIGNS.items():
        started, failed = time.perf_counter(), 0
        for _ in range(rounds):
            command = [sys.executable, "-m", "pytest", "-q", *tests]
            done = subprocess.run(
                command, cwd=ROOT, env={**os.environ, "AUTOBUILD_KILL_SEEDS": seeds}, capture_output=True, check=False
            )
            failed += done.returncode != 0
        rows.append((what, rounds, failed, round(time.perf_counter() - started)))
    table = pd.DataFrame(rows, columns=["what", "rounds", "rounds with a failure", "seconds"])
    write("kills", table, quick=options.quick, note=machine())


if __name__ == "__main__":
    main()
