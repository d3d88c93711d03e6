"""Cells: how well are NAS-Bench-201 cells ranked from few labels? On labels that this benchmark trained itself.

python -m benchmarks.small_cells [--quick]
python -m benchmarks.small_cells --part label      train what is missing in data/small_cells.csv (6 seconds a cell)
python -m benchmarks.small_cells --part again      train a hundred of them again with another seed

The published table of NAS-Bench-201 is not at hand, so 700 random distinct cells were trained once each in a small
network: one cell of each of three widths (4, 8, 16), three epochs on the embedded digit task. One short training is a
noisy label, noisier than the published ones: how noisy, a second training of a hundred of them tells. With labels
whose two trainings correlate by r, even the true order would reach a rank correlation of about the root of r only.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

import autobuild as ab
from autobuild.evaluate.training import TrainingEvaluator
from autobuild.rank import srcc
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.modules import Cell
from autobuild.spaces.registry import declared_by
from benchmarks.baselines import boosted_trees, gaussian_process, ridge
from benchmarks.columns import Columns
from benchmarks.report import arguments, machine, write

FILE = Path(__file__).parent / "data" / "small_cells.csv"
AGAIN = FILE.with_name("small_cells_again.csv")
CELLS, WIDTHS, EPOCHS = 700, (4, 8, 16), 3
TWICE = 100
SIZES, SPLITS = (100, 400), 5


class SmallNetwork(TrainingEvaluator):
    """Trains a cell in a network of one cell of each width."""

    def network(self, space: SearchSpace, arch: Architecture | str, seed: int = 0) -> nn.Module:
        """The freshly initialised network."""
        file = declared_by(space)
        parsed = space.parse(arch) if isinstance(arch, str) else arch
        ops = [layer["op"] for (layer,) in space.layers(parsed)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            parts: list[nn.Module] = [file.Conv(1, WIDTHS[0], 3).module()]
            for place, width in enumerate(WIDTHS):
                if place:
                    parts.append(file._reduction(WIDTHS[place - 1], width).module())
                parts.append(Cell(file.EDGES, [file._operation(op, width).module() for op in ops]))
            last = WIDTHS[-1]
            head = [file.Activated(last), file.AvgPool(last), file.Classifier(last, 10)]
            return nn.Sequential(*parts, *(block.module() for block in head))


def label(path: Path, count: int, seed: int) -> None:
    """Train those of the first ``count`` cells that a file lacks."""
    space = ab.space("nas_bench_201")
    done = {row[0] for row in csv.reader(path.open())} if path.is_file() else set()
    evaluator = SmallNetwork(epochs=EPOCHS)
    if not done:
        path.parent.mkdir(exist_ok=True)
        path.write_text("arch,acc,params,macs\n")
    for arch in cells(space)[:count]:
        if arch.text not in done:
            found = evaluator(space, arch, seed)
            with path.open("a", newline="") as file:
                row = [arch.text, f"{found['acc']:.4f}", int(found["params"]), int(found["macs"])]
                csv.writer(file, lineterminator="\n").writerow(row)


def cells(space: SearchSpace) -> list[Architecture]:
    """The first 700 distinct cells of one draw."""
    distinct: dict[str, Architecture] = {}
    for arch in space.sample(3000, seed=7, design="uniform"):
        distinct.setdefault(space.key(arch), arch)
    return list(distinct.values())[:CELLS]


def rank(quick: bool) -> pd.DataFrame:
    """SRCC on held-out cells, mean over splits."""
    space = ab.space("nas_bench_201")
    labels = ab.LabelledSet.read(FILE, space)
    values, columns = labels.frame["acc"].to_numpy(), Columns(space)
    onehot, known = columns.one_hot(labels.archs), columns.knowledge(labels.archs)
    rich = np.column_stack([onehot, known])
    found: dict[str, dict[int, list[float]]] = {}
    for n in SIZES[:1] if quick else SIZES:
        for seed in range(2 if quick else SPLITS):
            rows = np.random.default_rng(seed).permutation(len(labels))
            train, test = rows[:n], rows[n:]
            archs, own = [labels.archs[row] for row in test], values[test]

            def note(name: str, predicted: np.ndarray, n: int = n, own: np.ndarray = own) -> None:
                found.setdefault(name, {}).setdefault(n, []).append(srcc(predicted, own))

            for name in ("auto", "gp", "graph"):
                model = ab.fit(labels.subset(train), "acc", model=name, seed=seed, config=ab.FitConfig(holdout=0))
                note(f"autobuild, model={name}", model.predict_mean(archs))
            for name, fitter, x in (
                ("ridge, one-hot", ridge, onehot),
                ("XGBoost, one-hot", boosted_trees, onehot),
                ("GP, one-hot", gaussian_process, onehot),
                ("GP, one-hot and costs", gaussian_process, rich),
                ("XGBoost, one-hot and costs", boosted_trees, rich),
            ):
                note(name, fitter(x[train], values[train], seed)(x[test]))
            note("MACs alone", labels.frame["macs"].to_numpy()[test])
    rows = [
        (name, *(f"{np.mean(own[n]):.3f} ± {np.std(own[n]):.3f}" if n in own else "" for n in SIZES))
        for name, own in found.items()
    ]
    return pd.DataFrame(rows, columns=["ranked by", *(f"SRCC, {n} labels" for n in SIZES)])


def agreement() -> str:
    """How well two trainings of the same cells agree, in words."""
    both = pd.read_csv(FILE).merge(pd.read_csv(AGAIN), on="arch", suffixes=("", "_again"))
    r = srcc(both["acc"].to_numpy(), both["acc_again"].to_numpy())
    return (
        f"Two trainings of the same {len(both)} cells agree with SRCC {r:.3f}, so that about {np.sqrt(r):.3f} is the "
        "most that any prediction can reach on these labels. "
    )


PARTS = {"label": (FILE, CELLS, 0), "again": (AGAIN, TWICE, 1)}


def main() -> None:
    """Print the table, or train labels."""
    given = arguments(__doc__ or "")
    if given.part in PARTS:
        label(*PARTS[given.part])
        return
    note = f"{len(pd.read_csv(FILE))} cells, {SPLITS} splits. {agreement()}{machine()}"
    write("small_cells", rank(given.quick), quick=given.quick, note=note)


if __name__ == "__main__":
    main()
