"""Does explaining invalid fusion groups help a search? Each search with each split, beside the exact optimum.

python -m benchmarks.fusion_guidance [--quick]         all tables; what is in results/fusion_guidance_runs.csv stays
python -m benchmarks.fusion_guidance --part explainers rectify rates: how often the first cut leaves valid groups
python -m benchmarks.fusion_guidance --part plans      equal distinct plans, identical initial plans
python -m benchmarks.fusion_guidance --part seconds    equal seconds, the fit of classifier and explainer counted
python -m benchmarks.fusion_guidance --part table      remake the tables from the runs

EfficientNet-B3 at 300 px, 8 bit, folded, line buffers (LBDF). 256 KiB and 5,000 plans is the setting of Mills et al.,
"Applying Graph Explanation to Operator Fusion" (arXiv 2501.00636), Table II. All searches begin with the same 100 plans
for a seed. ``random3`` names three operations by chance, as many as an explanation: what an explainer does better than
``random3`` it owes to what it knows, not to having three cuts to choose from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pandas as pd
import torch

from autobuild.cost.fusion import GroupCosts
from autobuild.cost.fusion.baselines.explainers import (
    ExplainedSplitter,
    ValidityClassifier,
    fit_classifier,
    rectify_rate,
)
from autobuild.cost.fusion.baselines.group_splitting import SPLITTERS, Splitter, cuts_at
from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.partition.exact import exact_partition
from autobuild.cost.fusion.partition.partition import group_dram
from autobuild.cost.fusion.partition.solver import EXPLAINER_SPLITS, SEARCHES, SPLITS, solve
from autobuild.cost.fusion.partition.topology import Topology
from benchmarks.fusion import network
from benchmarks.report import RESULTS, arguments, machine, write
from benchmarks.runs import Run, Runs

NETWORK, SCHEME = "efficientnet_b3", "lbdf"
PLANS = {2**20: (1000, 10), 2**21: (1000, 10), 2**18: (5000, 10)}  # buffer -> distinct plans of a search, seeds
SECONDS, SECONDS_BUFFER, SECONDS_SEEDS = 10.0, 2**20, 3
TRAINING_S, GROUPS = 30.0, 200
# Searches and splits of the paper: MB without and with explanation. Its accounting leaves out what can never fuse.
PAPER = {"random": "172.8 -> 162.8", "local": "90.5 -> 73.6", "nsga2": "77.3 -> 61.3"}
# It fits a mask for each group anew, which takes too long for so many plans: in the table of equal seconds only.
SLOW = ("gnnexplainer",)
FILE = RESULTS / "fusion_guidance_runs.csv"


@cache
def costs_at(buffer: int) -> GroupCosts:
    """Group costs, shared by all runs at a buffer: none of them pays for another's, since plans are counted."""
    return GroupCosts(network(NETWORK), buffer, SCHEME)


@cache
def predictor_at(buffer: int) -> ValidityClassifier:
    """The classifier of a buffer."""
    return fit_classifier(costs_at(buffer), seed=0, time_limit_s=TRAINING_S * 2 / 3)


@cache
def splitter_at(buffer: int, split: str) -> Splitter:
    """A splitter; explainers are fitted once a buffer, and explain each group once."""
    if split in SPLITTERS:
        return SPLITTERS[split]
    return ExplainedSplitter(costs_at(buffer), split, 0, TRAINING_S, predictor_at(buffer))


def missing(runs: Runs, wanted: Iterator[Run]) -> Iterator[Run]:
    """Runs that are not there yet."""
    done = runs.done()
    return (run for run in wanted if run not in done)


def optimum(runs: Runs, buffer: int) -> float:
    """DRAM bytes of the best partition."""
    run = Run(f"{NETWORK} {buffer}", 0, "exact", SCHEME)
    if run not in runs.done():
        found = exact_partition(costs_at(buffer))
        runs.add(run, {"dram": found.dram_bytes, "optimal": found.status == "optimal", "seconds": found.seconds})
    frame = runs.read()
    own = frame[(frame["cell"] == run.cell) & (frame["method"] == "exact") & (frame["metric"] == "dram")]
    return float(own["value"].iloc[0])


