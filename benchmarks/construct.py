"""Does the toolkit build better than simple baselines do? Same rows, same splits, same budgets.

python -m benchmarks.construct [--quick]              (AUTOBUILD_DATA names the folder of the published labels)
python -m benchmarks.construct --cells 'accel*' --methods ours,ridge --splits 0-9
python -m benchmarks.construct --table                remake the tables and the plot from the runs file
python -m benchmarks.construct --part development     the rows that design work may look at; nothing is written

Every result is appended to ``results/construct_runs.csv`` as soon as it is there, and what is there is not run again,
so a killed benchmark goes on, and several processes may share the work. Train rows and test rows are judged rows
(:mod:`benchmarks.splits`). Methods stand in :mod:`benchmarks.methods`, cells in :mod:`benchmarks.cells`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from autobuild.rank import srcc
from autobuild.spaces import Architecture
from benchmarks.cells import BUDGETS, BUILT, BUILT_ON, CELLS, COMPLETE, Cell, Problem, problem
from benchmarks.construct_tables import write_tables
from benchmarks.methods import METHODS, Method, fingerprint
from benchmarks.report import RESULTS
from benchmarks.runs import Run, Runs
from benchmarks.searches import SEARCH_OPTIONS, SEARCHES, Search

RUNS = RESULTS / "construct_runs.csv"
LEVEL = 0.9
QUICK = ("accel_top1_100", "macro_50", "macro_search")


def measure(cell: Cell, own: Problem, method: Method, number: int, part: str = "judged") -> dict[str, float]:
    """Fit, predict and build on one split.

    Returns:
        ``srcc`` over the test rows; of complete tables ``rank_built`` and ``rank_seen`` (the best true rank of the
        networks built, and counting the labelled ones, too), ``label_built``, ``label_seen``; of OFA ``proxy`` (of
        the first network built); ``coverage`` and ``width`` of intervals, where the method gives them; ``seconds``.
    """
    rows = own.split(cell, number, part)
    test = [own.archs[row] for row in rows.test]
    started = time.process_time()
    fitted = method.fit(own, rows.train, number)
    built = list(fitted.build(BUILT)) if own.data in BUILT_ON or method is METHODS["ours"] else []
    seconds = time.process_time() - started
    found: dict[str, float] = {}
    predicted = fitted.predict(test)
    if predicted is not None:
        found["srcc"] = float(srcc(predicted, own.values[rows.test]))
    if own.data in COMPLETE:
        found |= judged_by_truth(own, built, [own.archs[row] for row in rows.train])
    elif own.data in BUILT_ON:
        found["proxy"] = float(own.proxy(built[:1])[0])
    bounds = fitted.interval(test, LEVEL)
    if bounds is not None:
        low, high = bounds
        inside = (low <= own.values[rows.test]) & (own.values[rows.test] <= high)
        found |= {"coverage": float(inside.mean()), "width": float(np.mean(high - low))}
        found["label_sd"] = float(own.values[rows.test].std())
    return found | {"seconds": seconds}


def judged_by_truth(own: Problem, built: Sequence[Architecture], seen: Sequence[Architecture]) -> dict[str, float]:
    """Best true rank and label of the networks built, and of these and the labelled ones together."""
    found = {}
    for name, archs in (("built", list(built)), ("seen", [*built, *seen])):
        found[f"rank_{name}"] = float(min(own.rank(arch) for arch in archs))
        found[f"label_{name}"] = max(own.value(arch) for arch in archs)
    return found


def measure_search(own: Problem, search: Search, budget: int, seed: int) -> dict[str, float]:
    """Search a complete table.

    Returns:
        ``rank@N``, the best true rank after N evaluations, for the budgets compared; ``label@N`` for every N at which
        the best label improved; ``seconds``.
    """
    started = time.process_time()
    evaluated = search(own.space, own.value, budget, seed)
    seconds = time.process_time() - started
    ranks = np.minimum.accumulate([own.rank(arch) for arch in evaluated])
    labels = np.maximum.accumulate([own.value(arch) for arch in evaluated])
    found = {f"rank@{n}": float(ranks[min(n, len(ranks)) - 1]) for n in BUDGETS if n <= budget}
    found |= {f"label@{i + 1}": float(labels[i]) for i in range(len(labels)) if i == 0 or labels[i] > labels[i - 1]}
    return found | {"seconds": seconds}


def jobs(cells: Sequence[Cell], methods: str, splits: Sequence[int] | None) -> Iterator[tuple[Cell, str, int]]:
    """What is asked for, method by method within a cell, so that a column of the table fills quickly."""
    for cell in cells:
        names = SEARCHES if cell.search else METHODS
        for name in names:
            if matches(name, methods):
                numbers = range(cell.splits) if splits is None else [i for i in splits if i < cell.splits]
                yield from ((cell, name, number) for number in numbers)


def matches(name: str, patterns: str) -> bool:
    """Whether a name is among comma-separated patterns; a pattern after ``!`` takes names out."""
    listed = [pattern.strip() for pattern in patterns.split(",")]
    wanted = [pattern for pattern in listed if not pattern.startswith("!")]
    unwanted = [pattern[1:] for pattern in listed if pattern.startswith("!")]
    return (not wanted or any(fnmatch(name, p) for p in wanted)) and not any(fnmatch(name, p) for p in unwanted)


def run_all(runs: Runs, asked: Iterator[tuple[Cell, str, int]], part: str = "judged") -> int:
    """Run what is not there yet; returns how many runs failed (they are printed, and tried again next time)."""
    done, failed = runs.done(), 0
    for cell, name, number in asked:
        options = fingerprint(SEARCH_OPTIONS) if cell.search else METHODS[name].fingerprint
        run = Run(cell.name, number, name, options)
        if run in done:
            continue
        own = problem(cell.data, cell.target)
        try:
            if cell.search:
                found = measure_search(own, SEARCHES[name], cell.n, number)
            else:
                found = measure(cell, own, METHODS[name], number, part)
        except Exception:  # one failure must not cost the night; it is counted and told
            failed += 1
            print(f"FAILED {cell.name} split {number} {name}", file=sys.stderr)
            traceback.print_exc()
            continue
        runs.add(run, found)
        shown = " ".join(f"{k}={v:.4g}" for k, v in found.items() if not k.startswith("label"))
        print(f"{cell.name} split {number} {name}: {shown}", flush=True)
    return failed


def main() -> int:
    """Run, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a version of about a minute; results are not kept")
    parser.add_argument("--cells", default="*", help=f"patterns, joined by commas, of {', '.join(CELLS)}")
    parser.add_argument("--methods", default="*", help="patterns, joined by commas; '!hopnorm' leaves one out")
    parser.add_argument("--splits", help="e.g. 0-4: these only")
    parser.add_argument("--part", default="judged", choices=("judged", "development"))
    parser.add_argument("--runs", type=Path, help=f"the runs file (default: {RUNS.name} beside the tables)")
    parser.add_argument("--table", action="store_true", help="remake the tables only")
    options = parser.parse_args()
    cells = [cell for cell in CELLS.values() if matches(cell.name, options.cells)]
    splits = None
    if options.splits:
        first, _, last = options.splits.partition("-")
        splits = range(int(first), int(last or first) + 1)
    if options.quick:
        cells, splits = [CELLS[name] for name in QUICK], range(1)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):  # times are those of one thread
        passing = options.quick or options.part == "development"
        path = options.runs or (Path(folder) / "runs.csv" if passing else RUNS)
        runs = Runs(path)
        failed = 0 if options.table else run_all(runs, jobs(cells, options.methods, splits), options.part)
        write_tables(runs.read(), quick=passing or options.runs is not None, part=options.part)
    if failed:
        print(f"{failed} runs failed", file=sys.stderr)
    return min(failed, 1)


if __name__ == "__main__":
    raise SystemExit(main())
