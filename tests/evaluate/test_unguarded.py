"""Scripts without a guard: each process that they start runs them again. Real scripts, in real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import autobuild as ab

SCRIPT = """
import autobuild as ab
from autobuild.evaluate import evaluate_many
from autobuild.evaluate.executors import make_executor

with open("runs.txt", "a") as file:
    file.write("run\\n")


def evaluate(arch):
    with open("calls.txt", "a") as file:
        file.write(f"{{arch}}\\n")
    return {{"acc": float(sum(map(int, str(arch))))}}


def measure(space, arch, seed):
    return evaluate(arch)


{head}
    space = ab.space("nas_bench_macro")
    print({call})
"""
SEARCH = 'len(ab.search(space, evaluate, n_trials=4, n_jobs=2, sampler="random", model=None, storage="sqlite:///s.db").evaluated)'
MANY = "len(evaluate_many(space, measure, space.sample(3, 0), n_jobs=2))"
MIXED = (
    'ab.search(space, evaluate, n_trials=2, sampler="random", model=None, name="own", storage="sqlite:///s.db"), '
    + MANY
)
FREE, GUARDED = "if True:", 'if __name__ == "__main__":'


def run(folder: Path, call: str, head: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(SCRIPT.format(head=head, call=call))
    surroundings = {**os.environ, "PYTHONPATH": str(Path(ab.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "script.py"], cwd=folder, env=surroundings, capture_output=True, text=True, timeout=240
    )


def lines(folder: Path, name: str) -> list[str]:
    return (folder / name).read_text().split() if (folder / name).exists() else []


@pytest.mark.parametrize(("call", "found"), [(SEARCH, 4), (MANY, 3)], ids=["search", "evaluate_many"])
def test_a_script_without_a_guard_ends_at_once_with_one_error_that_names_it(tmp_path, call, found):
    done = run(tmp_path, call, FREE)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == done.stderr.count("Error:") == 1
    assert done.stderr.strip().splitlines()[-1].startswith("autobuild.errors.ConfigError: the script that was run has")
    assert 'if __name__ == "__main__":' in done.stderr
    assert not lines(tmp_path, "calls.txt")
    assert len(lines(tmp_path, "runs.txt")) <= 3  # none of its processes was started again
    guarded = run(tmp_path, call, GUARDED)  # and the search goes on where it was
    assert guarded.stdout.split() == [str(found)], guarded.stderr
    calls = lines(tmp_path, "calls.txt")
    assert len(calls) == len(set(calls)) == found


def test_what_the_script_would_evaluate_before_is_not_evaluated_again(tmp_path):
    done = run(tmp_path, MIXED, FREE)
    assert done.returncode == 1
    assert "no guard" in done.stderr
    assert len(lines(tmp_path, "calls.txt")) == 2  # by the script itself


def test_processes_of_others_are_told_too(tmp_path):
    call = (
        'make_executor("local", space, measure), '
        '__import__("multiprocessing").get_context("spawn").Process(target=print).start()'
    )
    done = run(tmp_path, call, FREE)
    assert "ConfigError: a process that is still importing the main script starts processes" in done.stderr
    assert 'if __name__ == "__main__":' in done.stderr


COMMAND = """
import sys

from autobuild.cli import main

{head}
    sys.exit(main([
        "search", "space=nas_bench_macro", "evaluator=python:measured:measure", "executor=local",
        "n_jobs=2", "model=none", "sampler=random", "target=acc", "n_trials=3", "out=found", "plots=false",
    ]))
"""


def test_a_command_inside_a_script_too(tmp_path):
    (tmp_path / "measured.py").write_text("def measure(arch):\n    return {'acc': float(len(str(arch)))}\n")
    surroundings = {**os.environ, "PYTHONPATH": str(Path(ab.__file__).parents[1])}
    done = {}
    for head in (FREE, GUARDED):
        (tmp_path / "script.py").write_text(COMMAND.format(head=head))
        done[head] = subprocess.run(
            [sys.executable, "script.py"], cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=240
        )
    assert done[FREE].returncode == 2
    assert [line for line in done[FREE].stderr.splitlines() if "rror" in line] == [done[FREE].stderr.splitlines()[-1]]
    assert done[FREE].stderr.splitlines()[-1].startswith("error: the script that was run has no guard")
    assert done[GUARDED].returncode == 0, done[GUARDED].stderr
    assert "3 networks were evaluated" in done[GUARDED].stdout