def explainers(runs: Runs, buffers: list[int], groups: int) -> None:
    """Rectify rates on invalid groups that the classifier was not fitted on."""
    wanted = (Run(f"{NETWORK} {b}", 0, split, f"rectify {groups}") for b in buffers for split in (*SPLITS, "any cut"))
    for run in missing(runs, wanted):
        buffer = int(run.cell.split()[1])
        costs, classifier = costs_at(buffer), predictor_at(buffer)
        held_out = classifier.held_out[:groups]
        if run.method == "any cut":
            runs.add(run, {"rate": possible(costs, held_out), "groups": len(held_out)})
            continue
        splitter = splitter_at(buffer, run.method)
        found = {"rate": rectify_rate(costs, splitter, held_out), "groups": len(held_out)}
        if isinstance(splitter, ExplainedSplitter):
            found |= {
                "accuracy": classifier.accuracy, "invalid": classifier.share_invalid, "auc": classifier.auc,
                "training": splitter.training_seconds, "explaining": splitter.explaining_seconds / len(held_out),
            }  # fmt: skip
        runs.add(run, found)
        print(run.cell, run.method, found, flush=True)


def possible(costs: GroupCosts, groups: tuple[int, ...]) -> float:
    """Share of groups that some cut leaves valid."""
    topology = Topology.of(costs)

    def valid(pieces: tuple[int, ...]) -> bool:
        return all(group_dram(costs, piece) >= 0 for piece in pieces)

    return sum(any(valid(cut) for i in bits(group) for cut in cuts_at(topology, group, i)) for group in groups) / len(
        groups
    )


def plans(runs: Runs, budgets: dict[int, tuple[int, int]]) -> None:
    """Equal numbers of distinct plans."""
    splits = [split for split in SPLITS if split not in SLOW]
    wanted = (
        Run(f"{NETWORK} {buffer}", seed, f"{search}/{split}", f"plans {budget}")
        for buffer, (budget, seeds) in budgets.items()
        for seed in range(seeds)
        for search in SEARCHES
        for split in splits
    )
    for run in missing(runs, wanted):
        buffer, budget = int(run.cell.split()[1]), int(run.options.split()[1])
        search, split = run.method.split("/")
        found = solve(costs_at(buffer), search, splitter_at(buffer, split), run.split, 3600, budget)
        runs.add(run, {"dram": found.dram_bytes, "plans": found.plans, "seconds": found.seconds})
        print(run.cell, run.method, run.split, f"{found.dram_bytes / 1e6:.2f} MB {found.seconds:.1f} s", flush=True)


def seconds(runs: Runs, buffer: int, limit: float, seeds: int) -> None:
    """Equal seconds from nothing: group costs are computed anew, explainers fitted within the time."""
    wanted = (
        Run(f"{NETWORK} {buffer}", seed, f"{search}/{split}", f"seconds {limit:g}")
        for seed in range(seeds)
        for search in SEARCHES
        for split in SPLITS
    )
    for run in missing(runs, wanted):
        search, split = run.method.split("/")
        costs = GroupCosts(network(NETWORK), buffer, SCHEME)
        found = solve(costs, search, split, run.split, limit, budget=10**6)
        runs.add(run, {"dram": found.dram_bytes, "plans": found.plans, "seconds": found.seconds})
        print(run.cell, run.method, run.split, f"{found.dram_bytes / 1e6:.2f} MB {found.plans} plans", flush=True)


