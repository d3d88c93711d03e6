"""The tables of the search benchmark, made from its runs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks import search_front, search_macro, search_overhead
from benchmarks.methods import fingerprint
from benchmarks.paired import DRAWS, paired
from benchmarks.report import machine, write


def of_cell(frame: pd.DataFrame, cell: str, method: str, options: str) -> pd.DataFrame:
    """One row a seed, one column a metric."""
    own = frame[(frame["cell"] == cell) & (frame["method"] == method) & (frame["options"] == options)]
    return own.pivot_table(index="split", columns="metric", values="value")


def ratio_of(ours: pd.Series, theirs: pd.Series, seed: int = 0) -> tuple[float, float, float]:
    """Median over seeds of ours by theirs, with its 95 % percentile-bootstrap interval."""
    both = pd.concat([ours, theirs], axis=1, join="inner").to_numpy(dtype=float)
    ratios = both[:, 0] / both[:, 1]
    rows = np.random.default_rng(seed).integers(len(ratios), size=(DRAWS, len(ratios)))
    low, high = np.quantile(np.median(ratios[rows], axis=1), [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)


def macro_table(frame: pd.DataFrame, warm: bool) -> pd.DataFrame:
    """A row a method: how many evaluations until one of the true top 3, and the best; and ours as a part of it."""
    options = fingerprint(search_macro.OPTIONS)
    ours = of_cell(frame, "macro_warm", search_macro.OURS, options)
    rows = []
    for name in search_macro.WARM if warm else search_macro.COLD:
        own = of_cell(frame, "macro_warm" if warm else "macro_cold", name, options)
        if own.empty:
            continue
        row: dict[str, object] = {"method": name, "seeds": len(own)}
        for metric, said in (("to_top", "a top 3"), ("to_best", "the best")):
            values = own[metric]
            row[f"evaluations to {said}"] = _quartiles(values)
            row[f"{said} within 20"] = f"{(values <= 20).mean():.0%}"
        if name != search_macro.OURS and not ours.empty:
            charged = 0 if warm else search_macro.LABELS
            middle, low, high = ratio_of(ours["to_top"] + charged, own["to_top"])
            row["ours / theirs, to a top 3"] = f"{middle:.3g} ({low:.3g} to {high:.3g})"
        row["rank after 20"] = f"{own['rank@20'].median():g}"
        row["seconds"] = round(float(own["seconds"].median()), 1)
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def _quartiles(values: pd.Series) -> str:
    shown = [
        f"over {search_macro.MOST:,}" if q > search_macro.MOST else f"{q:g}" for q in values.quantile([0.5, 0.25, 0.75])
    ]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def narrowing_said(frame: pd.DataFrame) -> str:
    """What the narrowed spaces held."""
    own = of_cell(frame, "macro_warm", search_macro.OURS, fingerprint(search_macro.OPTIONS))
    if own.empty:
        return ""
    return (
        f"Narrowed spaces have {own['share'].max():.2%} of the architectures at the most; "
        f"{own['near'].mean():.0%} hold a network within {search_macro.NEAR} point of the optimum, "
        f"{own['holds_top'].mean():.0%} one of the true top {search_macro.TOP}, "
        f"{own['holds_best'].mean():.0%} the best."
    )


def front_table(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a method: hypervolume after growing numbers of networks, and the paired difference to ours."""
    options = fingerprint(search_front.OPTIONS)
    last = f"volume@{search_front.EVALUATED}"
    ours = of_cell(frame, "front", search_front.OURS, options)
    rows = []
    for name in search_front.METHODS:
        own = of_cell(frame, "front", name, options)
        if own.empty:
            continue
        row: dict[str, object] = {"method": name, "seeds": len(own)}
        row |= {
            f"volume after {n}": f"{own[f'volume@{n}'].mean():.4f} ± {own[f'volume@{n}'].std():.4f}"
            for n in search_front.AT
        }
        seeds = own.index.intersection(ours.index)
        if name != search_front.OURS and len(seeds):
            found = paired(ours.loc[seeds, last], own.loc[seeds, last])
            row["ours less theirs"] = f"{found.mean:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
        row["seconds"] = round(float(own["seconds"].median()), 1)
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def write_tables(frame: pd.DataFrame, quick: bool) -> None:
    """Print all tables that there are runs for; unless quick, write them."""
    top = (
        f"NAS-Bench-Macro, `mean_acc`, {search_macro.LABELS} labels, none of the true top 3 among them: distinct "
        "networks evaluated after the labels, median and quartiles over seeds; searches end after "
        f"{search_macro.MOST:,}. Ratios: median over seeds with a 95 % bootstrap interval. `TPE, none twice`, "
        "evolution and random are this toolkit's samplers, which never repeat a network; what Optuna's own TPE repeats "
        "costs it nothing."
    )
    warm, cold = macro_table(frame, True), macro_table(frame, False)
    if len(warm):
        write("search_macro", warm, quick=quick, note=f"{top} {narrowing_said(frame)}")
    if len(cold):
        note = "The same searches without labels; in the ratios our search is charged for its 100 labels."
        write("search_macro_cold", cold, quick=quick, note=note)
    front = front_table(frame)
    if len(front):
        note = (
            "OFA-MobileNetV3, `acc` against `latency_npu` as graph encoders fitted on all 3,000 rows predict them: "
            f"hypervolume of the first networks, {search_front.START} random ones included; losses scaled over the "
            "3,000 rows, reference (1.1, 1.1). Mean and standard deviation; differences with a 95 % bootstrap interval."
        )
        write("search_front", front, quick=quick, note=note)
    options = fingerprint(search_overhead.OPTIONS)
    overhead = search_overhead.table(frame, options, of_cell)
    if len(overhead):
        said = search_overhead.workers_said(frame, options, of_cell)
        write("search_overhead", overhead, quick=quick, note=f"{search_overhead.NOTE} {said} {machine()}")
