"""Layer fusion: how many DRAM bytes the best partition saves, for every network, scheme and buffer, and how fast.

python -m benchmarks.fusion [--quick]          all three tables; what is in results/fusion_runs.csv is not run again
python -m benchmarks.fusion --part exact       the exact optimum: networks x buffers x schemes
python -m benchmarks.fusion --part searches    random, local search and NSGA-II with every split that needs no fit,
                                               beside the optimum: networks x buffers x schemes
python -m benchmarks.fusion --part speed       group costs a second, seconds to the optimum
python -m benchmarks.fusion --part table       remake the tables from the runs

Operations that fit in a buffer in no way count with weights, input and output, too little: their number stands beside.
8 bit weights and activations, batch norms and activations folded, batch of one. Networks are architectures of
torchvision and timm (extra ``zoo``), and one of the space ``ofa_mbv3``. MB are 10^6 bytes, KiB 1,024.
"""

from __future__ import annotations

import itertools
import random
import statistics
import time
import warnings
from functools import cache

import pandas as pd

import autobuild as ab
from autobuild.cost.fusion import FusionGraph, GroupCosts, fold
from autobuild.cost.fusion.baselines.group_splitting import SPLITTERS
from autobuild.cost.fusion.fusing import unfused_dram_bytes
from autobuild.cost.fusion.partition.solver import SEARCHES, solve
from autobuild.cost.fusion.partition.topology import Topology
from benchmarks.report import RESULTS, arguments, machine, write
from benchmarks.runs import Run, Runs

OFA = "e3k3-e4k5-e6k3-e3k7|e6k5-e6k5-e4k3-e3k3|e3k3-e6k7-e4k5-e6k3|e4k7-e4k7-e6k5-e3k3|e6k3-e6k3-e4k5-e6k7"
NETWORKS = {
    "resnet18": 224, "resnet34": 224, "resnet50": 224, "resnet101": 224, "timm/mobilenetv1_100": 224,
    "mobilenet_v2": 224, "mobilenet_v3_small": 224, "mobilenet_v3_large": 224, "efficientnet_b0": 224,
    "efficientnet_b1": 240,
    "efficientnet_b2": 260, "efficientnet_b3": 300, "squeezenet1_1": 224, "inception_v3": 299, "densenet121": 224,
    "deeplabv3_resnet50": 520, "timm/vit_tiny_patch16_224": 224, "ofa_mbv3": 224,
}  # fmt: skip
BUFFERS = tuple(2**power for power in range(18, 23))
SCHEMES = {"lbdf": ("lbdf", False), "brr": ("brr", False), "mixed": ("mixed", False), "recompute": ("mixed", True)}
LIMIT_S, BUDGET, SEEDS, SEARCH_LIMIT_S = 60.0, 1000, 1, 60.0
FILE = RESULTS / "fusion_runs.csv"


@cache
def network(name: str) -> FusionGraph:
    """A network, folded."""
    size = NETWORKS[name]
    if name == "ofa_mbv3":
        return fold(ab.graph_of(ab.space(name), OFA))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fold(ab.graph_of(ab.load_zoo(name).eval(), (1, 3, size, size), name=name))


def exact(runs: Runs, names: list[str], buffers: tuple[int, ...]) -> None:
    """The optimum of every network, buffer and scheme that the runs lack."""
    done = runs.done()
    for buffer in by_interest(buffers):
        for name in names:
            alone = Run(f"{name} {buffer}", 0, "unfused", "exact")
            if alone not in done:
                runs.add(alone, {"dram": unfused_dram_bytes(GroupCosts(network(name), buffer))})
            for label, (scheme, recompute) in SCHEMES.items():
                run = Run(f"{name} {buffer}", 0, label, "exact")
                if run in done:
                    continue
                graph = network(name)
                start = time.perf_counter()
                costs = GroupCosts(graph, buffer, scheme, recompute)
                found = solve(costs, time_limit_s=LIMIT_S)
                seconds = time.perf_counter() - start
                extra = sum(costs(group).extra_macs for group in found.groups)
                fallback = sum(
                    costs(group).dram_bytes for group in found.groups if group & costs.fallback
                )  # what the paper leaves out
                runs.add(
                    run,
                    {
                        "dram": found.dram_bytes, "bound": found.lower_bound, "optimal": found.status == "optimal",
                        "groups": len(found.groups), "seconds": seconds, "extra_macs": extra, "macs": graph.macs,
                        "unfused": graph.unfused_bytes, "floor": graph.floor_bytes, "separate": graph.separate_bytes,
                        "fallback": fallback, "unschedulable": len(found.unschedulable), "operations": len(graph),
                    },
                )  # fmt: skip
                print(
                    f"{name} {buffer} {label}: {found.dram_bytes / 1e6:.2f} MB {found.status} {seconds:.2f} s",
                    flush=True,
                )


