"""How many seconds of work the default takes: fit, explain and build, predictions; beside a stored baseline.

python -m benchmarks.speed [--quick] [--baseline] [--only TEXT]

AUTOBUILD_DATA names the folder of the published labels.

Every fit runs in a process of its own, with one thread, and is judged on rows that it was not given. Seconds are those
of the CPU (user and system), which a busy machine changes little. ``--baseline`` stores what the code at hand needs as
``speed_baseline.csv``; without it, the table has the ratio to what is stored there.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

import autobuild as ab
from autobuild.rank import srcc
from benchmarks.report import RESULTS, fresh_process, machine, published, write

CASES = {  # name -> space, file (None: ships with the package), target, rows given, splits
    "OFA-MBv3, 300 rows": ("ofa_mbv3(width=1.2)", "ofa_mbv3_labels.csv", "acc", 300, 2),
    "OFA-MBv3, 1,000 rows": ("ofa_mbv3(width=1.2)", "ofa_mbv3_labels.csv", "acc", 1000, 1),
    "OFA-MBv3, 2,700 rows": ("ofa_mbv3(width=1.2)", "ofa_mbv3_labels.csv", "acc", 2700, 1),
    "NAS-Bench-Macro, 200 rows": ("nas_bench_macro", "nas-bench-macro_cifar10.json", "mean_acc", 200, 2),
    "tiny_mbconv, 300 rows": ("tiny_mbconv", None, "acc", 300, 2),
}
JUDGED = 300  # rows held out, at most
EXPLAINED = "OFA-MBv3, 2,700 rows"
PREDICTED = "OFA-MBv3, 300 rows"
PREDICTIONS = 100_000
MEASURED = {
    "fit": "fit",
    "explain": "explain + build(top=10)",
    "predict": f"predict_mean, {PREDICTIONS:,} architectures",
}


def work(name: str, split: int) -> dict[str, float]:
    """Seconds and held-out correlation of one split of a case, and peak memory in bytes."""
    space, file, target, rows, _ = CASES[name]
    folder = published()
    if file and folder is None:
        raise SystemExit("AUTOBUILD_DATA is not set: it names the folder of the published labels")
    labels = ab.LabelledSet.read(folder / file if folder and file else "tiny_mbconv", ab.space(space))
    order = np.random.default_rng([split, rows]).permutation(len(labels))
    given, held = labels.subset(order[:rows]), labels.subset(order[rows : rows + JUDGED])
    out: dict[str, float] = {}
    model = _timed("fit", out, lambda: ab.fit(given, target, seed=split))
    out["srcc"] = srcc(model.predict_mean(held.archs), held.target(target).values)
    if name == PREDICTED:
        archs = model.space.sample(PREDICTIONS, 1)
        _timed("predict", out, lambda: model.predict_mean(archs))
    if name == EXPLAINED:
        _timed("explain", out, lambda: model.explain().build(top=10))
    out["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return out


def _timed(what: str, out: dict[str, float], call: Callable[[], Any]) -> Any:
    before, started = _cpu_s(), time.perf_counter()
    result = call()
    out[f"{what}_cpu_s"], out[f"{what}_wall_s"] = _cpu_s() - before, time.perf_counter() - started
    return result


def _cpu_s() -> float:
    """User and system seconds of this process and of the processes that it has waited for."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def measured(cases: list[str]) -> pd.DataFrame:
    """One row for every case and split."""
    rows = []
    for name in cases:
        for split in range(CASES[name][4]):
            done = json.loads(fresh_process("benchmarks.speed", f"{name};{split}"))
            print(f"{name}, split {split}: {done}", flush=True)
            rows.append({"case": name, "split": split, **done})
    return pd.DataFrame(rows)


def compared(new: pd.DataFrame, old: pd.DataFrame) -> pd.DataFrame:
    """Medians over splits, beside those of the baseline on the same splits."""
    rows = []
    both = new.merge(old, on=["case", "split"], suffixes=("", "_before"))
    for name, own in both.groupby("case", sort=False):
        for what, title in MEASURED.items():
            if f"{what}_cpu_s" not in own or own[f"{what}_cpu_s"].isna().all():
                continue
            before, after = own[f"{what}_cpu_s_before"].median(), own[f"{what}_cpu_s"].median()
            row = {"work": f"{title}: {name}", "CPU s before": before, "CPU s": after, "ratio": after / before}
            row["wall s"] = own[f"{what}_wall_s"].median()
            fits = what == "fit"
            row["SRCC before"] = f"{own['srcc_before'].mean():.4f}" if fits else ""
            row["SRCC"] = f"{own['srcc'].mean():.4f}" if fits else ""
            row["peak GB"] = own["peak_bytes"].max() / 1e9
            rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the fits of 300 rows; results are not written")
    parser.add_argument("--baseline", action="store_true", help="store what this code needs as the baseline")
    parser.add_argument("--only", default="", help="the cases whose name contains this text; results are not written")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        name, split = given.part.split(";")
        print(json.dumps(work(name, int(split))))
        return
    names = [name for name, case in CASES.items() if given.only in name and (not given.quick or case[3] <= 300)]
    new = measured(names)
    kept = RESULTS / "speed_baseline.csv"
    if given.baseline:
        new.to_csv(kept, index=False)
        return
    note = machine() + " Seconds are medians over splits, correlations means, on rows that were not given to the fit."
    write("speed", compared(new, pd.read_csv(kept)), quick=given.quick or bool(given.only), note=note)


if __name__ == "__main__":
    main()
