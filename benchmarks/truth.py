"""Is the right thing learned? Latencies of equal networks, few labels, sources and proxies, on complete tables.

python -m benchmarks.truth [--only SECTION ...] [--seeds N]

Sections: ``execution`` (latencies of NAS-Bench-201 from 100 labels), ``bound`` and ``best`` (what two thirds of a table
reach: latencies, and the best networks of NAS-Bench-Macro), ``function`` (accuracies), ``few`` (10 and 20
labels), ``sources`` (10 labels and the other devices), ``proxies`` (TransNAS-Bench-101 with its zen score), ``tau``
(NAS-Bench-201's accuracy by Kendall's tau), ``design`` (networks to measure, chosen or drawn). Every row is the mean
over seeds, which draw the labels; all other networks of the table judge, at most 3,000 of them. Networks whose key is
among the labels' do not judge accuracies. Ridge regression, a Gaussian process and XGBoost (``pip install -e
'.[bench]'``) learn from the same labels, on one-hot columns. The tables are kept, unless ``--seeds`` is given.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pandas as pd

import autobuild as ab
from autobuild._typing import FloatArray, IntArray
from autobuild.models.fitting import unwarned
from autobuild.rank import kendall_tau, srcc
from benchmarks.baselines import Fitter, boosted_trees, gaussian_process, ridge
from benchmarks.report import machine, published, write

FILES = {
    "nas_bench_201": ("nas_bench_201_cifar10.csv.gz", ["cifar10_val"]),
    "nas_bench_macro": ("nas-bench-macro_cifar10.json", ["mean_acc"]),
    "trans_nas_bench_micro": ("trans_nas_bench_micro.csv", ["class_scene", "autoencoder", "room_layout"]),
    "trans_nas_bench_macro": ("trans_nas_bench_macro.csv", ["class_scene", "autoencoder", "room_layout"]),
}
JUDGES = 3000
BASELINES: dict[str, Fitter] = {"ridge": ridge, "GP": gaussian_process, "XGBoost": boosted_trees}
Row = dict[str, object]


@cache
def table(name: str) -> ab.LabelledSet:
    """A published table."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ab.LabelledSet.read(published() / FILES[name][0], ab.space(name))


@cache
def devices() -> tuple[str, ...]:
    """The devices of NAS-Bench-201."""
    return tuple(name for name in table("nas_bench_201").metrics if name.startswith("latency_"))


def drawn(name: str, metric: str, n: int, seed: int, *, equal: bool) -> tuple[IntArray, IntArray, FloatArray]:
    """Rows of n labels, rows that judge, and the metric; ``equal``: no network that has a label judges."""
    labels = table(name)
    values, rng = labels.frame[metric].to_numpy(), np.random.default_rng(seed)
    order = rng.permutation(np.flatnonzero(np.isfinite(values)))
    given, rest = np.sort(order[:n]), order[n:]
    if equal:
        seen = {labels.keys[row] for row in given}
        rest = np.array([row for row in rest.tolist() if labels.keys[row] not in seen], dtype=np.int64)
    return given, np.sort(rest[:JUDGES]), values


def fitted(name: str, given: IntArray, target: str, seed: int, **options: object) -> ab.FittedModel:
    """A process on some rows, or what ``options`` say."""
    with unwarned():
        return ab.fit(table(name).subset(given), target, seed=seed, **{"model": "gp", **options})  # type: ignore[arg-type]


def judged(predicted: FloatArray, truth: FloatArray) -> tuple[float, float]:
    """Rank correlation, and share of predictions within 10 %."""
    return srcc(predicted, truth), float(np.mean(np.abs(predicted / truth - 1) < 0.1))


def baselines(name: str, given: IntArray, rest: IntArray, values: FloatArray, seed: int) -> list[float]:
    """Rank correlation of every baseline on the rows that judge."""
    columns = _one_hot(name)
    predictors = [fit(columns[given], values[given], seed) for fit in BASELINES.values()]
    return [srcc(predict(columns[rest]), values[rest]) for predict in predictors]


@cache
def _one_hot(name: str) -> FloatArray:
    """The choice of every layer of every stage, one column a value; no layer is a value, too."""
    runs = [arch.runs for arch in table(name).archs]
    depths = [max(map(len, own)) for own in zip(*runs, strict=True)]
    digits = [
        [one for run, d in zip(own, depths, strict=True) for one in (*run, *[-1] * (d - len(run)))] for own in runs
    ]
    return pd.get_dummies(pd.DataFrame(digits).astype(str)).to_numpy(dtype=float)