def searches(runs: Runs, names: list[str], buffers: tuple[int, ...], seeds: int, budget: int) -> None:
    """Every search with every split that needs no fit; group costs are shared by what a cell compares."""
    done = runs.done()
    methods = list(itertools.product(range(seeds), SEARCHES, SPLITTERS))
    for (label, (scheme, recompute)), buffer, name in itertools.product(SCHEMES.items(), by_interest(buffers), names):
        wanted = {Run(f"{name} {buffer}", seed, f"{search}/{split}", f"{label} {budget}"): (search, split)
                  for seed, search, split in methods}  # fmt: skip
        costs = GroupCosts(network(name), buffer, scheme, recompute) if set(wanted) - done else None
        for run, (search, split) in wanted.items():
            if costs is None or run in done:
                continue
            found = solve(costs, search, split, seed=run.split, budget=budget, time_limit_s=SEARCH_LIMIT_S)
            runs.add(run, {"dram": found.dram_bytes, "plans": found.plans, "seconds": found.seconds})
        if costs is not None:
            print(f"{name} {buffer} {label}", flush=True)


def by_interest(buffers: tuple[int, ...]) -> list[int]:
    """The buffer that the README shows comes first."""
    return sorted(buffers, key=lambda size: abs(size - 2**20))


def exact_table(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a network and buffer."""
    own = frame[frame["options"] == "exact"]
    rows = []
    order = {f"{name} {buffer}": place for place, (name, buffer) in enumerate(itertools.product(NETWORKS, BUFFERS))}
    for cell, part in sorted(own.groupby("cell"), key=lambda pair: order[str(pair[0])]):
        name, buffer = str(cell).rsplit(" ", 1)
        wide = part.pivot(index="method", columns="metric", values="value")
        first, unfused = wide.loc[next(iter(SCHEMES))], wide.loc["unfused", "dram"]
        row = {
            "network": f"{name}, {NETWORKS[name]} px", "buffer (KiB)": int(buffer) // 1024,
            "unfused (MB)": unfused / 1e6, "floor (MB)": first["floor"] / 1e6,
        }  # fmt: skip
        for label in SCHEMES:
            if label in wide.index:
                got = wide.loc[label]
                open_gap = "" if got["optimal"] else f" (bound {got['bound'] / 1e6:.2f})"
                row[f"{label} (MB)"] = f"{got['dram'] / 1e6:.2f}{open_gap}, {got['dram'] / unfused - 1:+.1%}"
                row[f"{label} (s)"] = f"{got['seconds']:.2f}"
        row["operations that do not fit"] = int(first["unschedulable"])
        if "recompute" in wide.index:
            row["MACs computed twice"] = f"{wide.loc['recompute', 'extra_macs'] / first['macs']:.1%}"
        rows.append(row)
    return pd.DataFrame(rows)


def searches_table(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a network, buffer and scheme: how far above the optimum each search with each split ends."""
    own = frame[frame["options"].astype(str).str.fullmatch(r"\w+ \d+") & frame["method"].str.contains("/")]
    known = frame[frame["options"] == "exact"].pivot(index=["cell", "method"], columns="metric", values="value")
    order = {f"{name} {buffer}": place for place, (name, buffer) in enumerate(itertools.product(NETWORKS, BUFFERS))}
    methods = [f"{search}/{split}" for search in SEARCHES for split in SPLITTERS]
    rows = []
    for (cell, options), part in sorted(own.groupby(["cell", "options"]), key=lambda pair: order[pair[0][0]]):
        label, budget = str(options).split()
        best = known.loc[(cell, label)]
        name, buffer = str(cell).rsplit(" ", 1)
        row = {"network": name, "buffer (KiB)": int(buffer) // 1024, "scheme": label,
               "unfused (MB)": known.loc[(cell, "unfused"), "dram"] / 1e6, "floor (MB)": best["floor"] / 1e6,
               "optimum (MB)": f"{best['dram'] / 1e6:.2f}" + ("" if best["optimal"] else " (not proven)")}  # fmt: skip
        median = part.groupby(["method", "metric"])["value"].median().unstack()
        for method in methods:
            if method in median.index:
                row[method] = f"{median.loc[method, 'dram'] / best['dram'] - 1:+.1%}"
        row |= {"plans": int(budget), "seconds, optimum": f"{best['seconds']:.2f}",
                "seconds, search": f"{median['seconds'].median():.2f}"}  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows)


