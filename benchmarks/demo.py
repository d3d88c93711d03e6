"""Run ``autobuild`` without a job; keep what it prints (``demo.txt``) and its report (``docs/sample_report.html``).

python -m benchmarks.demo [FOLDER]

FOLDER is that of a finished run to show; without one the demo is run, on an idle machine in about 90 seconds.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.documents import DOCS
from benchmarks.report import RESULTS


def main(folder: Path) -> None:
    """Show the run in a folder, which is made if it is missing."""
    command = [sys.executable, "-m", "autobuild.cli", f"out={folder}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8")
    shown = done.stdout[done.stdout.index("Summary") :].partition("\nResults in")[0].replace(str(folder), "demo")
    (RESULTS / "demo.txt").write_text(f"$ autobuild\n{shown.strip()}\n", encoding="utf-8")
    page = (folder / "report.html").read_text(encoding="utf-8").replace(str(folder), "demo")
    (DOCS / "sample_report.html").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(made) / "demo")
