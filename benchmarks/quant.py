"""Mixed-precision configurations of two small diffusion models, built from labels, beside baselines at the same bits.

    python -m benchmarks.quant [--quick] [--seeds 5] [--table] [--model digits_dit] [--labels 100]

The labels are the embedded ones (one noise); every configuration is measured again with two noises that no label has
used. A lower Frechet distance is better. Built configurations come from a Gaussian process, or a linear model, of
``-log(fid)`` fitted to 50, 100 or 300 labels drawn by the seed; random search takes the best of the same labels within
the budget. Integer programmes minimise what is known without labels. Every result is appended to ``quant_runs.csv`` as
soon as it is there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import cache, lru_cache, partial

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

import autobuild as ab
from autobuild.construct.problem import Problem
from autobuild.evaluate.digits_diffusion import DigitsDiffusionEvaluator
from autobuild.expressions import Names
from autobuild.quant import kmeans, quantise_weight
from autobuild.quant.digits.networks import load_digits_network
from autobuild.spaces import Architecture, SearchSpace
from benchmarks.report import RESULTS, write
from benchmarks.runs import Run, Runs

MODELS = ("digits_dit", "digits_unet")
BUDGETS = (3.4, 3.7, 4.0)
COUNTS = (50, 100, 300)
KNOWN = ("quant_error", "first_order", "fisher", "output_error")
FAMILIES = ("gp", "linear")
FRESH = (100, 101)  # seeds of noise
OPTIONS = "1"  # raise it when what is run changes
RUNS = RESULTS / "quant_runs.csv"

Metrics = dict[str, float]


@lru_cache
def space_of(model: str) -> SearchSpace:
    """The quantisation space of a shipped model."""
    return ab.space(f"quant:{model}")


@cache
def measured(model: str, text: str) -> float:
    """Frechet distance, the mean over fresh noises."""
    evaluate = DigitsDiffusionEvaluator(model)
    return float(np.mean([evaluate(space_of(model), text, seed)["fid"] for seed in FRESH]))


def measures(model: str, chosen: Callable[[float], Architecture]) -> Metrics:
    """Distance and average bits of what a method chooses for every budget."""
    bits, out = ab.costs(space_of(model))["avg_bits"], {}
    for budget in BUDGETS:
        arch = chosen(budget)
        out[f"bits {budget}"] = float(bits([arch])[0])
        out[f"fid {budget}"] = measured(model, arch.text)
    return out


def uniform(model: str, method: str) -> Metrics:
    """One method and one number of bits; where a layer cannot have it, per-channel uniform."""
    space = space_of(model)

    def chosen(budget: float) -> Architecture:
        texts = [{candidate.text for candidate in unit} for unit in space.units]
        return space.parse(
            "|".join(f"{method if f'{method}{int(budget)}' in own else 'uaq'}{int(budget)}" for own in texts)
        )

    return measures(model, chosen)


def least(model: str, metric: str) -> Metrics:
    """The configuration of the least sum of a known metric within the budget, exactly."""
    space = space_of(model)
    costs = ab.costs(space)
    tables = {name: costs[name].bounds().lower for name in ("avg_bits", metric)}
    problem = Problem(tables[metric].scaled(-1), {"avg_bits": tables["avg_bits"]})

    def chosen(budget: float) -> Architecture:
        solution = problem.best(Names(costs=costs).limits(f"avg_bits <= {budget}"))
        return space.assemble(tuple(solution.indices[0].tolist()))

    return measures(model, chosen)


def greedy(model: str) -> Metrics:
    """From the least error on, the step that adds the least error for each bit saved, until the budget holds."""
    space = space_of(model)
    costs = ab.costs(space)
    bits, error = (costs[name].bounds().lower for name in ("avg_bits", "quant_error"))

    def chosen(budget: float) -> Architecture:
        own = [int(table.argmin()) for table in error.tables]
        while bits.totals([own])[0] > budget + 1e-9:
            steps = [
                ((error.tables[u][c] - error.tables[u][own[u]]) / (bits.tables[u][own[u]] - bits.tables[u][c]), u, c)
                for u in range(len(own))
                for c in range(len(bits.tables[u]))
                if bits.tables[u][c] < bits.tables[u][own[u]]
            ]
            _, unit, candidate = min(steps)
            own[unit] = candidate
        return space.assemble(tuple(own))

    return measures(model, chosen)


def drawn(model: str, count: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Labels drawn by a seed, and the others."""
    frame = ab.LabelledSet.read(model, space_of(model)).frame
    rows = np.random.default_rng(seed).permutation(len(frame))
    return frame.iloc[rows[:count]].reset_index(drop=True), frame.iloc[rows[count:]]