def random_groups(costs: GroupCosts, count: int, seed: int) -> list[int]:
    """Distinct connected groups that a partition may hold, of one to thirty operations."""
    rng, order, graph = random.Random(seed), Topology.of(costs), costs.graph
    found: dict[int, None] = {}
    while len(found) < count:
        first, size = rng.randrange(len(graph)), rng.randint(1, 30)
        mask = 0
        for piece in order.pieces(((1 << size) - 1) << first & graph.full):
            mask = piece
            found[mask] = None
            if len(found) == count:
                break
    return list(found)


def speed(quick: bool) -> pd.DataFrame:
    """Group costs a second, cold and known, and seconds to the optimum; medians of several runs."""
    rows = []
    repeats = 3 if quick else 5
    for name in ("resnet50", "efficientnet_b3"):
        graph = network(name)
        # A network has only so many groups that are runs of operations: all that are drawn are distinct.
        masks = random_groups(GroupCosts(graph, 2**20), 1500 if name == "resnet50" else 4000, seed=0)
        for scheme in ("lbdf", "mixed"):
            cold, warm = [], []
            for _ in range(repeats):
                costs = GroupCosts(graph, 2**20, scheme)
                start = time.perf_counter()
                for mask in masks:
                    costs.dram(mask)
                cold.append(len(masks) / (time.perf_counter() - start))
                many = masks * 50
                start = time.perf_counter()
                for mask in many:
                    costs.dram(mask)
                warm.append(len(many) / (time.perf_counter() - start))
            rows.append((f"{name}, {scheme}: group costs a second, cold", statistics.median(cold), ">= 10,000"))
            rows.append((f"{name}, {scheme}: group costs a second, known", statistics.median(warm), ">= 500,000"))
    for name in ("resnet50", "efficientnet_b3"):
        for scheme, wanted in (("lbdf", "<= 1"), ("mixed", "<= 5")):
            took = [_solved(network(name), 2**20, scheme) for _ in range(repeats)]
            rows.append((f"{name}, {scheme}, 1 MiB: seconds to the optimum", statistics.median(took), wanted))
    graph = network("ofa_mbv3")
    for scheme in ("lbdf", "mixed"):
        cold_ms, warm_ms = [], []
        for _ in range(repeats):
            start = time.perf_counter()
            costs = GroupCosts(graph, 2**20, scheme)
            solve(costs)
            middle = time.perf_counter()
            solve(costs)
            cold_ms.append(1000 * (middle - start))
            warm_ms.append(1000 * (time.perf_counter() - middle))
        rows.append((f"20-layer OFA network, {scheme}, 1 MiB: ms, cold", statistics.median(cold_ms), "<= 100"))
        rows.append(
            (f"20-layer OFA network, {scheme}, 1 MiB: ms, group costs known", statistics.median(warm_ms), "<= 20")
        )
    return pd.DataFrame(rows, columns=["what", "value", "aim"])


def _solved(graph: FusionGraph, buffer: int, scheme: str) -> float:
    start = time.perf_counter()
    solve(GroupCosts(graph, buffer, scheme))
    return time.perf_counter() - start


def main() -> None:
    """Run what is missing, and print the tables."""
    given = arguments(__doc__ or "")
    quick, part = given.quick, given.part
    runs = Runs(FILE if not quick else RESULTS / ".fusion_quick.csv")
    if part in (None, "exact") or (quick and part == "searches"):
        exact(runs, list(NETWORKS)[:2] if quick else list(NETWORKS), BUFFERS[2:3] if quick else BUFFERS)
    if part in (None, "searches"):
        if quick:
            searches(runs, ["resnet18"], (2**20,), 1, 50)
        else:
            searches(runs, list(NETWORKS), BUFFERS, SEEDS, BUDGET)
    frame = runs.read()
    if quick:
        runs.path.unlink(missing_ok=True)
    if part in (None, "exact", "table"):
        table, note = exact_table(frame), f"8 bit, folded; at most {LIMIT_S:.0f} s each. {machine()}"
        write("fusion", table, quick=quick, note=note)
        write("fusion_readme", table[table["buffer (KiB)"] == 1024], quick=quick, note=note)
    if part in (None, "searches", "table") and len(searches_table(frame)):
        note = (
            "8 bit, folded. Searches: bytes above the optimum after so many distinct plans, or a minute; group costs "
            f"are shared within a row, so seconds of searches are medians that flatter them. {machine()}"
        )
        write("fusion_searches", searches_table(frame), quick=quick, note=note)
    if part in (None, "speed"):
        write("fusion_speed", speed(quick), quick=quick, note=f"Medians of several runs. {machine()}")


if __name__ == "__main__":
    main()
