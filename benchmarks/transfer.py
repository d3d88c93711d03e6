"""One predictor for several families, on operation graphs: how well does it rank a family that it has not seen?

python -m benchmarks.transfer [--quick]      (AUTOBUILD_DATA names the folder of the published labels)

The graphs come from the blocks that the spaces declare: every convolution, pool, gate product, addition
and linear layer with its channels, kernel, stride and positions at 224 pixels; activations and reshapes are left out,
which halves the graphs. The target is accuracy (OFA: top-1 of the subnets; Accel-NASBench: top-1 under its training
proxy), standardised in each family. Zero-shot: the predictor has seen no label of the family that it ranks. k-shot: it
has adapted to k of its labels (``FamilyModel.adapt``, mean of several draws). Beside it what needs no transfer: a
predictor fitted on the k labels alone (one draw), and the order by MACs.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

import autobuild as ab
from autobuild.graphs import OperationGraph
from autobuild.graphs.operations import ACTIVATIONS
from autobuild.models.transfer import FamilyModel, fit_families
from autobuild.rank import srcc
from benchmarks.report import arguments, machine, published, write

MBV3, PROXYLESS, MNASNET = "ofa_mbv3", "ofa_proxyless", "mnasnet"
Labelled = tuple[list[OperationGraph], np.ndarray]
LEFT_OUT = ("alias", "input", *ACTIVATIONS)
SPACES = {MBV3: "ofa_mbv3(width=1.2)", PROXYLESS: "ofa_proxyless(width=1.3)"}  # widths of the published labels


def ofa(folder: Path, name: str, rows: int) -> Labelled:
    """Graphs and accuracies of a Once-for-All family, the first rows of the file (it is in random order)."""
    space = ab.space(SPACES[name])
    frame = pd.read_csv(folder / f"{name}_labels.csv").head(rows)
    graphs = [ab.graph_of(space, arch).without(LEFT_OUT) for arch in frame["arch"]]
    return graphs, frame["acc"].to_numpy()


def anb_text(architecture: Mapping[str, int]) -> str:
    """The text of an architecture of Accel-NASBench, from the numbers in its file."""
    parts = [[architecture[f"block{b}_{part}"] for part in ("e", "k", "l", "se")] for b in range(7)]
    return "|".join("e{:d}k{:d}l{:d}s{:d}".format(*part) for part in parts)


def mnasnet(folder: Path, rows: int) -> Labelled:
    """Graphs and accuracies of Accel-NASBench, read from the archive without unpacking it."""
    space = ab.space(MNASNET)
    graphs, values = [], []
    with tarfile.open(folder / "anb_dataset_jsons.tar.gz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() and member.name.endswith(".json") else None
            if file is None:
                continue
            record = json.load(file)
            if "val_top1" not in record["metrics"]:
                continue
            graphs.append(ab.graph_of(space, anb_text(record["architecture"])).without(LEFT_OUT))
            values.append(record["metrics"]["val_top1"])
            if len(values) == rows:
                break
    return graphs, np.array(values)


def parts(data: Labelled, n: int) -> tuple[Labelled, Labelled]:
    """The first n rows, and the rest."""
    graphs, values = data
    return (graphs[:n], values[:n]), (graphs[n:], values[n:])


def few_shot(model: FamilyModel, pool: Labelled, test: Labelled, shots: int, draws: int) -> float:
    """Mean SRCC over several draws of k labels."""
    found = []
    for seed in range(draws):
        rows = np.random.default_rng(seed).choice(len(pool[1]), shots, replace=False)
        adapted = model.adapt([pool[0][row] for row in rows], pool[1][rows])
        found.append(srcc(adapted.predict(test[0]), test[1]))
    return float(np.mean(found))


def main() -> None:
    """Fit, transfer, and print the table."""
    options = arguments(__doc__ or "")
    folder = published()
    if folder is None:
        raise SystemExit("AUTOBUILD_DATA is not set")
    rows, held, draws = (240, 100, 3) if options.quick else (500, 300, 5)
    config = ab.FitConfig(epochs=15, batch_size=32) if options.quick else ab.FitConfig(epochs=40, batch_size=64)
    data = {name: ofa(folder, name, rows + held) for name in (MBV3, PROXYLESS)}
    data[MNASNET] = mnasnet(folder, rows + held)
    train = {name: parts(own, rows)[0] for name, own in data.items()}
    test = {name: parts(own, rows)[1] for name, own in data.items()}
    table: list[tuple[str, str, int | str, float, float, float]] = []
    for fitted in ([MBV3, PROXYLESS], [MBV3], [PROXYLESS]):
        model = fit_families({name: train[name] for name in fitted}, config=config)
        joined = " + ".join(fitted)
        for name in fitted:
            table.append((joined, name, "fitted", srcc(model.predict(test[name][0]), test[name][1]), np.nan,
                          by_macs(test[name])))  # fmt: skip
        for name in [MNASNET] if len(fitted) == 2 else [PROXYLESS if fitted == [MBV3] else MBV3]:
            zero = srcc(model.predict(test[name][0]), test[name][1])
            table.append((joined, name, 0, zero, np.nan, by_macs(test[name])))
            for shots in (10, 30, 100):
                found = few_shot(model, train[name], test[name], shots, draws)
                table.append((joined, name, shots, found, alone(train[name], test[name], shots), np.nan))
    columns = ["fitted on", "ranks", "labels of it", "SRCC", "SRCC of a fit on those labels alone", "SRCC by MACs"]
    note = f"{rows:,} rows of each family fitted, {held} ranked; {draws} draws of the few labels. {machine()}"
    write("transfer", pd.DataFrame(table, columns=columns), quick=options.quick, note=note)


def by_macs(data: Labelled) -> float:
    """How well MACs alone rank."""
    return srcc(np.array([graph.macs for graph in data[0]], dtype=float), data[1])


def alone(pool: Labelled, test: Labelled, shots: int) -> float:
    """A predictor fitted on a few labels of the family itself, nothing else (needs at least 16)."""
    if shots < 16:
        return float("nan")
    rows = np.random.default_rng(0).choice(len(pool[1]), shots, replace=False)
    own = fit_families({"alone": ([pool[0][row] for row in rows], pool[1][rows])}, config=ab.FitConfig(epochs=60))
    return srcc(own.predict(test[0]), test[1])


if __name__ == "__main__":
    main()
