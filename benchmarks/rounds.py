"""Active rounds against searches at equal numbers of evaluations, on NAS-Bench-Macro, whose true ranks are all known.

    python -m benchmarks.rounds [--quick] [--seeds 20] [--table]

Rounds begin with 20 random networks, those that random search begins with: a Gaussian process is fitted on them, and
ten networks are asked for, four times over. Searches go on one by one, from a start of their own (TPE: 10 random
networks, evolution: 20, local search: 1). ``one batch`` builds forty networks from the first twenty labels, without
rounds. A rank is 1 + the number of networks strictly better, of 3,969. Every result is appended to ``rounds_runs.csv``
as soon as it is there; a killed benchmark goes on.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
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

START, ROUNDS, PER_ROUND = 20, 4, 10
AT = tuple(START + PER_ROUND * number for number in range(ROUNDS + 1))
CELL = "macro_rounds"
OPTIONS = {"revision": 1, "model": "gp"}  # a part of the name of a run: raise it when rounds change
RUNS = RESULTS / "rounds_runs.csv"

Method = Callable[[Problem, int], list[Architecture]]


def active(acquisition: str, rounds: int = ROUNDS, per_round: int = PER_ROUND) -> Method:
    """Active rounds: the evaluated networks in order, those of the start first."""

    def run(own: Problem, seed: int) -> list[Architecture]:
        start = SEARCHES["random search"](own.space, own.value, START, seed)
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
    return lambda own, seed: SEARCHES[name](own.space, own.value, AT[-1], seed)


METHODS: dict[str, tuple[Method, str]] = {
    **{f"rounds, {by}": (active(by), fingerprint(OPTIONS)) for by in ACQUISITIONS},
    "one batch": (active("predicted", 1, ROUNDS * PER_ROUND), fingerprint(OPTIONS)),
    **{name: (search(name), fingerprint(SEARCH_OPTIONS)) for name in ("TPE", "evolution", "local search")},
    "random": (search("random search"), fingerprint(SEARCH_OPTIONS)),
}


def measure(own: Problem, method: Method, seed: int) -> dict[str, float]:
    """``rank@N`` and ``label@N``: the best true rank and label of the first N networks evaluated; ``seconds``."""
    began = time.perf_counter()
    evaluated = method(own, seed)
    seconds = time.perf_counter() - began
    assert len({own.space.key(arch) for arch in evaluated}) == len(evaluated) == AT[-1]
    ranks = np.minimum.accumulate([own.rank(arch) for arch in evaluated])
    labels = np.maximum.accumulate([own.value(arch) for arch in evaluated])
    found = {f"rank@{n}": float(ranks[n - 1]) for n in AT} | {f"label@{n}": float(labels[n - 1]) for n in AT}
    return found | {"seconds": seconds}


def summary(runs: pd.DataFrame, best: float) -> pd.DataFrame:
    """A row a method: median rank after each round, how often the best network was found, mean label missed."""
    rows = []
    for name, (_, options) in METHODS.items():
        own = runs[(runs["cell"] == CELL) & (runs["method"] == name) & (runs["options"] == options)]
        if own.empty:
            continue
        wide = own.pivot_table(index="split", columns="metric", values="value")
        row: dict[str, object] = {"method": name, "seeds": len(wide)}
        row |= {f"rank after {n}": float(wide[f"rank@{n}"].median()) for n in AT}
        row["worst rank"] = float(wide[f"rank@{AT[-1]}"].max())
        row["found the best"] = f"{int((wide[f'rank@{AT[-1]}'] == 1).sum())} of {len(wide)}"
        row["mean accuracy missed"] = round(best - float(wide[f"label@{AT[-1]}"].mean()), 4)
        row["seconds"] = float(wide["seconds"].median())
        rows.append(row)
    return pd.DataFrame(rows)


def run_all(runs: Runs, own: Problem, seeds: Sequence[int]) -> None:
    """Run what is not there yet."""
    done = runs.done()
    for seed in seeds:
        for name, (method, options) in METHODS.items():
            run = Run(CELL, seed, name, options)
            if run not in done:
                found = measure(own, method, seed)
                runs.add(run, found)
                print(f"seed {seed} {name}: " + " ".join(f"{found[f'rank@{n}']:g}" for n in AT), flush=True)


def main() -> int:
    """Run, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds; results are not kept")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--table", action="store_true", help="remake the table only")
    options = parser.parse_args()
    own = Problem("macro", "mean_acc")
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        runs = Runs(Path(folder) / "runs.csv" if options.quick else RUNS)
        if not options.table:
            run_all(runs, own, range(2 if options.quick else options.seeds))
        note = (
            f"NAS-Bench-Macro, `mean_acc`: median over seeds of the best true rank after so many evaluations, the "
            f"{START} of the start included; model gp; accuracy missed after {AT[-1]}, in percent."
        )
        write("rounds", summary(runs.read(), float(max(own.values))), quick=options.quick, note=note)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
