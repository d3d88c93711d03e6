"""What the README tells people to type is read by a shell; test_docs.py gives it to this command line."""

import re
import subprocess
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines() if line]


@pytest.mark.parametrize("line", LINES)
def test_a_shell_reads_the_line(line: str) -> None:
    done = subprocess.run(["bash", "-n", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_there_are_lines_to_check() -> None:
    assert sum(line.startswith("autobuild") for line in LINES) >= 2
    assert any(line.endswith("&& autobuild") for line in LINES)


def test_tables_are_those_of_the_benchmarks() -> None:
    from benchmarks.readme import filled

    assert filled(README) == README
