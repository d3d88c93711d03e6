"""Jobs killed by SIGKILL at random moments and started again: the results have to be those of an undisturbed run.

Each command is a process forked from this one, which has imported everything already: the kills fall into the work and
not into imports. Only the process of the command is killed; those that it started have to end by themselves.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import autobuild as ab

SPACE = """
name: toy
units: {a: [1, 2, 3], b: [1, 2], c: [1, 2]}
features: {width: [1, 2, 3], kernel: [3, 5]}
text: "w{width}k{kernel}"
"""
PATIENCE_S = 120.0


def law(arch: str) -> float:
    """What a network is worth."""
    return sum(place * int(digit) for place, digit in enumerate(arch, start=1) if digit.isdigit()) / 100


def acc(arch: ab.Architecture) -> dict[str, float]:
    """An evaluator that takes a blink, and leaves a line a call."""
    with open("calls.txt", "a") as file:
        file.write(f"{arch}\n")
    time.sleep(0.02)
    return {"acc": law(str(arch))}


class Job(NamedTuple):
    """A command line; ``ADDRESS`` in it is that of a file on a server on this machine.

    Attributes:
        words: What follows ``autobuild``.
        rests_on: What keeps its promise.
        unordered: Whether lines of tables come in the order in which processes end.
        calls: How many evaluations one kill may cause to be done again; None for jobs that evaluate nothing.
        drawn: Whether other networks may be drawn after a kill: as many, all distinct, with their true labels.
    """

    words: tuple[str, ...]
    rests_on: str
    unordered: bool = False
    calls: int | None = None
    drawn: bool = False


LABELLED = ("space=toy.yaml", "labels=labels.csv")
EVALUATED = ("space=toy.yaml", "evaluator=python:benchmarks.kills:acc")
STEPS = "steps noted when done, files renamed when whole"
JOBS = {
    "label": Job(("label", *EVALUATED, "n=40", "n_jobs=2"), "whole lines, appended one by one", True, 2),
    "fit": Job(("fit", *LABELLED, "model=graph", "fit.epochs=60", "plots=false"), "checkpoints, renamed when whole"),
    "build": Job(("build", *LABELLED, "model=gp", "build.pareto=-ms", "plots=false"), STEPS),
    "search": Job(
        ("search", *EVALUATED, "n_trials=30", "sampler=random", "n_jobs=1"), "claims in transactions", True, 1, True
    ),
    "rounds": Job(
        ("rounds", *LABELLED, "n=20", *EVALUATED[1:], "model=gp", "rounds=2", "per_round=6", "build.top=5", "n_jobs=2"),
        "what was asked and what came out, kept line by line", True, 2,
    ),
    "fuse": Job(("fuse", "model=space:e3k3s0-e3k3s0|e3k3s0|e3k3s0", "sweep=true", "plots=false"), STEPS),
    "quantise": Job(("quantise", "model=digits_dit", "config=kmc3"), STEPS),
    "import": Job(("import", "path=served/macro.json", "out=out.csv"), "one file, renamed when whole"),
    "fetch": Job(("fetch", "name=nas_bench_macro", "url=ADDRESS", "sha256=any"), "a second file, checked and renamed"),
    "sweep": Job(("cost", "-m", "space=tiny_mbconv", "n=5,10,15", "seed=0,1"), "a folder a job, named by its settings"),
}  # fmt: skip
# Files that differ between undisturbed runs: they hold times and places.
VARIES = ("run.json", "multirun.yaml", "config.yaml", "report.html", "calls.txt", "log.txt", "modules.txt")


def prepare(folder: Path) -> None:
    """Write the inputs of all jobs."""
    folder.mkdir(parents=True)
    (folder / "toy.yaml").write_text(SPACE)
    space = ab.space(folder / "toy.yaml")
    rows = [f"{arch},{sum(map(int, filter(str.isdigit, str(arch)))) / 100},{len(str(arch))}"
            for arch in ab.sample_design(space, 90, "depth", 0)]  # fmt: skip
    (folder / "labels.csv").write_text("\n".join(["arch,acc,ms", *rows, ""]))
    macro = ab.space("nas_bench_macro").sample(2000, seed=0)
    (folder / "served").mkdir()
    table = {str(arch): {"mean_acc": 80 + n / 1000} for n, arch in enumerate(dict.fromkeys(macro))}
    (folder / "served" / "macro.json").write_text(json.dumps(table))


class Slow(SimpleHTTPRequestHandler):
    """Serves a file in pieces."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send it over half a second."""
        with contextlib.suppress(ConnectionError):
            while piece := source.read(4096):
                outputfile.write(piece)
                time.sleep(0.02)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of the files in ``folder``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Slow, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def command(words: tuple[str, ...], folder: Path) -> int:
    """Start a command in ``folder``; its process, which leads a group of its own."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        from autobuild.cli import main

        code = main(words)
        Path("modules.txt").write_text("\n".join(sys.modules))
    finally:
        os._exit(code)


def ended(group: int) -> bool:
    """Whether no process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def run(words: tuple[str, ...], folder: Path, moment: float | None = None) -> bool:
    """Run a command, or kill it after ``moment`` seconds; whether it was killed.

    Raises:
        AssertionError: It failed, or a process of it is left 20 s after its end.
    """
    pid = command(words, folder)
    if moment is not None:
        time.sleep(moment)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    end = time.monotonic() + 20
    while not ended(pid):
        if time.monotonic() > end:
            os.killpg(pid, signal.SIGKILL)
            raise AssertionError("a process is left behind")
        time.sleep(0.01)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0, (folder / "log.txt").read_text()[-2000:]
    return False


