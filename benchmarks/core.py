"""How fast and how good the core is: fit, score, build, demo, command line.

python -m benchmarks.core [--quick]      (AUTOBUILD_DATA names the folder of the published OFA labels)

Every row is the median of several runs, fits in processes of their own.
"""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import autobuild as ab
from benchmarks.report import arguments, fresh_process, machine, median, published, write

MBV3, PROXYLESS = "ofa_mbv3", "ofa_proxyless"


def labels(name: str) -> ab.LabelledSet:
    """A published labelled set."""
    folder = published()
    if folder is None:
        raise SystemExit("AUTOBUILD_DATA is not set")
    return ab.LabelledSet.read(folder / f"{name}_labels.csv", ab.space(name))


def fit_part(seed: int, name: str = MBV3, rows: int = 3000) -> None:
    """One fit with 300 rows held out, as JSON: wall time of the whole process's work, correlations, peak memory."""
    started = time.perf_counter()
    model = ab.fit(labels(name), "acc", seed=seed, config=ab.FitConfig(holdout=300, refit=False), model="graph")
    seconds = time.perf_counter() - started
    report = model.report
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"seconds": seconds, "srcc": report["test_srcc"], "hops": report["hop_srcc"], "peak_gb": peak}))


def threads_part(count: str) -> None:
    """Seconds of a short fit with so many torch threads."""
    config = ab.FitConfig(epochs=10, threads=int(count), holdout=300, refit=False)
    started = time.perf_counter()
    ab.fit(labels(MBV3), "acc", config=config, model="graph")
    print(json.dumps({"seconds": time.perf_counter() - started}))


def score_part(name: str) -> None:
    """Score all candidates of a fitted model (a short fit will do: the work is the same)."""
    joined = name == PROXYLESS
    model = ab.fit(labels(name).head(200), "acc", config=ab.FitConfig(epochs=2, holdout=0), model="graph")
    space = model.space.join_units("stage5", "stage6") if joined else model.space
    model.explain(space)

    def once() -> float:
        started = time.perf_counter()
        scores = model.explain(space)
        assert len(scores.candidates) == sum(unit.size for unit in space.units)
        return time.perf_counter() - started

    print(json.dumps({"seconds": median(once, 3), "n": sum(unit.size for unit in space.units)}))


def k_best_seconds() -> float:
    """Seconds for the 10,000 best of 7371^5."""
    from autobuild.construct import k_best

    rng = np.random.default_rng(0)
    scores = [rng.normal(size=7371) for _ in range(5)]
    started = time.perf_counter()
    best = list(itertools.islice(k_best(scores), 10_000))
    assert len(best) == 10_000
    return time.perf_counter() - started


def command_seconds(*words: str) -> float:
    """Wall time of a command line."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "autobuild.cli", *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Measure everything and print the table."""
    options = arguments(__doc__ or "")
    if options.part:
        kind, _, argument = options.part.partition(":")
        {"fit": lambda a: fit_part(int(a)), "score": score_part, "threads": threads_part}[kind](argument)
        return
    rows: list[tuple[str, str, str, str]] = []

    def add(what: str, measured: str, target: str, reached: bool) -> None:
        rows.append((what, measured, target, ("yes" if reached else "no") if target else ""))

    if published():
        fits = [
            json.loads(fresh_process("benchmarks.core", f"fit:{seed}")) for seed in range(1 if options.quick else 5)
        ]
        middle = {key: float(np.median([fit[key] for fit in fits])) for key in ("seconds", "srcc", "peak_gb")}
        worst = min(fit["srcc"] for fit in fits)
        hops = np.median([fit["hops"] for fit in fits], axis=0)
        what = f"OFA-MBv3 `acc`, 2,700 rows fitted, 300 held out ({len(fits)} seeds)"
        add(f"{what}: SRCC, median (worst)", f"{middle['srcc']:.4f} ({worst:.4f})", ">= 0.985", worst >= 0.985)
        add("... SRCC of the norms, hop 0 to 4", ", ".join(f"{h:.3f}" for h in hops), "hops 3, 4 >= 0.975",
            min(hops[3:]) >= 0.975)  # fmt: skip
        add("... wall time (s)", f"{middle['seconds']:.1f}", "<= 20", middle["seconds"] <= 20)
        add("... peak memory (GB)", f"{middle['peak_gb']:.2f}", "<= 1.5", middle["peak_gb"] <= 1.5)
        for name, limit in ((MBV3, 2), (PROXYLESS, 6)):
            scored = json.loads(fresh_process("benchmarks.core", f"score:{name}"))
            add(f"Score all {scored['n']:,} {name} candidates, table included (s)", f"{scored['seconds']:.2f}",
                f"<= {limit}", scored["seconds"] <= limit)  # fmt: skip
        one, two = (json.loads(fresh_process("benchmarks.core", f"threads:{n}"))["seconds"] for n in (1, 2))
        add("A fit with two torch threads: time against one", f"{two / one:.2f}", "", True)
    else:
        print("AUTOBUILD_DATA is not set: the rows on published labels are left out")
    best = median(k_best_seconds, 3)
    add("10,000 best of 7371^5 assemblies (s)", f"{best:.3f}", "< 1", best < 1)
    for words in (["--help"], ["fit", "--help"], ["spaces"]):
        with tempfile.TemporaryDirectory() as folder:
            extra = [f"out={folder}/run"] if words == ["spaces"] else []
            seconds = median(lambda words=words, extra=extra: command_seconds(*words, *extra), 3)  # type: ignore[misc]
        add(f"`autobuild {' '.join(words)}` (s)", f"{seconds:.2f}", "<= 2", seconds <= 2)
    if not options.quick:
        with tempfile.TemporaryDirectory() as folder:
            seconds = median(lambda: command_seconds("demo", f"out={Path(folder) / str(time.time())}"), 3)
        add("`autobuild demo`, training included (s)", f"{seconds:.0f}", "<= 180", seconds <= 180)
    table = pd.DataFrame(rows, columns=["what", "measured", "wanted", "reached"])
    write("core", table, quick=options.quick, note=machine())


if __name__ == "__main__":
    main()