def latency_rows(n: int, seeds: int, sources: bool = False) -> list[Row]:
    """Every device from n labels; the costs alone beside, and trees on nine tenths of the table, which bound them."""
    name, rows = "nas_bench_201", []
    labels = table(name)
    macs = ab.costs(labels.space)["macs"](labels.archs).astype(float)
    models = {}
    for device in devices() if sources else ():
        few = np.sort(np.random.default_rng(1000).permutation(np.flatnonzero(np.isfinite(labels.frame[device])))[:400])
        models[device] = fitted(name, few, f"-{device}", 0, folds=2)
    for device in devices():
        found, inside, views, alone, simple = [], [], [], [], []
        for seed in range(seeds):
            given, rest, values = drawn(name, device, n, seed, equal=False)
            others = {"sources": [models[one] for one in devices() if one != device]} if sources else {}
            model = fitted(name, given, f"-{device}", seed, **others)
            frame = model.predict([labels.archs[row] for row in rest])
            truth = values[rest]
            found.append(judged(-frame["predicted"].to_numpy(), truth))
            inside.append(np.mean((frame["lower"] <= -truth) & (-truth <= frame["upper"])))
            alone.append(srcc(macs[rest], truth))
            simple.append(baselines(name, given, rest, values, seed))
            views.append("+".join(model.report["views"]))
        mean = np.mean(found, axis=0)
        rows.append({"device": device.removeprefix("latency_"), "labels": n, "SRCC": mean[0], "within 10 %": mean[1],
                     "in 90 % intervals": np.mean(inside), "MACs alone": np.mean(alone),
                     **dict(zip(BASELINES, np.mean(simple, axis=0).tolist(), strict=True)),
                     "described": ", ".join(sorted(set(views)))})  # fmt: skip
        print(rows[-1], flush=True)
    numbers = ("SRCC", "within 10 %", "in 90 % intervals", "MACs alone", *BASELINES)
    rows.append({"device": "mean", "labels": n, **{key: np.mean([row[key] for row in rows]) for key in numbers}})
    return rows


def bound_rows(seeds: int) -> list[Row]:
    """What boosted trees reach when they are trained on two thirds of the whole table: a bound by measurement noise."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.model_selection import cross_val_predict

    labels, rows = table("nas_bench_201"), []
    digits = np.array([[run[0] for run in arch.runs] for arch in labels.archs])
    columns = np.column_stack([digits, *[(digits == op).sum(axis=1) for op in range(5)]])
    for device in devices():
        values = labels.frame[device].to_numpy()
        there = np.isfinite(values)
        trees = HistGradientBoostingRegressor(max_iter=150, random_state=seeds)
        predicted = cross_val_predict(trees, columns[there], values[there], cv=3)
        rank, near = judged(predicted, values[there])
        rows.append({"device": device.removeprefix("latency_"), "SRCC": rank, "within 10 %": near})
    rows.append({"device": "mean", **{key: np.mean([row[key] for row in rows]) for key in ("SRCC", "within 10 %")}})
    return rows


def best_rows(seeds: int) -> list[Row]:
    """Best of ten networks of NAS-Bench-Macro, chosen by a process from two thirds of the table: a bound by noise."""
    name, rows = "nas_bench_macro", []
    labels = table(name)
    _, first = np.unique(np.array(labels.keys, dtype=object).astype(str), return_index=True)  # networks, each once
    values = labels.frame["mean_acc"].to_numpy()[first]
    rank = 1 + np.array([(values > value).sum() for value in values])
    error = labels.frame["std"].to_numpy()[first] / 3**0.5  # of a mean of three trainings
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(first))
        predicted = np.empty(len(first))
        for test in (order[fold::3] for fold in range(3)):
            model = fitted(name, first[np.setdiff1d(order, test)], "mean_acc", seed, folds=2)
            predicted[test] = model.predict_mean([labels.archs[row] for row in first[test]])
        ten = np.argsort(-predicted)[:10]
        rows.append({"seed": seed, "labels": len(first) * 2 // 3, "SRCC": srcc(predicted, values),
                     "best rank of ten": rank[ten].min(),
                     "ten best labels: range": np.sort(values)[-1] - np.sort(values)[-10],
                     "their standard error": error[np.argsort(-values)[:10]].mean()})  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def accuracy_rows(n: int, seeds: int) -> list[Row]:
    """Accuracies: chosen by itself against described by the function, paired by seed."""
    rows = []
    for name, (_, metrics) in FILES.items():
        for metric in metrics:
            own, against, simple = [], [], []
            for seed in range(seeds):
                given, rest, values = drawn(name, metric, n, seed, equal=True)
                simple.append(baselines(name, given, rest, values, seed))
                archs = [table(name).archs[row] for row in rest]
                model = fitted(name, given, metric, seed)
                own.append(srcc(model.predict_mean(archs), values[rest]))
                same = model.report["views"] == ["function"] and not getattr(model, "trend", False)
                other = model if same else fitted(name, given, metric, seed, equal="function")
                against.append(srcc(other.predict_mean(archs), values[rest]))
            gain = np.subtract(own, against)
            rows.append({"table": name, "metric": metric, "labels": n, "SRCC": np.mean(own),
                         "by function": np.mean(against),
                         "gain": gain.mean(), "worst gain": gain.min(),
                         **dict(zip(BASELINES, np.mean(simple, axis=0).tolist(), strict=True))})  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def proxy_rows(n: int, seeds: int) -> list[Row]:
    """TransNAS-Bench-101, cells: the proxy alone, labels alone, and labels with the proxy as a feature."""
    name, rows = "trans_nas_bench_micro", []
    for metric in FILES[name][1]:
        score = table(name).frame[f"zen_score_{metric}"].to_numpy()
        score = np.maximum(score, np.min(score[score > -1e7]) - 1)  # no path from input to output
        known = dict(zip((arch.text for arch in table(name).archs), score.tolist(), strict=True))

        def proxy(archs: Sequence[ab.Architecture], known: dict[str, float] = known) -> list[float]:
            return [known[arch.text] for arch in archs]

        found = []
        for seed in range(seeds):
            given, rest, values = drawn(name, metric, n, seed, equal=True)
            archs = [table(name).archs[row] for row in rest]
            models = [fitted(name, given, metric, seed), fitted(name, given, metric, seed, features=[proxy])]
            found.append(
                [srcc(score[rest], values[rest]), *(srcc(one.predict_mean(archs), values[rest]) for one in models)]
            )
        alone, without, both = np.mean(found, axis=0)
        rows.append({"metric": metric, "labels": n, "proxy alone": alone, "labels alone": without, "both": both})
        print(rows[-1], flush=True)
    return rows


def tau_rows(seeds: int) -> list[Row]:
    """Kendall's tau on all other cells, validation to validation."""
    name, metric, rows = "nas_bench_201", "cifar10_val", []
    for n in (39, 78, 156):
        found: dict[str, list[float]] = {
            "gp": [],
            "gp with zen score": [],
            "auto": [],
            **{key: [] for key in BASELINES},
        }
        score = dict(zip(table(name).frame["arch"], table(name).frame["zen_score"].tolist(), strict=True))

        def zen(archs: Sequence[ab.Architecture], score: dict[str, float] = score) -> list[float]:
            return [score[arch.text] for arch in archs]

        for seed in range(seeds):
            given, rest, values = drawn(name, metric, n, seed, equal=False)
            archs = [table(name).archs[row] for row in rest]
            for how, options in (("gp", {}), ("gp with zen score", {"features": [zen]}), ("auto", {"model": "auto"})):
                model = fitted(name, given, metric, seed, **options)
                found[how].append(kendall_tau(model.predict_mean(archs), values[rest]))
            for how, fit in BASELINES.items():
                predict = fit(_one_hot(name)[given], values[given], seed)
                found[how].append(kendall_tau(predict(_one_hot(name)[rest]), values[rest]))
        rows.append({"labels": n, **{how: np.mean(own) for how, own in found.items()}})
        print(rows[-1], flush=True)
    return rows


