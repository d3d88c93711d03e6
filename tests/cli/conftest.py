from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import autobuild

Shell = Callable[[str], subprocess.CompletedProcess]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Runs a line in /bin/sh, in an empty folder, with ``autobuild`` on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "autobuild"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m autobuild.cli "$@"\n')
    script.chmod(0o755)
    (tmp_path / "work").mkdir()
    env = {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(autobuild.__file__).parents[1]),
    }
    env.pop("HYDRA_FULL_ERROR", None)

    def run(line: str) -> subprocess.CompletedProcess:
        return subprocess.run(line, shell=True, cwd=tmp_path / "work", env=env, capture_output=True, text=True)

    return run


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The folder in which ``shell`` runs its lines."""
    return tmp_path / "work"
