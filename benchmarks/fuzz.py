"""A long run of the property tests, each round with examples of its own.

python -m benchmarks.fuzz [--quick]

CI repeats one fixed set of examples; here every round draws new ones (hypothesis seeds), over target expressions,
declared spaces, soft ranks, constructions, hostile pickles and label files.
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
ROOMS = ("tests/spaces", "tests/labels", "tests/rank", "tests/construct")


def property_tests(room: str) -> list[str]:
    """Test files of a room that draw examples."""
    return sorted(str(path) for path in (ROOT / room).glob("test_*.py") if "hypothesis" in path.read_text())


def main() -> None:
    """Run the property tests of every room with several seeds."""
    options = arguments(__doc__ or "")
    rounds = 1 if options.quick else 20
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    rows = []
    for room in ROOMS:
        started, failures = time.perf_counter(), []
        for seed in range(rounds):
            command = [sys.executable, "-m", "pytest", "-q", f"--hypothesis-seed={seed}", *property_tests(room)]
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            failures += [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
        rows.append((room, rounds, len(failures), round(time.perf_counter() - started)))
        print("\n".join(failures))
    table = pd.DataFrame(rows, columns=["room", "rounds", "failures", "seconds"])
    write("fuzz", table, quick=options.quick, note=machine())


if __name__ == "__main__":
    main()
