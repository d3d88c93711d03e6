"""From the runs file to the tables and the plot of ``benchmarks.construct``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.cells import BUDGETS, BUILT, CELLS
from benchmarks.construct_plot import draw
from benchmarks.methods import METHODS, fingerprint
from benchmarks.paired import paired
from benchmarks.report import RESULTS, machine, write
from benchmarks.searches import SEARCH_OPTIONS, SEARCHES

OURS = "ours"
COLUMNS = [*METHODS, *SEARCHES]
SECONDS_NOTE = (
    "Median CPU seconds of one run, fit and build, one thread (all but `ours`: by the clock, other work beside it). "
    "The mean of two predictors reuses their fits: add them."
)


@dataclass(frozen=True)
class Measure:
    """One kind of number.

    Attributes:
        what: What the table calls it.
        sign: 1 where larger is better, -1 where smaller is.
        middle: ``"mean"`` (with standard deviation) or ``"median"`` (with quartiles).
        judges: False for a number that stands in for the truth.
    """

    what: str
    sign: int
    middle: str
    judges: bool = True


MEASURES = {
    "srcc": Measure("SRCC", 1, "mean"),
    "rank_seen": Measure(f"true rank, best of {BUILT} built and the labelled", -1, "median"),
    "rank_built": Measure(f"true rank, best of {BUILT} built alone", -1, "median"),
    "proxy": Measure("first built, as a panel predicts it (no truth)", 1, "mean", judges=False),
}


def current(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the methods as their options are today; searches' ranks beside the cells of equal budgets."""
    known = {name: method.fingerprint for name, method in METHODS.items()}
    known |= dict.fromkeys(SEARCHES, fingerprint(SEARCH_OPTIONS))
    kept = runs[runs["options"] == runs["method"].map(known)].copy()
    for budget in BUDGETS:
        rows = kept["metric"] == f"rank@{budget}"
        kept.loc[rows, "cell"] = f"macro_{budget - BUILT}"
        kept.loc[rows, "metric"] = "rank_seen"
    return kept