def random_search(model: str, count: int, seed: int) -> Metrics:
    """The best labelled configuration within the budget."""
    space = space_of(model)
    frame, _ = drawn(model, count, seed)
    used = ab.costs(space)["avg_bits"](list(frame["arch"]))

    def chosen(budget: float) -> Architecture:
        return space.parse(frame["arch"][frame["fid"].where(used <= budget).idxmin()])

    return measures(model, chosen)


def built(model: str, count: int, seed: int, family: str) -> Metrics:
    """The configuration of the highest predicted score within the budget."""
    space = space_of(model)
    frame, rest = drawn(model, count, seed)
    fitted = ab.fit(ab.LabelledSet.read(frame, space), target="-log(fid)", model=family, seed=seed)
    scores = fitted.explain()

    def chosen(budget: float) -> Architecture:
        return space.parse(scores.build(top=1, where=f"avg_bits <= {budget}").frame["arch"][0])

    out = measures(model, chosen)
    if len(rest) > 5:
        predicted = fitted.predict_mean([space.parse(text) for text in rest["arch"]])
        out["srcc"] = float(spearmanr(predicted, -rest["fid"])[0])
    return out


def run(model: str, seeds: int, counts: tuple[int, ...]) -> None:
    """All methods on one model; finished runs are kept."""
    runs = Runs(RUNS)
    evaluate, network = DigitsDiffusionEvaluator(model), load_digits_network(model)
    tasks: list[tuple[str, int, Callable[[], Metrics]]] = [
        ("full precision", 0, lambda: {"fid": np.mean([evaluate.of_model(network, seed)["fid"] for seed in FRESH])}),
        ("uniform uaq", 0, lambda: uniform(model, "uaq")),
        ("uniform kmc", 0, lambda: uniform(model, "kmc")),
        ("greedy by error", 0, lambda: greedy(model)),
        *((f"integer program on {name}", 0, lambda name=name: least(model, name)) for name in KNOWN),
    ]
    for seed in range(seeds):
        for n in counts:
            tasks.append((f"random search, {n} labels", seed, lambda n=n, seed=seed: random_search(model, n, seed)))
            for family in FAMILIES:
                task = partial(built, model, n, seed, family)
                tasks.append((f"built from {n} labels by {family}", seed, task))
    if COUNTS[0] not in counts:  # another process measures the methods without labels
        tasks = [task for task in tasks if "labels" in task[0]]
    for method, seed, task in tasks:
        name = Run(model, seed, method, OPTIONS)
        if name not in runs.done():
            runs.add(name, task())


def table() -> pd.DataFrame:
    """A row a model and method: the mean distance at every budget, and its deviation over sampling seeds."""
    found = Runs(RUNS).read()
    rows = []
    for (model, method), own in found.groupby(["cell", "method"], sort=False):
        value = own.groupby("metric")["value"]
        mean, spread, count = value.mean(), value.std(), value.count()
        row = {"model": model, "method": method, "seeds": int(count.max())}
        for budget in BUDGETS:
            key = "fid" if method == "full precision" else f"fid {budget}"
            shown = f"{mean[key]:.1f}" + (f" ± {spread[key]:.1f}" if count[key] > 1 else "")
            row[f"fid at {budget} bits"] = shown
        row["held-out SRCC"] = f"{mean['srcc']:.2f}" if "srcc" in mean else ""
        rows.append(row)
    order = {name: place for place, name in enumerate(("full", "uniform", "greedy", "integer", "random", "built"))}
    rows.sort(key=lambda row: (row["model"], order[row["method"].split()[0]]))
    return pd.DataFrame(rows)