def design_rows(seeds: int) -> list[Row]:
    """Networks to measure for a device: chosen from a pool of 150, or the first ones drawn; the mean over devices."""
    from autobuild.cost.latency import choose_networks
    from autobuild.graphs.of_architecture import graph_of_architecture

    name, rows = "nas_bench_201", []
    labels = table(name)
    drawn_rows = [np.random.default_rng(seed).permutation(len(labels)) for seed in range(seeds)]
    graphs = [[graph_of_architecture(labels.space, labels.archs[row], 10, (3, 32, 32)) for row in own[:150]]
              for own in drawn_rows]  # fmt: skip
    for n in (24, 40):
        found: dict[str, list[float]] = {"chosen": [], "drawn": []}
        for seed, own in enumerate(drawn_rows):
            for how, places in (("chosen", choose_networks(graphs[seed], n)), ("drawn", list(range(n)))):
                for device in devices():
                    values = labels.frame[device].to_numpy()
                    given = np.sort([row for row in own[places] if np.isfinite(values[row])])
                    rest = [row for row in own[150:2150].tolist() if np.isfinite(values[row])]
                    model = fitted(name, given, f"-{device}", seed)
                    found[how].append(srcc(model.predict_mean([labels.archs[row] for row in rest]), -values[rest]))
        rows.append({"measured": n, **{how: np.mean(own) for how, own in found.items()},
                     **{f"{how}, worst": np.min(own) for how, own in found.items()}})  # fmt: skip
        print(rows[-1], flush=True)
    return rows


SECTIONS: dict[str, tuple[int, Callable[[int], list[Row]]]] = {
    "execution": (3, lambda seeds: latency_rows(100, seeds)),
    "bound": (1, bound_rows),
    "best": (3, best_rows),
    "function": (3, lambda seeds: accuracy_rows(100, seeds)),
    "few": (5, lambda seeds: [*latency_rows(10, seeds), *latency_rows(20, seeds)]),
    "sources": (5, lambda seeds: latency_rows(10, seeds, sources=True)),
    "proxies": (3, lambda seeds: proxy_rows(400, seeds)),
    "tau": (5, tau_rows),
    "design": (3, design_rows),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--seeds", type=int, help="seeds of each row (default: by section)")
    given = parser.parse_args(argv)
    for name in given.only:
        seeds, rows = SECTIONS[name]
        print(f"\n## {name}, {given.seeds or seeds} seeds\n")
        frame = pd.DataFrame(rows(given.seeds or seeds)).round(4)
        write(f"truth_{name}", frame, quick=given.seeds is not None, note=f"{machine()} {seeds} seeds.")


if __name__ == "__main__":
    main()