def by_split(runs: pd.DataFrame, cell: str, metric: str) -> pd.DataFrame:
    """One row a split, one column a method, in the table's order."""
    rows = runs[(runs["cell"] == cell) & (runs["metric"] == metric)]
    table = rows.pivot_table(index="split", columns="method", values="value", aggfunc="first")
    return table[[name for name in COLUMNS if name in table.columns]]


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a cell and measure, methods as columns: mean and standard deviation, or median and quartiles."""
    rows = []
    for cell in CELLS.values():
        for metric, measure in MEASURES.items():
            table = by_split(runs, cell.name, metric)
            if table.empty:
                continue
            row = {"cell": cell.name, "target": cell.target, "labels": cell.n, "measure": measure.what}
            rows.append(row | {name: _shown(table[name].dropna(), measure, cell.splits) for name in table})
    names = ["cell", "target", "labels", "measure", *COLUMNS]
    return pd.DataFrame([{name: row.get(name, "") for name in names} for row in rows], columns=names)


def _shown(values: pd.Series[float], measure: Measure, splits: int) -> str:
    few = "" if len(values) >= splits else f" ({len(values)} of {splits} splits)"
    if measure.middle == "median":
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        return f"{middle:g} ({low:.3g} to {high:.3g}){few}"
    return f"{values.mean():.4f} ± {values.std(ddof=0):.4f}{few}"


def comparisons(runs: pd.DataFrame) -> pd.DataFrame:
    """Ours less every baseline on the splits that both have; positive is better for ours, ranks included.

    ``best`` marks the baseline that comes out best against ours in its cell, chosen with hindsight: one of those that
    learn from the same labels, and one among the searches, which see what they evaluated before they ask again.
    """
    rows = []
    for cell in CELLS.values():
        for metric, measure in MEASURES.items():
            table = by_split(runs, cell.name, metric)
            if OURS not in table:
                continue
            own = []
            for name in table.columns.drop(OURS):
                both = table[[OURS, name]].dropna()
                if len(both):
                    found = paired(measure.sign * both[OURS], measure.sign * both[name])
                    own.append((cell.name, measure.what, name, found.splits, both[OURS].mean(), both[name].mean(),
                                found.mean, found.low, found.high, not found.wholly_below_zero))  # fmt: skip
            kinds = [[row for row in own if (row[2] in SEARCHES) == searching] for searching in (False, True)]
            best = [min(kind, key=lambda row: row[6])[2] for kind in kinds if kind]
            rows += [(*row, row[2] in best, measure.judges) for row in own]
    names = ["cell", "measure", "baseline", "splits", "ours", "theirs", "difference", "low", "high", "reached", "best"]
    return pd.DataFrame(rows, columns=[*names, "judges"])


def verdict(compared: pd.DataFrame) -> str:
    """Whether the whole is reached: no interval wholly below zero, and above zero on average over cells."""
    best = compared[compared["best"] & compared["judges"]]
    if best.empty:
        return "No result of the toolkit's own method is there yet."
    searching = best["baseline"].isin(SEARCHES)
    same, searches = (_below(best[rows]) for rows in (~searching, searching))
    means = best[best["measure"] == MEASURES["srcc"].what]["difference"]
    said = f"Mean over {len(means)} cells of ours less the best baseline, SRCC: {means.mean():+.4f}. "
    said += f"Intervals wholly below zero, of baselines given the same labels: {', '.join(same) or 'none'}. "
    said += f"Reached: {'yes' if not same and means.mean() > 0 else 'no'}. "
    return said + (
        f"Of searches with as many evaluations, each chosen after the ones before: {', '.join(searches) or 'none'}."
    )


def _below(rows: pd.DataFrame) -> list[str]:
    lost = rows[~rows["reached"]]
    return [f"{cell} ({measure})" for cell, measure in zip(lost["cell"], lost["measure"], strict=True)]


def intervals(runs: pd.DataFrame) -> pd.DataFrame:
    """Coverage and width of the 90 % intervals, and the time of fit, explain and build, for ours."""
    rows = []
    for cell in CELLS.values():
        own = runs[(runs["cell"] == cell.name) & (runs["method"] == OURS)]
        table = own.pivot_table(index="split", columns="metric", values="value", aggfunc="first")
        if "coverage" not in table:
            continue
        share, time = table["coverage"], table["seconds"]
        rows.append(
            {
                "cell": cell.name,
                "splits": int(share.notna().sum()),
                "coverage of 90 % intervals": f"{share.mean():.3f} ({share.min():.3f} to {share.max():.3f})",
                "0.85 to 0.95": "yes" if 0.85 <= share.mean() <= 0.95 else "no",
                "mean width": f"{table['width'].mean():.4g}",
                "... / deviation of the labels": f"{(table['width'] / table['label_sd']).mean():.3g}",
                "fit, explain, build (s), median (most)": f"{time.median():.1f} ({time.max():.1f})",
            }
        )
    return pd.DataFrame(rows)


def seconds(runs: pd.DataFrame) -> pd.DataFrame:
    """Median seconds of one run, methods as columns."""
    rows = runs[runs["metric"] == "seconds"]
    table = rows.pivot_table(index="cell", columns="method", values="value", aggfunc="median")
    table = table.reindex([name for name in CELLS if name in table.index])
    return table[[name for name in COLUMNS if name in table]].round(2).reset_index()


def short(runs: pd.DataFrame, compared: pd.DataFrame) -> pd.DataFrame:
    """The README's table: ours beside the hindsight-best baseline and a few by name."""
    rows = []
    for cell in CELLS.values():
        for metric, measure in MEASURES.items():
            best = compared[(compared["cell"] == cell.name) & (compared["measure"] == measure.what) & compared["best"]]
            searching = best["baseline"].isin(SEARCHES)
            if best[~searching].empty:
                continue
            table = by_split(runs, cell.name, metric)
            middle = table.median() if measure.middle == "median" else table.mean()
            (row,) = best[~searching].to_dict("records")
            searches = [name for name in table if name in SEARCHES]
            digits = "g" if measure.middle == "median" else ".4f"
            shown = {name: format(middle[name], digits) if name in middle else "" for name in table}
            interval = f"{row['difference']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})"
            rows.append(
                {
                    "data, labels": f"{cell.name.rsplit('_', 1)[0]} `{cell.target}`, {cell.n:,}",
                    "measure": measure.what,
                    "splits": row["splits"],
                    "autobuild": shown[OURS],
                    "best baseline": f"{shown[row['baseline']]} ({row['baseline']})",
                    "difference (95 %)": interval,
                    **{name: shown.get(name, "") for name in ("ridge", "XGBoost", "GP", "hopnorm")},
                    "searches": ", ".join(f"{name} {shown[name]}" for name in searches),
                }
            )
    return pd.DataFrame(rows)


def write_tables(runs: pd.DataFrame, *, quick: bool, part: str = "judged") -> None:
    """Print the tables; unless quick, write them and the plot under ``benchmarks/results``."""
    shown = current(runs)
    rows = "development" if part == "development" else "judged"
    note = (
        f"All rows are {rows} rows (`benchmarks/splits.py`); at 2,700 labels all rows outside the test are learned "
        "from. Mean and standard deviation over splits, of ranks median and quartiles. Searches had as many "
        "evaluations in all as the others have labels and built networks; networks asked for again cost them nothing. "
        f"{machine()}"
    )
    write("construct", summary(shown), quick=quick, note=note)
    compared = comparisons(shown)
    if len(compared):
        best = compared[compared["best"]].drop(columns=["best", "judges"])
        best = best.assign(reached=np.where(best["reached"], "yes", "no"))
        best = best.rename(columns={"baseline": "best baseline", "low": "95 % from", "high": "to"})
        note = (
            f"Differences are ours less the baseline, positive where ours is better, with the 95 % bootstrap interval "
            f"over splits; reached: it is not wholly below zero. {verdict(compared)}"
        )
        print()
        write("construct_paired", best, quick=quick, note=note)
        note = (
            "Means over splits, of ranks medians; the difference is positive where autobuild is better, with its 95 % "
            f"bootstrap interval. The best baseline is chosen with hindsight. {verdict(compared)}"
        )
        write("construct_readme", short(shown, compared), quick=quick, note=note)
        if not quick:
            compared.to_csv(RESULTS / "construct_paired_all.csv", index=False)
    covered = intervals(shown)
    if len(covered):
        print()
        write("construct_intervals", covered, quick=quick)
    print()
    write("construct_seconds", seconds(shown), quick=quick, note=SECONDS_NOTE)
    if not quick:
        draw(shown, RESULTS / "construct_curve.png")
