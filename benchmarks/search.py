"""Does a search over a narrowed space, led by the fitted predictor, need fewer evaluations? And what does it cost?

    python -m benchmarks.search [--quick]                 (AUTOBUILD_DATA names the folder of the published labels)
    python -m benchmarks.search --only macro --seeds 0-9  one table's runs, some seeds
    python -m benchmarks.search --table                   remake the tables from the runs file

Three tables: NAS-Bench-Macro against ground truth (:mod:`benchmarks.search_macro`), a front of accuracy and latency of
OFA-MobileNetV3 (:mod:`benchmarks.search_front`), and the time that the toolkit adds to bare Optuna, with what four
workers are worth (:mod:`benchmarks.search_overhead`). Every result is appended to ``results/search_runs.csv`` as soon
as it is there; a killed benchmark goes on, and several processes may share the work.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import optuna
from threadpoolctl import threadpool_limits

from benchmarks import search_front, search_macro, search_overhead
from benchmarks.cells import problem
from benchmarks.construct import matches
from benchmarks.methods import fingerprint
from benchmarks.report import RESULTS
from benchmarks.runs import Run, Runs
from benchmarks.search_tables import write_tables

RUNS = RESULTS / "search_runs.csv"
TABLES = ("macro", "front", "overhead")
SEEDS = {"macro": 20, "front": 10, "overhead": 3}

Job = tuple[Run, Callable[[], dict[str, float]]]


def jobs(only: Sequence[str], seeds: Sequence[int] | None, quick: bool) -> Iterator[Job]:
    """Everything that is asked for, seed by seed, so that all methods grow alike."""
    for table in only:
        numbers = range(1 if quick else SEEDS[table]) if seeds is None else seeds
        for seed in numbers:
            yield from {"macro": _macro, "front": _front, "overhead": _overhead}[table](seed, quick)


def _macro(seed: int, quick: bool) -> Iterator[Job]:
    own, options = problem("macro", "mean_acc"), fingerprint(search_macro.OPTIONS)
    for cell, methods in (("macro_warm", search_macro.WARM), ("macro_cold", search_macro.COLD)):
        for name, method in methods.items():
            if not quick or name in (search_macro.OURS, "evolution", "random"):
                warm = cell == "macro_warm"
                yield (
                    Run(cell, seed, name, options),
                    lambda m=method, w=warm: search_macro.measure(own, m, seed, w),  # type: ignore[misc]
                )


def _front(seed: int, quick: bool) -> Iterator[Job]:
    options = fingerprint(search_front.OPTIONS)
    for name, method in search_front.METHODS.items():
        if not quick or name in ("NSGA-II", "random"):
            yield (
                Run("front", seed, name, options),
                lambda m=method: search_front.measure(search_front.truth(), m, seed),  # type: ignore[misc]
            )


def _overhead(seed: int, quick: bool) -> Iterator[Job]:
    options = fingerprint(search_overhead.OPTIONS)
    for name in search_overhead.SAMPLERS:
        for trials in search_overhead.TRIALS[: 1 if quick else None]:
            yield (
                Run(f"overhead_{trials}", seed, name, options),
                lambda n=name, t=trials: search_overhead.measure(n, t, seed),  # type: ignore[misc]
            )
    for count in search_overhead.WORKERS:
        yield (
            Run("workers", seed, f"{count} workers", options),
            lambda c=count: search_overhead.measure_workers(c),  # type: ignore[misc]
        )


def run_all(runs: Runs, asked: Iterator[Job]) -> int:
    """Run what is not there yet; returns how many runs failed (they are printed, and tried again next time)."""
    done, failed = runs.done(), 0
    for run, measure in asked:
        if run in done:
            continue
        try:
            found = measure()
        except Exception:  # one failure must not cost the night; it is counted and told
            failed += 1
            print(f"FAILED {run.cell} seed {run.split} {run.method}", file=sys.stderr)
            traceback.print_exc()
            continue
        runs.add(run, found)
        print(
            f"{run.cell} seed {run.split} {run.method}: " + " ".join(f"{k}={v:.4g}" for k, v in found.items()),
            flush=True,
        )
    return failed


def main() -> int:
    """Run, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, few methods; results are not kept")
    parser.add_argument("--only", default=",".join(TABLES), help=f"of {', '.join(TABLES)}, joined by commas")
    parser.add_argument("--methods", default="*", help="patterns, joined by commas; '!random' leaves one out")
    parser.add_argument("--seeds", help="e.g. 0-4: these only")
    parser.add_argument("--table", action="store_true", help="remake the tables only")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seeds = None
    if options.seeds:
        first, _, last = options.seeds.partition("-")
        seeds = range(int(first), int(last or first) + 1)
    only = [name for name in TABLES if name in options.only.split(",")]
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        runs = Runs(Path(folder) / "runs.csv" if options.quick else RUNS)
        asked = (job for job in jobs(only, seeds, options.quick) if matches(job[0].method, options.methods))
        failed = 0 if options.table else run_all(runs, asked)
        write_tables(runs.read(), options.quick)
    return min(failed, 1)


if __name__ == "__main__":
    raise SystemExit(main())
