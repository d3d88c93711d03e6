"""The figures that the README shows, read from the tables of all benchmarks.

python -m benchmarks.summary

Nothing is measured here: each row names the command that measures it, and ``docs/measured.md`` has the whole tables.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from benchmarks.report import RESULTS, write

Row = tuple[str, str, str, str]


def rows() -> list[Row]:
    """What, measured here, compared with, and the command."""
    return [row for part in (_construct, _search, _overhead, _fusion, _latency) for row in part(_read)]


def _read(name: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / f"{name}.csv", dtype=str, keep_default_na=False)


Read = Callable[[str], pd.DataFrame]


def _construct(read: Read) -> list[Row]:
    frame, found = read("construct_readme").set_index(["data, labels", "measure"]), []
    for data, what in _LABELLED.items():
        row = frame.loc[(data, "SRCC")]
        beside = f"best baseline, chosen with hindsight: {row['best baseline']}"
        found.append((f"{what}: rank correlation on other networks", row["autobuild"], beside, "construct"))
    data = "macro `mean_acc`, 100"
    row = frame.loc[(data, "true rank, best of 10 built alone")]
    what = f"{_LABELLED[data]}: true rank among 6,561 of the best of 10 built"
    found.append((what, row["autobuild"], f"best baseline: {row['best baseline']}; aim: 1", "construct"))
    return found


_LABELLED = {
    "mbv3 `acc`, 300": "OFA-MobileNetV3, 300 accuracies",
    "accel_top1 `val_top1`, 100": "Accel-NASBench, 100 accuracies",
    "macro `mean_acc`, 100": "NAS-Bench-Macro, 100 accuracies",
}


def _search(read: Read) -> list[Row]:
    warm, cold, front = (read(f"search_{name}").set_index("method") for name in ("macro", "macro_cold", "front"))
    top, volume, tpe = "evaluations to a top 3", "volume after 250", "TPE (Optuna's own)"

    def beside(frame: pd.DataFrame, column: str, *names: str) -> str:
        return ", ".join(f"{name} {frame.loc[name, column].split(' ')[0]}" for name in names)

    ours = warm.loc["narrowed, guided", top].split(" ")[0]
    return [
        (f"{_LABELLED['macro `mean_acc`, 100']}: further evaluations until one of the true top 3", ours,
         f"with the same labels: {beside(warm, top, tpe, 'evolution', 'random')}; "
         f"without any, from nothing: {beside(cold, top, tpe, 'evolution')}", "search"),
        ("OFA-MobileNetV3, accuracy and latency: hypervolume after 250 evaluations", front.loc["guided", volume],
         beside(front, volume, tpe, "NSGA-II", "stage-level mutation"), "search"),
    ]  # fmt: skip


def _overhead(read: Read) -> list[Row]:
    frame = read("search_overhead")
    most = {n: frame[frame["trials in the study"] == n]["added"].astype(float).max() for n in ("1000", "10000")}
    return [("Milliseconds added to a trial of bare Optuna, SQLite, 1,000 and 10,000 trials there: the slowest sampler",
             f"{most['1000']:g}, {most['10000']:g}", "aims: 20, 50", "search")]  # fmt: skip


def _fusion(read: Read) -> list[Row]:
    frame, found = read("fusion_readme").set_index("network"), []
    for network in ("resnet50, 224 px", "efficientnet_b3, 300 px"):
        row = frame.loc[network]
        beside = f"not fused {float(row['unfused (MB)']):.2f}; inputs read twice {row['recompute (MB)']}"
        what = f"{network}, 8 bit, buffer of 1 MiB: least DRAM traffic (MB), against not fused"
        found.append((what, row["mixed (MB)"], beside, "fusion"))
    return found


def _latency(read: Read) -> list[Row]:
    frame = read("latency")
    own = frame[(frame["count"] == "context") & (frame["calibrated"] == "yes")].set_index("space")
    return [
        (f"Latency looked up by kernel, {row['networks']} networks of {space}: within 10 % of the measured",
         f"{float(row['within 10 %']):.0%}", f"rank correlation {float(row['SRCC']):.3f}", "latency")
        for space, row in own.iterrows()
    ]  # fmt: skip


def table() -> pd.DataFrame:
    """The rows as a frame."""
    frame = pd.DataFrame(rows(), columns=["what", "measured", "compared with", "command"])
    return frame.assign(command=[f"`python -m benchmarks.{name}`" for name in frame["command"]])


if __name__ == "__main__":
    write("summary", table(), quick=False)