def guidance_table(runs: Runs, kind: str) -> pd.DataFrame:
    """Median gap to the optimum of every search and split, and the share of the random split's gap that it closes.

    Where the random split is within 1 % there is no gap to speak of.
    """
    frame = runs.read()
    own = frame[frame["options"].astype(str).str.startswith(kind) & frame["method"].str.contains("/")]
    rows = []
    for (cell, options), part in own.groupby(["cell", "options"], sort=False):
        buffer = int(str(cell).split()[1])
        best = optimum(runs, buffer)
        drams = part[part["metric"] == "dram"].pivot(index="split", columns="method", values="value")
        others = part.pivot(index=["method", "split"], columns="metric", values="value")
        for search in SEARCHES:
            # Only seeds that every split has run: a benchmark that was stopped compares like with like.
            own_splits = [split for split in SPLITS if kind != "plans" or split not in SLOW]
            methods = [f"{search}/{split}" for split in own_splits]
            if not set(methods) <= set(drams) or drams[methods].dropna().empty:
                continue
            medians = drams[methods].dropna().median()
            base = medians[f"{search}/random"] / best - 1
            for split, method in zip(own_splits, methods, strict=True):
                gap = medians[method] / best - 1
                got = others.loc[method].loc[drams[methods].dropna().index]
                paper = PAPER[search] if (buffer, split, kind) == (2**18, "rg", "plans") else ""
                rows.append(
                    (buffer // 1024, options, search, split, len(got), best / 1e6, medians[method] / 1e6,
                     f"{gap:.2%}", f"{1 - gap / base:.0%}" if base > 0.01 and split != "random" else "",
                     got["plans"].median(), got["seconds"].median(), paper)
                )  # fmt: skip
    columns = ["buffer (KiB)", "budget", "search", "split", "seeds", "optimum (MB)", "median (MB)", "above the optimum",
               "gap closed", "plans", "seconds", "paper (MB)"]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    return table if kind == "plans" else table.drop(columns="paper (MB)")


def explainers_table(runs: Runs) -> pd.DataFrame:
    """Rectify rates."""
    frame = runs.read()
    own = frame[frame["options"].astype(str).str.startswith("rectify")]
    rows = []
    for (cell, split), part in own.groupby(["cell", "method"], sort=False):
        got = dict(zip(part["metric"], part["value"], strict=True))
        learnt = split in EXPLAINER_SPLITS
        rows.append(
            (int(str(cell).split()[1]) // 1024, split, int(got["groups"]), f"{got['rate']:.1%}",
             f"{got['accuracy']:.1%} (commoner answer {max(got['invalid'], 1 - got['invalid']):.1%})" if learnt else "",
             got.get("auc"), got.get("training"), 1000 * got["explaining"] if learnt else None)
        )  # fmt: skip
    columns = ["buffer (KiB)", "split", "invalid groups", "rectify rate", "classifier: accuracy", "AUC", "training (s)",
               "ms a group"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def main() -> None:
    """Run what is missing, and print the tables."""
    given = arguments(__doc__ or "")
    quick, part = given.quick, given.part
    torch.set_num_threads(1)
    runs = Runs(FILE if not quick else RESULTS / ".fusion_guidance_quick.csv")
    budgets = {2**20: (30, 1)} if quick else PLANS
    steps: dict[str, Callable[[], None]] = {
        "explainers": lambda: explainers(runs, list(budgets), 20 if quick else GROUPS),
        "plans": lambda: plans(runs, budgets),
        "seconds": lambda: seconds(runs, SECONDS_BUFFER, *((1.0, 1) if quick else (SECONDS, SECONDS_SEEDS))),
    }
    for name, step in steps.items():
        if part in (None, name):
            step()
    about = f"EfficientNet-B3, 300 px, 8 bit, folded, LBDF; medians over seeds. {machine()}"
    tables = {
        "explainers": ("fusion_explainers", lambda: explainers_table(runs)),
        "plans": ("fusion_guidance", lambda: guidance_table(runs, "plans")),
        "seconds": ("fusion_guidance_seconds", lambda: guidance_table(runs, "seconds")),
    }
    for name, (file, table) in tables.items():
        if part in (None, "table", name) and not (made := table()).empty:
            write(file, made, quick=quick, note=about)
    if quick:
        runs.path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
