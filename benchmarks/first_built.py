"""The first network that is built from few labels, judged by truths that cover the whole space.

python -m benchmarks.first_built [--quick] [--only TEXT] [--model NAME] [--splits N] [--withheld]

AUTOBUILD_DATA names the folder of the published labels.

A truth is a table that holds every network of its space, or an emulator: another kind of model, fitted to all published
rows of a Once-for-All space, whose values stand in for the labels, too. Three kinds are used, so that none favours a
method: networks of two hidden layers, boosted trees, and ridge regression on products of three choices. Beside what
``build`` gives stand the best sum of a ridge on one-hot choices, the best sum of the model's scores, and the build by
lower bounds. ``coverage`` is the share of the ten networks built whose true value lies in their 90 % interval;
``optimism, sd`` is the mean of predicted minus true value of the first one, in standard deviations of the labels.

With ``--withheld`` the best 20 or 40 % of a published table are withheld. The model learns from rows below, and chooses
ten of 3,000 other rows. ``predicted gain`` is how far it predicts them above its best label, ``true gain`` how far they
are, both in standard deviations of its latent values; ``true / predicted`` is the ratio of these gains. Ridge, boosted
trees and lower bounds choose one of the same rows.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn

import autobuild as ab
from autobuild._typing import FloatArray
from autobuild.construct.building import distinct, tables_of
from benchmarks.report import machine, published, write

Truth = Callable[[Sequence[ab.Architecture]], FloatArray]
SPACES = {  # name -> space, file, metric
    "OFA-MBv3": ("ofa_mbv3(width=1.2)", "ofa_mbv3_labels.csv", "acc"),
    "OFA-ProxylessNAS": ("ofa_proxyless", "ofa_proxyless_labels.csv", "acc"),
    "NAS-Bench-Macro": ("nas_bench_macro", "nas-bench-macro_cifar10.json", "mean_acc"),
    "NAS-Bench-201": ("nas_bench_201", "nas_bench_201_cifar10.csv.gz", "cifar10_val"),
}
EMULATORS = ("networks", "trees", "products")
YARDSTICKS = [(name, kind) for name in list(SPACES)[:2] for kind in EMULATORS] + [
    (n, "table") for n in list(SPACES)[2:]
]
BUILT = 10
POOL = 2_000  # best sums among which the ridge chooses
REST = 3_000  # rows of a published table among which all choose


class OneHot:
    """Columns that say the depth of every stage and the operation of every layer."""

    def __init__(self, archs: Sequence[ab.Architecture]) -> None:
        keys = sorted({key for arch in archs for key in self._keys(arch)}, key=str)
        self.column = {key: place for place, key in enumerate(keys)}

    @staticmethod
    def _keys(arch: ab.Architecture) -> list[tuple[object, ...]]:
        depths: list[tuple[object, ...]] = [(stage, "depth", len(run)) for stage, run in enumerate(arch.runs)]
        return depths + [(stage, place, op) for stage, run in enumerate(arch.runs) for place, op in enumerate(run)]

    def __call__(self, archs: Sequence[ab.Architecture]) -> FloatArray:
        """Shape ``(n, columns)``; choices that were never seen have no column."""
        out = np.zeros((len(archs), len(self.column)))
        for row, arch in enumerate(archs):
            out[row, [self.column[key] for key in self._keys(arch) if key in self.column]] = 1
        return out


def ridge(kernel: FloatArray, values: FloatArray) -> FloatArray:
    """Dual weights of kernel ridge regression, with the penalty that minimises the leave-one-out error."""
    eigen, vectors = np.linalg.eigh(kernel)
    best, weights, rotated = np.inf, values, vectors.T @ values
    for penalty in np.exp(np.linspace(-8, 6, 29)):
        dual = vectors @ (rotated / (eigen + penalty))
        error = float(np.mean((dual / (vectors**2 @ (1 / (eigen + penalty)))) ** 2))
        if error < best:
            best, weights = error, dual
    return weights


def emulator(kind: str, archs: Sequence[ab.Architecture], values: FloatArray) -> Truth:
    """A model of all rows, of a family that the toolkit does not have."""
    columns = OneHot(archs)
    x, mean, sd = columns(archs), values.mean(), values.std()
    y = (values - mean) / sd
    if kind == "products":
        size = x.sum(axis=1).mean()
        weights = ridge((1 + 2 * (x @ x.T) / size) ** 3, y)
        return lambda new: (1 + 2 * (columns(new) @ x.T) / size) ** 3 @ weights * sd + mean
    if kind == "trees":
        from sklearn.ensemble import HistGradientBoostingRegressor

        how = {
            "max_iter": 400,
            "learning_rate": 0.05,
            "max_leaf_nodes": 15,
            "min_samples_leaf": 10,
            "max_features": 0.5,
        }
        forests = [HistGradientBoostingRegressor(**how, random_state=seed).fit(x, y) for seed in range(3)]
        return lambda new: np.mean([one.predict(columns(new)) for one in forests], axis=0) * sd + mean
    networks = [_network(torch.tensor(x).float(), torch.tensor(y).float(), seed) for seed in range(3)]

    def truth(new: Sequence[ab.Architecture]) -> FloatArray:
        with torch.inference_mode():
            inputs = torch.tensor(columns(new)).float()
            return np.mean([one(inputs)[:, 0].double().numpy() for one in networks], axis=0) * sd + mean

    return truth


def _network(x: torch.Tensor, y: torch.Tensor, seed: int, epochs: int = 60, batch: int = 128) -> nn.Module:
    torch.manual_seed(seed)
    layers = [nn.Linear(x.shape[1], 128), nn.GELU(), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 1)]
    network = nn.Sequential(*layers)
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.05)
    steps = epochs * -(-len(y) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(y)).split(batch):
            loss = (network(x[rows])[:, 0] - y[rows]).square().mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
    return network


def yardstick(name: str, kind: str) -> tuple[ab.LabelledSet, FloatArray, Truth]:
    """Published rows, the values that stand for their labels, and the truth of any network."""
    space, file, metric = SPACES[name]
    folder = published()
    if folder is None:
        raise SystemExit("AUTOBUILD_DATA is not set: it names the folder of the published labels")
    labels = ab.LabelledSet.read(folder / file, ab.space(space))
    values = labels.target(metric).values * (100 if name.startswith("OFA") else 1)  # percent
    if kind == "table":
        of_key = dict(zip(labels.keys, values.tolist(), strict=True))
        return labels, values, lambda archs: np.array([of_key[labels.space.key(arch)] for arch in archs])
    truth = emulator(kind, labels.archs, values)
    return labels, truth(labels.archs), truth


def judged(
    labels: ab.LabelledSet, values: FloatArray, truth: Truth, rows: int, split: int, model: str
) -> dict[str, float]:
    """True values of what each method builds first from some rows."""
    space = labels.space
    chosen = np.random.default_rng([split, rows]).choice(len(values), rows, replace=False)
    archs, given = [labels.archs[row] for row in chosen], values[chosen]
    few = ab.LabelledSet.from_frame(pd.DataFrame({"arch": [arch.text for arch in archs], "value": given}), space)
    scores = ab.fit(few, "value", model=model, seed=split).explain()
    built, careful = scores.build(BUILT), scores.build(1, by="lower")
    pool = [arch for _, arch in itertools.islice(distinct(space, tables_of(space, scores.unit_scores)), POOL)]
    columns = OneHot(archs)
    centre = columns(archs).mean(axis=0)
    x = columns(archs) - centre
    guessed = (columns(pool) - centre) @ (x.T @ ridge(x @ x.T, given - given.mean()))
    true = truth([pool[int(guessed.argmax())], pool[0], careful[0], *built])
    inside = (true[3:] >= built.lower) & (true[3:] <= built.upper)
    return {
        "labelled": float(given.max()),
        "ridge": true[0],
        "best sum": true[1],
        "by lower bound": true[2],
        "built": true[3],
        "best of 10": true[3:].max(),
        "coverage": float(inside.mean()),
        "optimism, sd": float(built.predicted[0] - true[3]) / float(given.std()),
    }


WITHHELD = [
    *SPACES.values(),
    *(
        (f"trans_nas_bench_{kind}", f"trans_nas_bench_{kind}.csv", task)
        for kind in ("micro", "macro")
        for task in ("class_scene", "room_layout", "autoencoder")
    ),
    ("tiny_mbconv", "tiny_mbconv", "acc"),
    *((f"quant:digits_{kind}", f"digits_{kind}", "-log(fid)") for kind in ("dit", "unet")),
]


def chosen_from_withheld(labels: ab.LabelledSet, metric: str, below: float, split: int, model: str) -> dict[str, float]:
    """What each method chooses of the rows that it does not know, when the best ones are among them."""
    values = labels.target(metric).values
    rows = np.random.default_rng(split).permutation(np.flatnonzero(values <= np.quantile(values, below)))[:100]
    rest = np.random.default_rng(split).permutation(np.setdiff1d(np.arange(len(values)), rows))[:REST]
    archs, others, true = [labels.archs[row] for row in rows], [labels.archs[row] for row in rest], values[rest]
    fitted = ab.fit(labels.subset(rows), metric, model=model, seed=split)
    trees = ab.fit(labels.subset(rows), metric, model="trees", seed=split)
    predicted, lower, upper = fitted.reported_intervals(others, 0.9)
    columns = OneHot(archs)
    x, centre = columns(archs), columns(archs).mean(axis=0)
    guessed = (columns(others) - centre) @ ((x - centre).T @ ridge((x - centre) @ (x - centre).T, values[rows]))
    ten = np.argsort(-predicted)[:BUILT]
    latent = fitted.warp.latent
    most = float(latent(values[rows].max()))
    sd = float(values[rows].std())
    return {
        "labelled": float(values[rows].max()),
        "ridge": true[guessed.argmax()],
        "trees": true[trees.predict_mean(others).argmax()],
        "by lower bound": true[fitted.intervals(others, 0.8)[1].argmax()],
        "chosen": true[ten[0]],
        "best of all": true.max(),
        "predicted gain": float((latent(predicted[ten]) - most).mean()),
        "true gain": float((latent(true[ten]) - most).mean()),
        "coverage": float(((lower[ten] <= true[ten]) & (true[ten] <= upper[ten])).mean()),
        "optimism, sd": (predicted[ten[0]] - true[ten[0]]) / sd,
        "chosen - ridge, sd": (true[ten[0]] - true[guessed.argmax()]) / sd,
        "chosen - trees, sd": (true[ten[0]] - true[trees.predict_mean(others).argmax()]) / sd,
    }


def withheld(only: str, quick: bool, splits: int, model: str) -> pd.DataFrame:
    """A row a published table and withheld share."""
    folder, table = published(), []
    if folder is None:
        raise SystemExit("AUTOBUILD_DATA is not set: it names the folder of the published labels")
    for space, file, metric in WITHHELD:
        if only not in space or (quick and not space.startswith("tiny")):
            continue
        labels = ab.LabelledSet.read(folder / file if "." in file else file, ab.space(space))
        for below in (0.6, 0.8):
            frame = pd.DataFrame(
                [chosen_from_withheld(labels, metric, below, split, model) for split in range(2 if quick else splits)]
            )
            line = {"table": f"{space}, {metric}", "withheld": f"{1 - below:.0%}", **frame.mean().to_dict()}
            line["true / predicted"] = line["true gain"] / line["predicted gain"]
            for other in ("ridge", "trees"):
                line[f"90 % +- {other}"] = 1.645 * frame[f"chosen - {other}, sd"].std() / np.sqrt(len(frame))
            table.append(line)
            print({key: f"{own:.3f}" if isinstance(own, float) else own for key, own in line.items()}, flush=True)
    out = pd.DataFrame(table)
    median = out["true / predicted"].median()
    spread = 1.4826 * (out["true / predicted"] - median).abs().median()
    print(f"true / predicted gain: median {median:.2f}, robust deviation {spread:.2f}")
    return out


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two splits of two yardsticks; results are not written")
    parser.add_argument("--only", default="", help="yardsticks whose name contains this; results are not written")
    parser.add_argument("--model", default="auto", help="the model, as for ab.fit")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--withheld", action="store_true", help="withhold the best rows of published tables")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    partly = given.quick or bool(given.only)
    if given.withheld:
        note = f"{machine()} Model {given.model}, 100 labels, means over {given.splits} splits."
        table = withheld(given.only, given.quick, given.splits, given.model)
        write(f"first_built_withheld_{given.model}", table, quick=partly, note=note)
        return
    table = []
    for name, kind in YARDSTICKS:
        title = f"{name}, {kind}"
        if given.only not in title or (given.quick and kind not in ("networks", "table")):
            continue
        labels, values, truth = yardstick(name, kind)
        for rows in (100, 300):
            runs = [
                judged(labels, values, truth, rows, split, given.model)
                for split in range(2 if given.quick else given.splits)
            ]
            frame = pd.DataFrame(runs)
            gain = frame["built"] - frame["ridge"]
            line = {"truth": title, "labels": rows, **frame.mean().to_dict(), "built - ridge": gain.mean()}
            line["90 % +-"] = 1.645 * gain.std() / np.sqrt(len(gain)) if len(gain) > 1 else np.nan
            table.append(line)
            print(
                {key: f"{value:.3f}" if isinstance(value, float) else value for key, value in line.items()}, flush=True
            )
    note = f"{machine()} Model {given.model}, means over {given.splits} splits; values in percent of accuracy."
    write(f"first_built_{given.model}", pd.DataFrame(table), quick=partly, note=note)


if __name__ == "__main__":
    main()
