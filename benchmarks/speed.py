"""How many seconds of work the default takes: fit, explain and build, predictions; beside a stored baseline.

python -m benchmarks.speed [--quick] [--baseline] [--large] [--only TEXT]

AUTOBUILD_DATA names the folder of the published labels.

Every fit runs in a process of its own, with one thread, and is judged on rows that it was not given. Seconds are those
of the CPU (user and system), which a busy machine changes little. ``--baseline`` stores what the code at hand needs as
``speed_baseline.csv``; without it, the table has the ratio to what is stored there. ``--large`` measures large sizes
instead: labels of a planted law, many predictions, candidates and columns.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import autobuild as ab
from autobuild.rank import srcc
from benchmarks.planted import planted_labels, write_planted
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


OFA = "ofa_mbv3(width=1.2)"
LARGE = {  # work -> its aim
    "read 15,625 cells, and their keys": "<= 1 CPU s",
    "check a table of 10,000 columns": "linear in the columns",
    "predict_mean, 1,000,000 architectures, model of 300 rows": "<= 30 CPU s, <= 2 GB",
    "10,000 labels: read, fitted, explained, built": "<= 60 s on two cores, <= 8 GB",
    "100,000 labels: read, fitted, explained, built": "<= 300 s on two cores, <= 8 GB",
    "1,000,000 labels: read, fitted, explained, built": "<= 1,800 s on two cores, <= 8 GB",
    "10,000,000 candidates of a unit scored, the best kept": "<= 180 s, <= 2 GB",
    "built under a limit on a labelled latency, from 2,700 rows": "<= 20 CPU s",
}


def large(name: str) -> dict[str, Any]:
    """Seconds and peak memory of one work of :data:`LARGE`."""
    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        _timed("work", out, _prepared(name, Path(folder), out))
    out["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return out


def _prepared(name: str, folder: Path, out: dict[str, Any]) -> Callable[[], Any]:
    """What is measured, with its data made before."""
    data = published()
    if "cells" in name:
        assert data is not None
        return lambda: ab.LabelledSet.read(data / "nas_bench_201_cifar10.csv.gz", ab.space("nas_bench_201")).keys
    if "columns" in name:
        frame = planted_labels(ab.space(OFA), 30)[["arch", "acc"]]
        others = np.random.default_rng(0).random((len(frame), 9_990))
        frame = pd.concat([frame, pd.DataFrame(others).add_prefix("c")], axis=1)
        return lambda: ab.LabelledSet.from_frame(frame, ab.space(OFA)).warnings
    if "predict" in name:
        assert data is not None
        labels = ab.LabelledSet.read(data / "ofa_mbv3_labels.csv", ab.space(OFA))
        model = ab.fit(labels.subset(np.random.default_rng([0, 300]).permutation(len(labels))[:300]), "acc")
        archs = itertools.cycle(model.space.sample(20_000, 1))  # what was predicted before is not kept
        return lambda: model.predict_mean(itertools.islice(archs, 1_000_000))
    if "candidates" in name:
        space = ab.sequence_space(
            "deep",
            {"stem": [1, 2], "body": [7]},
            {"kernel": [3, 5], "width": [1, 2, 3, 4, 5]},
            text="k{kernel}w{width}",
        )
        deep = ab.fit(ab.LabelledSet.from_frame(planted_labels(space, 300), space), "acc", model="gp")
        return lambda: deep.explain().best_candidates(10)
    if "limit" in name:
        assert data is not None
        labels = ab.LabelledSet.read(data / "ofa_mbv3_labels.csv", ab.space(OFA))
        given = labels.subset(np.random.default_rng([0, 2700]).permutation(len(labels))[:2700])
        middle = float(given.frame["latency_gpu"].median())
        return lambda: ab.fit(given, "acc").explain().build(top=10, where=f"latency_gpu <= {middle}")
    rows = int(name.split()[0].replace(",", ""))
    write_planted(ab.space(OFA), rows, folder / "labels.csv")
    return lambda: _whole(folder / "labels.csv", out)


def _whole(file: Path, out: dict[str, Any]) -> None:
    model = ab.fit(ab.LabelledSet.read(file, ab.space(OFA)), "acc")
    model.explain().build(top=10)
    unseen = planted_labels(model.space, 2_000, seed=99)
    out["srcc"] = srcc(model.predict_mean(unseen["arch"]), unseen["truth"].to_numpy())
    out["note"] = model.report["picked"]


def measured_large(names: list[str]) -> pd.DataFrame:
    """One row for every work."""
    rows = []
    for name in names:
        done = json.loads(fresh_process("benchmarks.speed", name))
        print(f"{name}: {done}", flush=True)
        row = {"work": name, "CPU s": done["work_cpu_s"], "wall s": done["work_wall_s"]}
        row |= {"peak GB": done["peak_bytes"] / 1e9, "to reach": LARGE[name]}
        rows.append({**row, "SRCC, unseen": done.get("srcc", float("nan")), "picked": done.get("note", "")})
    return pd.DataFrame(rows)


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
    parser.add_argument("--large", action="store_true", help="large sizes: minutes each on a quiet machine")
    parser.add_argument(
        "--only",
        default="",
        help="the cases whose name contains this text; results are not written, but those of --large",
    )
    parser.add_argument("--part", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        name, _, split = given.part.partition(";")
        print(json.dumps(work(name, int(split)) if split else large(name)))
        return
    if given.large:
        kept = RESULTS / "speed_large.csv"
        new = measured_large([name for name in LARGE if given.only in name])
        old = pd.read_csv(kept, keep_default_na=False, na_values={"SRCC, unseen": [""]}) if kept.exists() else new[:0]
        rows = pd.concat([new, old[~old["work"].isin(new["work"])]])
        order = rows["work"].map(list(LARGE).index).argsort()
        write("speed_large", rows.iloc[order], quick=False, note=machine() + " Each work has a process of its own.")
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
