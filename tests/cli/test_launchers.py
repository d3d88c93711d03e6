"""Sweeps whose jobs a launcher of Hydra runs elsewhere; in each, a worker is really killed."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

SPACE = """
name: toy
units: {a: [1, 2, 3], b: [1, 2]}
features: {width: [1, 2, 3]}
text: "w{width}"
"""
# Evaluates in the job's own process; with seed 2, the process is killed the first time.
MINE = """
import os, pathlib, signal

def evaluate(arch, seed=0):
    with open("calls.txt", "a") as file:
        file.write(f"{seed}\\n")
    if seed == 2 and not os.path.exists("once"):
        pathlib.Path("once").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"acc": len(str(arch)) + seed}
"""
LINE = "space=toy.yaml n=1 evaluator=python:mine:evaluate seeds=[1],[2] executor=inline out=sweep"
JOBS = ["1", "2"]


@pytest.fixture
def ready(shell, work: Path):
    (work / "toy.yaml").write_text(SPACE)
    (work / "mine.py").write_text(MINE)
    return shell


def plugin(module: str, install: str) -> str:
    """Where a plugin of Hydra is installed; skips where it is not."""
    if importlib.util.find_spec("hydra_plugins") is None or importlib.util.find_spec(f"hydra_plugins.{module}") is None:
        pytest.skip(f"the plugin {module} is not installed: {install}")
    return str(Path(importlib.util.find_spec(f"hydra_plugins.{module}").origin).parents[2])


def finished(work: Path) -> list[str]:
    """The seeds of the jobs that have their labels."""
    runs = [path.with_name("run.json") for path in (work / "sweep").glob("*/labels.csv")]
    return sorted(str(json.loads(json.loads(run.read_text())["config"]["seeds"])[0]) for run in runs)


def calls(work: Path) -> list[str]:
    return sorted((work / "calls.txt").read_text().split())


@pytest.mark.slow  # on a busy machine; four or more starts of the command line
@pytest.mark.parametrize(
    ("launcher", "module", "extra"),
    [
        ("joblib hydra.launcher.n_jobs=2", "hydra_joblib_launcher", "joblib"),
        ("submitit_local", "hydra_submitit_launcher", "slurm"),
    ],
)
def test_a_killed_worker_ends_the_sweep_and_the_same_command_goes_on(ready, work, launcher, module, extra) -> None:
    plugin(module, f"pip install 'autobuild-nas[{extra}]'")
    line = f"autobuild label -m hydra/launcher={launcher} {LINE}"
    done = ready(line)
    assert done.returncode == 2, done.stderr
    assert "error: a process of the sweep was lost (" in done.stderr
    assert "the same command goes on" in done.stderr
    assert "Traceback" not in done.stderr
    assert "2" not in finished(work)
    done = ready(line)
    assert done.returncode == 0, done.stderr
    assert finished(work) == JOBS
    assert calls(work) == ["1", "2", "2"]  # nothing but what was killed is evaluated twice


@pytest.mark.slow
def test_ray_runs_a_killed_job_again_by_itself(ready, work) -> None:
    folder = plugin("hydra_ray_launcher", "pip install --no-deps hydra-ray-launcher (beside the extra ray)")
    how = "hydra/launcher=ray +hydra.launcher.ray.init.num_cpus=2 +hydra.launcher.ray.init.include_dashboard=false"
    done = ready(f"PYTHONPATH={folder}:$PYTHONPATH autobuild label -m {how} {LINE}")
    assert done.returncode == 0, done.stderr
    assert finished(work) == JOBS
    assert calls(work) == ["1", "2", "2"]


def test_an_error_of_a_job_comes_home(ready, work) -> None:
    plugin("hydra_joblib_launcher", "pip install 'autobuild-nas[joblib]'")
    (work / "once").touch()  # nobody is killed
    done = ready(f"autobuild label -m hydra/launcher=joblib {LINE} archs=nowhere.csv,null")
    assert done.returncode == 2
    assert "nowhere.csv" in done.stderr
    assert "Traceback" not in done.stderr
    assert "error: 2 of 4 jobs failed:" in done.stderr
    assert finished(work) == JOBS


def test_a_launcher_that_is_not_installed_is_named(ready, work, tmp_path) -> None:
    """A folder stands in front of the installed plugins, in which there are none."""
    (tmp_path / "empty" / "hydra_plugins").mkdir(parents=True)
    (tmp_path / "empty" / "hydra_plugins" / "__init__.py").write_text("")
    for name, wanted in {
        "joblib": "pip install 'autobuild-nas[joblib]'",
        "submitit_slurm": "pip install 'autobuild-nas[slurm]'",
        "ray": "pip install --no-deps hydra-ray-launcher",
    }.items():
        done = ready(f"PYTHONPATH={tmp_path / 'empty'}:$PYTHONPATH autobuild label -m hydra/launcher={name} {LINE}")
        assert done.returncode == 2, done.stderr
        assert f"hydra/launcher={name} needs a plugin of Hydra: " in done.stderr
        assert wanted in done.stderr
    done = ready(f"autobuild label -m hydra/launcher=jobless {LINE}")
    assert done.returncode == 2
    assert "hydra/launcher=jobless: unknown choice" in done.stderr


@pytest.mark.skipif(shutil.which("sbatch") is None, reason="no Slurm runs on this machine")
def test_jobs_of_a_real_slurm(ready, work) -> None:
    plugin("hydra_submitit_launcher", "pip install 'autobuild-nas[slurm]'")
    (work / "once").touch()  # nobody is killed: without accounting, submitit does not see it
    done = ready(f"autobuild label -m hydra/launcher=submitit_slurm hydra.launcher.timeout_min=5 {LINE}")
    assert done.returncode == 0, done.stderr
    assert finished(work) == JOBS