def to_reach() -> pd.DataFrame:
    """A row a model and budget: the best without labels, and the means over seeds of what labels give.

    Reached: the Gaussian process's mean from 300 labels is below every baseline's.
    """
    found = Runs(RUNS).read()
    value = found.groupby(["cell", "method", "metric"])["value"].mean()
    rows = []
    for model in found["cell"].unique():
        for budget in BUDGETS:
            own = value[model].xs(f"fid {budget}", level="metric")
            known = own[[not name.startswith(("random", "built")) for name in own.index]]
            row = {"model": model, "bits": budget, "full precision": value[model, "full precision", "fid"]}
            row |= {"best without labels": f"{known.min():.1f} ({known.idxmin()})"}
            for what in ("random search, {} labels", *(f"built from {{}} labels by {family}" for family in FAMILIES)):
                means = [own.get(what.format(n), float("nan")) for n in COUNTS]
                name = what.replace(" labels", "").format("50, 100, 300")
                row[name] = ", ".join(f"{mean:.1f}" for mean in means)
            others = [known.min(), *(own[f"random search, {n} labels"] for n in COUNTS)]
            row["reached"] = "yes" if own["built from 300 labels by gp"] < min(others) else "no"
            rows.append(row)
    return pd.DataFrame(rows)


def speed(size: int = 4096) -> pd.DataFrame:
    """CPU seconds of quantising one weight at 4 bits, of all threads together, and the error above the least."""
    weight = torch.randn((size, size), generator=torch.Generator().manual_seed(0)) * 0.02
    rows, part = weight.numpy(), weight[: size // 16].numpy()

    def error(centres: np.ndarray) -> float:
        limits = torch.from_numpy((centres[:, 1:] + centres[:, :-1]) / 2).float()
        codes = torch.searchsorted(limits, torch.from_numpy(part)).numpy()
        return float(((np.take_along_axis(centres, codes, axis=1) - part) ** 2).sum())

    fast, exact = error(kmeans(part, 16)), error(kmeans(part, 16, exact=True))
    tasks = {
        "kmc4, codes and file format included": lambda: quantise_weight(weight, "kmc4"),
        "uaq4": lambda: quantise_weight(weight, "uaq4"),
        "codebooks of every channel, exact": lambda: kmeans(rows, 16, exact=True),
    }
    found = []
    for name, task in tasks.items():
        begun = time.process_time()
        task()
        found.append({"what": f"{size} x {size}: {name}", "CPU seconds": time.process_time() - begun})
    found.append({"what": f"error of the fast codebooks above the least: {fast / exact - 1:.2%}"})
    return pd.DataFrame(found)


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, 50 labels; results are not written")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--model", choices=MODELS)
    parser.add_argument("--labels", type=int, choices=COUNTS)
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    parser.add_argument("--speed", action="store_true", help="only the seconds of the quantisers")
    given = parser.parse_args()
    if given.speed:
        write("quant_speed", speed(512 if given.quick else 4096), quick=given.quick)
        return
    torch.set_num_threads(1)
    if not given.table:
        counts = (given.labels,) if given.labels else COUNTS[: 1 if given.quick else None]
        for model in (given.model,) if given.model else MODELS:
            run(model, 1 if given.quick else given.seeds, counts)
    write("quant_methods", table(), quick=given.quick)
    write("quant", to_reach(), quick=given.quick)


if __name__ == "__main__":
    main()
