"""Latency by lookup and by prediction, against networks that were really measured on this machine.

    python -m benchmarks.latency [--quick] [--rounds 5] [--load 2.5] [--table]

Of two spaces, 70 networks each are exported and timed with ONNX Runtime, one pinned thread, in the same rounds as the
kernels that they consist of: a round goes over everything in a random order, whole networks three times as often, so
that what disturbs the machine disturbs both, and drift shows. The first 20 networks of a space calibrate, the other 50
judge. What was timed lies in ``runs/latency/`` and a killed benchmark goes on there; the results for each network are
in ``latency_runs.csv``, from which the tables are made (``--table`` does only that). With ``--load`` it waits while the
system's load average is above that, its own share of about one included.

The latency of a network, and of a kernel, is over its rounds the lower quartile, of a round the 10 % quantile of its
undisturbed passes: what it takes where nothing else wants the machine. Errors against plain medians stand beside it.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import autobuild as ab
from autobuild.cost.latency import (
    Calibration,
    LatencyTable,
    Lookup,
    Operators,
    calibrate,
    choose_networks,
    find_rules,
    rules_frame,
    rules_of,
    to_onnx,
)
from autobuild.cost.latency.lookup import COUNTS
from autobuild.graphs import OperationGraph
from autobuild.rank import srcc
from autobuild.spaces import Architecture
from benchmarks.methods import fingerprint
from benchmarks.report import RESULTS, write
from benchmarks.runs import Run, Runs

SPACES = {"ofa_mbv3": (3, 96, 96), "nas_bench_201": (3, 32, 32)}  # channels, height, width of an input
CALIBRATE, JUDGED, SEED = 20, 50, 0
TESTED = 4  # networks of each space on which fusion rules are found
WHOLE_ROUNDS = 3  # rounds of whole networks for one of their kernels
DESIGNS = (24, 32, 40)  # networks measured on a device of one's own; a fit takes 20 at least
RUNS = RESULTS / "latency_runs.csv"
WORK = Path(__file__).resolve().parents[1] / "runs" / "latency"


def networks(space_name: str, n: int) -> tuple[list[Architecture], list[Operators]]:
    """Distinct architectures of a space in a random order, and their exported networks."""
    space, shape = ab.space(space_name), SPACES[space_name]
    archs = list(dict.fromkeys(space.sample(4 * n, seed=SEED, design="depth")))
    found: dict[str, tuple[Architecture, Operators]] = {}
    for arch in archs:
        network = Operators(to_onnx(space.realise(arch, in_channels=shape[0]), (1, *shape)), arch.text)
        found.setdefault(network.key, (arch, network))
        if len(found) == n:
            break
    return [arch for arch, _ in found.values()], [network for _, network in found.values()]


def measure(n: int, rounds: int, load: float, quick: bool) -> None:
    """Time everything, and write the results for each network."""

    def wait(done: int, total: int) -> None:
        while os.getloadavg()[0] > load:
            time.sleep(10)

    own = {name: networks(name, n) for name in SPACES}
    wholes = [network.whole for _, nets in own.values() for network in nets]
    table = LatencyTable(WORK / ("quick.json" if quick else "fragments.json"))
    evidence = find_rules([network for _, nets in own.values() for network in nets[:TESTED]], table, rounds, wait)
    rules = rules_of(evidence)
    lookups = {count: Lookup(table, rules, count=count, rounds=rounds) for count in COUNTS}
    every = [network for _, nets in own.values() for network in nets]
    sizes = {count: len(lookup.fragments(every)) for count, lookup in lookups.items()}
    fragments = {f.key: f for lookup in lookups.values() for f in lookup.fragments(every)}
    print(f"rules: {', '.join(sorted(rules))}\nfragments: {len(fragments):,} ({sizes}), networks: {len(wholes)}")
    for number in range(1, rounds + 1):
        began = time.perf_counter()
        table.measure(fragments.values(), number, wait, seed=number)
        table.measure(wholes, WHOLE_ROUNDS * number, wait, seed=number)
        print(f"round {number}: {time.perf_counter() - began:.0f} s", flush=True)
    write("latency_rules", rules_frame(evidence), quick=quick)
    _drift(table, fragments, wholes, quick)
    runs = Runs(WORK / "quick.csv" if quick else RUNS)
    for path in [runs.path] if runs.path.exists() else []:
        path.unlink()  # all results are made anew from the table
    for name, (archs, nets) in own.items():
        sums = {count: lookup.sums(nets) for count, lookup in lookups.items()}
        for place, (arch, network) in enumerate(zip(archs, nets, strict=True)):
            options = fingerprint({"arch": arch.text, "shape": SPACES[name], "rounds": rounds})
            found = {"latency_ms": table.time_ms(network.key), "median_ms": table.median_ms(network.key),
                     "spread": table.spread(network.key), "weights_mb": network.weights_mb}  # fmt: skip
            found |= {f"sum_{count}": float(sums[count][place]) for count in COUNTS}
            runs.add(Run(name, place, arch.text, options), found)


def _drift(table: LatencyTable, fragments: dict[str, object], wholes: Sequence[object], quick: bool) -> None:
    """How steady the machine was: each round against the fragments' medians, and how far rounds lie apart."""
    keys = {"kernels": list(fragments), "networks": [whole.key for whole in wholes]}  # type: ignore[attr-defined]
    rows = [
        {"what": what, "fragments": len(own), "rounds": table.rounds(own[0]),
         "spread of rounds, median": float(np.median([table.spread(key) for key in own])),
         "spread, 90 %": float(np.quantile([table.spread(key) for key in own], 0.9)),
         "median / lower quartile": float(np.median([table.median_ms(key) / table.time_ms(key) for key in own]))}
        for what, own in keys.items()
    ]  # fmt: skip
    note = f"rounds against the medians, in order: {', '.join(f'{ratio:.3f}' for ratio in table.drift())}"
    write("latency_drift", pd.DataFrame(rows), quick=quick, note=note)


