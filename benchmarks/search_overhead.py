"""What the toolkit adds to a trial of bare Optuna, and what four workers of one study are worth.

Overhead: a study of OFA-MobileNetV3 at layer grain is filled with finished trials; then trials are asked for,
suggested, evaluated (at once) and told. Bare: Optuna's own sampler in a loop of three lines. Toolkit: ``ab.search``
with the sampler of that name, with its claims, attributes and distinct networks. Both on storages that the toolkit has
opened.

Workers: one and then four processes run ``ab.search`` on a PostgreSQL server of their own; an evaluation sleeps 0.5 s.
"""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray

import autobuild as ab
from autobuild.spaces import Architecture
from autobuild.studies.storage import open_storage

TRIALS = (1_000, 10_000)
MEASURED = 15  # trials of each kind; the first, which reads the whole study, is left out
SAMPLERS = ("random", "tpe", "nsga2")
SPACE, NAME = "ofa_mbv3", "s"
FILLED = Path("runs") / "search_filled"  # databases with trials: filling one takes minutes, once
WORKERS = (1, 4)
PER_WORKER = 30  # evaluations
SLEEP_S = 0.5
OPTIONS = {"revision": 2}
NOTE = (
    "One trial of OFA-MobileNetV3 with layer-wise parameters on SQLite, as this toolkit opens it: milliseconds on the "
    "clock and of the process's CPU, medians of 14 trials, then the median over repetitions."
)


def value(arch: Architecture) -> float:
    """An evaluation that takes no time."""
    return float(len(arch.text)) + arch.text.count("6")


def instant(arch: Architecture) -> dict[str, float]:
    """An evaluator of it, which the experiment ``search_overhead`` names."""
    return {"acc": value(arch)}


def bare_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Optuna's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "tpe":
            return optuna.samplers.TPESampler(multivariate=True, group=True, seed=seed)
        if name == "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed)
        return optuna.samplers.RandomSampler(seed=seed)


def filled(kind: str, trials: int) -> Path:
    """A database with so many finished trials, made once: by Optuna alone, or by ``ab.search`` from labels."""
    FILLED.mkdir(parents=True, exist_ok=True)
    path = FILLED / f"{kind}_{trials}.db"
    if path.exists():
        return path
    space = ab.space(SPACE)
    archs = list(dict.fromkeys(space.sample(trials + 50, 0, "depth")))[:trials]
    passing = path.with_suffix(".passing")
    passing.unlink(missing_ok=True)
    if kind == "bare":
        study = optuna.create_study(study_name=NAME, storage=_storage(passing), direction="maximize")
        for arch in archs:
            choices = {n: optuna.distributions.CategoricalDistribution(c) for n, c in space.choices(arch).items()}
            study.add_trial(optuna.create_trial(params=space.params(arch), distributions=choices, values=[value(arch)]))
    else:
        frame = pd.DataFrame({"arch": [arch.text for arch in archs], "acc": [value(arch) for arch in archs]})
        _search(passing, 1, "random", 0, ab.LabelledSet.from_frame(frame, space))
    _copied(passing, path)
    passing.unlink()
    return path


def _copied(source: Path, target: Path) -> None:
    """Copy a database as a whole, what still lies in its log included."""
    with (
        contextlib.closing(sqlite3.connect(source)) as own,
        contextlib.closing(sqlite3.connect(target.with_suffix(".copy"))) as copy,
    ):
        own.backup(copy)
    target.with_suffix(".copy").rename(target)


def _storage(path: Path) -> optuna.storages.BaseStorage:
    return open_storage(f"sqlite:///{path}").optuna


def bare(path: Path, name: str, seed: int) -> NDArray[np.float64]:
    """Milliseconds of bare trials, on the clock and of the CPU. Shape ``(n, 2)``."""
    space = ab.space(SPACE)
    study = optuna.load_study(study_name=NAME, storage=_storage(path), sampler=bare_sampler(name, seed))
    times = [_now()]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Heartbeat of storage")
        for _ in range(MEASURED):
            trial = study.ask()
            study.tell(trial, value(space.suggest(trial)))
            times.append(_now())
    return np.diff(times, axis=0)[1:] * 1e3


def toolkit(path: Path, name: str, seed: int) -> NDArray[np.float64]:
    """The same of ``ab.search``, which goes on with a search of one evaluation."""
    return np.diff(_search(path, 1 + MEASURED, name, seed), axis=0) * 1e3