def results(folder: Path, job: Job) -> dict[str, object]:
    """What a command has written, without what differs between undisturbed runs."""
    if job.drawn:
        with (folder / "out" / "trials.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        right = [law(row["arch"]) == float(row["acc"]) for row in rows if row["state"] == "COMPLETE"]
        return {"trials": len(right), "distinct": len({row["arch"] for row in rows}), "true": all(right)}
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or path.name.startswith(("_lock", "search.db")) or path.name in VARIES:
            continue
        found[name] = path.read_bytes()
        if path.suffix == ".json":
            found[name] = _steady(json.loads(path.read_text()))
        elif path.suffix == ".csv":
            rows = list(csv.reader(path.read_text().splitlines()))
            steady = [n for n, title in enumerate(rows[0]) if "seconds" not in title]  # times differ
            lines = [",".join(row[n] for n in steady) for row in rows]
            found[name] = sorted(lines) if job.unordered else lines
    return found


def differing(first: dict[str, object], second: dict[str, object]) -> list[str]:
    """The names of files that are not the same in both."""
    return [name for name in sorted({*first, *second}) if first.get(name) != second.get(name)]


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(item) for key, item in value.items() if "seconds" not in key and key != "sha256"}
    return [_steady(item) for item in value] if isinstance(value, list) else value


def whole(folder: Path) -> None:
    """Check that no file is half: what has its own name is complete, whatever the moment.

    Raises:
        AssertionError: One is not.
    """
    for path in folder.rglob("[!_.]*"):
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".csv" and path.name != "trained.csv":
            assert path.read_bytes().endswith(b"\n"), f"{path} is half"


class Counts(NamedTuple):
    """Of a campaign: kills that met a running process, commands started again, and what went wrong, in words."""

    kills: int
    runs: int
    failures: list[str]


def campaign(name: str, kills: int, seed: int, place: Path) -> Counts:
    """Kill a job ``kills`` times, at moments drawn over the time of an undisturbed run, up to twice in a row."""
    rng, job = np.random.default_rng(seed), JOBS[name]
    done = runs = 0
    failures = []
    prepare(inputs := place / "inputs")
    with served(inputs / "served") as address:
        words = tuple(word.replace("ADDRESS", f"{address}/macro.json") for word in job.words)
        words = words if any(word.startswith("out=") for word in words) else (*words, "out=out")
        for folder in (place / "first", place / "whole"):
            shutil.copytree(inputs, folder)
            began = time.perf_counter()
            run(words, folder)
            took = time.perf_counter() - began
            for module in (folder / "modules.txt").read_text().split():
                with contextlib.suppress(Exception):  # so that the next process has it already
                    importlib.import_module(module)
            if training := sys.modules.get("autobuild.models.training"):
                training.CHECKPOINT_SECONDS = 0.2  # that short runs leave checkpoints, too
        wanted, calls = results(place / "whole", job), len(_calls(place / "whole"))
        if differ := differing(results(place / "first", job), wanted):
            return Counts(0, 2, [f"{name} is not the same twice: {differ}"])
        while done < kills:
            shutil.copytree(inputs, folder := place / f"run{runs}")
            runs += 1
            before = done
            try:
                for _ in range(rng.integers(1, 3)):
                    if not run(words, folder, rng.uniform(0, took)):
                        break
                    done += 1
                    whole(folder)
                run(words, folder)
                differ = differing(results(folder, job), wanted)
                assert not differ, f"differs: {differ}"
                again = len(_calls(folder)) - calls
                assert again <= (job.calls or 0) * (done - before), f"{again} evaluations were done again"
            except AssertionError as error:
                failures.append(f"{name}, {folder}: {error}")
            else:
                shutil.rmtree(folder)
    return Counts(done, runs, failures)


def _calls(folder: Path) -> list[str]:
    path = folder / "calls.txt"
    return path.read_text().splitlines() if path.exists() else []
