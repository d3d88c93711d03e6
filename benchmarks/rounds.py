"""Active rounds against searches at equal numbers of evaluations, on tables whose true ranks are all known.

    python -m benchmarks.rounds [--quick] [--seeds 20] [--table] [--only TEXT] [--methods PATTERNS]

Rounds begin with random networks, those that random search begins with: a Gaussian process is fitted on them, and some
networks are asked for, several times over (:data:`SETTINGS`). Searches go on one by one, from a start of their own:
TPE of 10 random networks, evolution of 20, local search of 1. ``one batch`` builds as many networks from the first
labels, without rounds. A rank is 1 + the number of networks strictly better. Every result is appended to
``rounds_runs.csv`` as soon as it is there; a killed benchmark goes on.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

import autobuild as ab
from autobuild.construct import ACQUISITIONS
from autobuild.spaces import Architecture
from benchmarks.cells import Problem
from benchmarks.methods import fingerprint
from benchmarks.report import RESULTS, write
from benchmarks.runs import Run, Runs
from benchmarks.searches import SEARCH_OPTIONS, SEARCHES


@dataclass(frozen=True)
class Setting:
    """A table, and how many of its networks are evaluated: at random first, then round by round.

    Attributes:
        data, target: Of :class:`~benchmarks.cells.Problem`.
        title: What the table is called.
        start, rounds, per_round: Networks of the start, rounds, and networks of each of them.
        shown: Networks evaluated where the table shows the rank.
    """

    data: str
    target: str
    title: str
    start: int
    rounds: int
    per_round: int
    shown: tuple[int, ...]

    @property
    def evaluations(self) -> int:
        """Networks evaluated in all."""
        return self.start + self.rounds * self.per_round


SETTINGS = {  # cell of the runs -> setting
    "macro_rounds": Setting("macro", "mean_acc", "NAS-Bench-Macro", 20, 4, 10, (20, 30, 40, 50, 60)),
    "nb201_rounds": Setting("nb201", "cifar10_val", "NAS-Bench-201", 16, 8, 6, (16, 28, 40, 52, 64)),
    "trans_rounds": Setting("trans", "class_scene", "TransNAS-Bench-101, cells", 16, 8, 6, (16, 28, 40, 52, 64)),
}
TABLES = {"macro_rounds": "rounds", "nb201_rounds": "rounds_201", "trans_rounds": "rounds_trans"}
OPTIONS = {"revision": 3, "model": "gp"}  # a part of the name of a run: raise it when rounds change
RUNS = RESULTS / "rounds_runs.csv"

Method = Callable[[Problem, Setting, int], list[Architecture]]


def active(acquisition: str, *, at_once: bool = False) -> Method:
    """Active rounds: the evaluated networks in order, those of the start first; ``at_once``: all in one round."""

    def run(own: Problem, setting: Setting, seed: int) -> list[Architecture]:
        rounds, per_round = setting.rounds, setting.per_round
        if at_once:
            rounds, per_round = 1, rounds * per_round
        start = SEARCHES["random search"](own.space, own.value, setting.start, seed)
        frame = pd.DataFrame({"arch": [arch.text for arch in start], own.target: [own.value(arch) for arch in start]})
        labels = ab.LabelledSet.from_frame(frame, own.space)
        evaluated = list(start)

        def evaluate(arch: Architecture) -> dict[str, float]:
            evaluated.append(arch)
            return {own.target: own.value(arch)}

        for _ in ab.rounds(
            labels, own.target, evaluate, rounds, per_round, model="gp", acquisition=acquisition, seed=seed
        ):
            pass
        return evaluated

    return run


def search(name: str) -> Method:
    """A search of :mod:`benchmarks.searches` with the same number of evaluations."""
    return lambda own, setting, seed: SEARCHES[name](own.space, own.value, setting.evaluations, seed)


METHODS: dict[str, tuple[Method, str]] = {
    **{f"rounds, {by}": (active(by), fingerprint(OPTIONS)) for by in ACQUISITIONS},
    "one batch": (active("predicted", at_once=True), fingerprint(OPTIONS)),
    **{name: (search(name), fingerprint(SEARCH_OPTIONS)) for name in ("TPE", "evolution", "local search")},
    "random": (search("random search"), fingerprint(SEARCH_OPTIONS)),
}


def measure(own: Problem, setting: Setting, method: Method, seed: int) -> dict[str, float]:
    """``rank@N`` and ``label@N``: the best true rank and label of the first N networks evaluated; ``seconds``."""
    began = time.perf_counter()
    evaluated = method(own, setting, seed)
    seconds = time.perf_counter() - began
    assert len({own.space.key(arch) for arch in evaluated}) == len(evaluated) == setting.evaluations
    ranks = np.minimum.accumulate([own.rank(arch) for arch in evaluated])
    labels = np.maximum.accumulate([own.value(arch) for arch in evaluated])
    found = {f"rank@{n}": float(ranks[n - 1]) for n in setting.shown}
    return found | {f"label@{n}": float(labels[n - 1]) for n in setting.shown} | {"seconds": seconds}


def summary(runs: pd.DataFrame, cell: str, best: float) -> pd.DataFrame:
    """A row a method: median rank after some rounds, how often the best network was found, mean label missed."""
    rows, setting = [], SETTINGS[cell]
    for name, (_, options) in METHODS.items():
        own = runs[(runs["cell"] == cell) & (runs["method"] == name) & (runs["options"] == options)]
        if own.empty:
            continue
        wide = own.pivot_table(index="split", columns="metric", values="value")
        row: dict[str, object] = {"method": name, "seeds": len(wide)}
        row |= {f"rank after {n}": float(wide[f"rank@{n}"].median()) for n in setting.shown}
        row["worst rank"] = float(wide[f"rank@{setting.evaluations}"].max())
        row["found the best"] = f"{int((wide[f'rank@{setting.evaluations}'] == 1).sum())} of {len(wide)}"
        row["mean accuracy missed"] = round(best - float(wide[f"label@{setting.evaluations}"].mean()), 4)
        row["seconds"] = float(wide["seconds"].median())
        rows.append(row)
    return pd.DataFrame(rows)


def run_all(runs: Runs, own: Problem, cell: str, seeds: Sequence[int], patterns: Sequence[str]) -> None:
    """Run what is not there yet."""
    done = runs.done()
    for seed in seeds:
        for name, (method, options) in METHODS.items():
            run = Run(cell, seed, name, options)
            if run not in done and any(fnmatch(name, pattern) for pattern in patterns):
                found = measure(own, SETTINGS[cell], method, seed)
                runs.add(run, found)
                ranks = " ".join(f"{found[f'rank@{n}']:g}" for n in SETTINGS[cell].shown)
                print(f"{cell} seed {seed} {name}: {ranks}", flush=True)


def main() -> int:
    """Run, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds; results are not kept")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--table", action="store_true", help="remake the tables only")
    parser.add_argument("--only", default="", help="the settings whose name contains this text")
    parser.add_argument("--methods", default="*", help="patterns, joined by semicolons, of methods to run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        runs = Runs(Path(folder) / "runs.csv" if options.quick else RUNS)
        for cell, setting in SETTINGS.items():
            if options.only not in cell:
                continue
            own = Problem(setting.data, setting.target)
            if not options.table:
                run_all(runs, own, cell, range(2 if options.quick else options.seeds), options.methods.split(";"))
            note = (
                f"{setting.title}, `{setting.target}`: median over seeds of the best true rank after so many "
                f"evaluations, the {setting.start} of the start included, then {setting.per_round} a round; model gp; "
                f"accuracy missed after {setting.evaluations}, in percent."
            )
            write(TABLES[cell], summary(runs.read(), cell, float(max(own.values))), quick=options.quick, note=note)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