def _search(
    path: Path, trials: int, name: str, seed: int, prior: ab.LabelledSet | None = None
) -> list[tuple[float, float]]:
    """Search; the time at the end of every evaluation."""
    times: list[tuple[float, float]] = []
    ab.search(
        ab.space(SPACE),
        instant,
        prior=prior,
        model=None,
        n_trials=trials,
        sampler=name,
        grain="layer",
        storage=f"sqlite:///{path}",
        name=NAME,
        seed=seed,
        on_progress=lambda progress: times.append(_now()),
    )
    return times


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def measure(name: str, trials: int, seed: int) -> dict[str, float]:
    """``bare_ms``, ``ours_ms`` and ``added_ms`` of a trial, and the same of the CPU: ``bare_cpu_ms``..."""
    own = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, run in (("bare", bare), ("ours", toolkit)):
            path = Path(folder) / f"{kind}.db"
            _copied(filled(kind, trials), path)
            own[kind] = run(path, name, seed)
    found = {}
    for place, unit in enumerate(("ms", "cpu_ms")):
        middle = {kind: float(np.median(times[:, place])) for kind, times in own.items()}
        found |= {f"{kind}_{unit}": number for kind, number in middle.items()}
        found[f"added_{unit}"] = middle["ours"] - middle["bare"]
    return found


# --- workers ------------------------------------------------------------------------------------------------------


def asleep(arch: Architecture) -> dict[str, float]:
    """An evaluation that waits, as one does that runs elsewhere."""
    time.sleep(SLEEP_S)
    return {"acc": value(arch)}


def work(address: str, count: int) -> None:
    """One worker."""
    ab.search(
        ab.space("ofa_mbv3"),
        asleep,
        model=None,
        n_trials=count,
        sampler="tpe",
        grain="layer",
        storage=address,
        name=f"w{count}",
    )


def measure_workers(count: int) -> dict[str, float]:
    """``per_second``: evaluations told between the first and the last, by so many workers of one study."""
    from tests.studies import postgres

    trials = PER_WORKER * count
    with postgres.server() as server:
        command = [sys.executable, "-m", "benchmarks.search_overhead", server.address, str(trials)]
        running = [subprocess.Popen(command) for _ in range(count)]
        codes = [process.wait() for process in running]
        study = optuna.load_study(study_name=f"w{trials}", storage=server.address)
        told = sorted(trial.datetime_complete for trial in study.trials if trial.state.name == "COMPLETE")
    if any(codes) or len(told) != trials:
        raise RuntimeError(f"workers ended with {codes}; {len(told)} of {trials} trials are complete")
    seconds = (told[-1] - told[0]).total_seconds()
    return {"per_second": (trials - 1) / seconds, "trials": float(trials), "seconds": seconds}


# --- tables -------------------------------------------------------------------------------------------------------


def table(frame: pd.DataFrame, options: str, of_cell: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    """A row a sampler and number of trials."""
    rows = []
    for name in SAMPLERS:
        for trials in TRIALS:
            own = of_cell(frame, f"overhead_{trials}", name, options)
            if not own.empty:
                row: dict[str, object] = {"sampler": name, "trials in the study": trials, "repetitions": len(own)}
                named = (
                    ("bare Optuna", "bare_ms"),
                    ("with the toolkit", "ours_ms"),
                    ("added", "added_ms"),
                    ("bare Optuna, CPU", "bare_cpu_ms"),
                    ("added, CPU", "added_cpu_ms"),
                )
                row |= {said: round(float(own[column].median()), 1) for said, column in named}
                rows.append(row)
    return pd.DataFrame(rows)


def workers_said(frame: pd.DataFrame, options: str, of_cell: Callable[..., pd.DataFrame]) -> str:
    """How much faster four workers are."""
    own = {count: of_cell(frame, "workers", f"{count} workers", options) for count in WORKERS}
    if any(found.empty for found in own.values()):
        return ""
    one, four = (float(own[count]["per_second"].median()) for count in WORKERS)
    return (
        f"Evaluations that sleep {SLEEP_S} s, on PostgreSQL: one worker ends {one:.2f} a second, four workers "
        f"{four:.2f}: {four / one:.2f} times as many (TPE, layer-wise; medians of "
        f"{min(map(len, own.values()))} repetitions)."
    )


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]))