def results(path: Path) -> dict[str, pd.DataFrame]:
    """For each space a row a network, in order: ``arch`` and its numbers."""
    frame = Runs(path).read()
    wide = frame.pivot(index=["cell", "split", "method"], columns="metric", values="value").reset_index()
    return {str(name): own.sort_values("split").reset_index(drop=True) for name, own in wide.groupby("cell")}


def lookup_table(found: dict[str, pd.DataFrame], calibrating: int) -> pd.DataFrame:
    """Errors of each way to count, on networks that calibrated nothing."""
    rows = []
    for name, own in found.items():
        fitting, judged = own.iloc[:calibrating], own.iloc[calibrating:]
        for count in COUNTS:
            for calibrated in (False, True):
                fitted = Calibration()
                if calibrated:
                    fitted = calibrate(fitting[f"sum_{count}"], fitting["weights_mb"], fitting["latency_ms"])
                predicted = fitted.apply(judged[f"sum_{count}"], judged["weights_mb"])
                rows.append({
                    "space": name, "networks": len(judged), "count": count,
                    "calibrated": "yes" if calibrated else "no",
                    **errors(predicted, judged["latency_ms"].to_numpy()),
                    "within 10 % of the median": within(predicted, judged["median_ms"].to_numpy()),
                })  # fmt: skip
    return pd.DataFrame(rows)


def errors(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Relative errors and the rank correlation."""
    relative = np.abs(predicted / truth - 1)
    return {
        "error, median": float(np.median(relative)),
        "error, 90 %": float(np.quantile(relative, 0.9)),
        "within 10 %": float((relative <= 0.1).mean()),
        "SRCC": srcc(truth, predicted),
    }


def within(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Share of predictions within 10 % of the truth."""
    return float((np.abs(predicted / truth - 1) <= 0.1).mean())


def device_table(found: dict[str, pd.DataFrame], judged: int, sizes: Sequence[int]) -> pd.DataFrame:
    """Few networks measured as labels, chosen by their operators or drawn; a model fitted on them, judged on others."""
    rows = []
    for name, own in found.items():
        space, pool, test = ab.space(name), own.iloc[:-judged], own.iloc[-judged:]
        graphs = [_graph(name, arch) for arch in pool["method"]]
        for n in [size for size in sizes if size <= len(pool)]:
            drawn = np.random.default_rng(SEED).permutation(len(pool))[:n].tolist()
            for design, chosen in (("chosen", choose_networks(graphs, n)), ("drawn", drawn)):
                labels = pool.iloc[chosen][["method", "latency_ms"]].rename(columns={"method": "arch"})
                model = ab.fit(ab.LabelledSet.from_frame(labels, space), "latency_ms", seed=SEED)
                said = model.predict([space.parse(text) for text in test["method"]])
                truth = test["latency_ms"].to_numpy()
                inside = (said["lower"].to_numpy() <= truth) & (truth <= said["upper"].to_numpy())
                rows.append({"space": name, "measured": n, "design": design,
                             **errors(said["predicted"].to_numpy(), truth),
                             "in the 80 % interval": float(inside.mean())})  # fmt: skip
    return pd.DataFrame(rows)


def _graph(name: str, arch: str) -> OperationGraph:
    from autobuild.graphs.of_architecture import graph_of_architecture

    return graph_of_architecture(ab.space(name), arch, 10, SPACES[name])


def main() -> None:
    """Measure, unless told not to, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a version of about a minute; results are not written")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of every kernel")
    parser.add_argument("--load", type=float, default=float("inf"), help="measure only below this load average")
    parser.add_argument("--table", action="store_true", help="tables from results that are there, nothing is measured")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("autobuild").setLevel(logging.ERROR)
    calibrating, judged = (4, 6) if options.quick else (CALIBRATE, JUDGED)
    if not options.table:
        measure(calibrating + judged, 1 if options.quick else options.rounds, options.load, options.quick)
    found = results(WORK / "quick.csv" if options.quick else RUNS)
    write("latency", lookup_table(found, calibrating), quick=options.quick)
    if not options.quick:
        write("latency_device", device_table(found, 20, DESIGNS), quick=False)


if __name__ == "__main__":
    main()
