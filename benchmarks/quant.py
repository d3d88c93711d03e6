"""Mixed-precision configurations of four small networks, built from labels, beside baselines at the same bits.

    python -m benchmarks.quant [--quick] [--seeds 3] [--table] [--model digits_dit] [--labels 100] [--only text]
    python -m benchmarks.quant --guide [--model digits_dit]  # label guided configurations that have no labels yet

The networks are the two diffusion models of digits that ship, and two of packages (:mod:`benchmarks.quant_networks`):
without these packages, their labels and finished results are there, and what needs an evaluation is skipped. All
metrics are better the lower they are: ``fid``, the Frechet distance of digits; ``wrong``, the percentage of pitches off
by 10 cents or more; ``cer``, the percentage of wrong letters. The last two are learned from the networks' own losses,
which are finer. The labels use one set of data; every configuration is measured again on data that no label has used.

Built configurations come from a Gaussian process, or a linear model, of minus the logarithm of the label, or from the
graph encoder with a ranking loss and the scorer ``hopweighted``, fitted to 50, 100 or 300 labels drawn by the seed;
random search takes the best of the same labels within the budget. Guided labels are of configurations drawn with the
design ``guided``, random ones are stratified. Optuna's TPE evaluates as many configurations within
the middle budget. Integer programmes minimise what is known without labels. Every result is appended to
``quant_runs.csv`` as soon as it is there.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

import autobuild as ab
from autobuild.construct.problem import Problem
from autobuild.evaluate.digits_diffusion import DigitsDiffusionEvaluator
from autobuild.expressions import Names
from autobuild.quant import kmeans, quantise_weight, weight_layers
from autobuild.quant.digits.networks import load_digits_network
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.additive import Additive
from benchmarks.quant_networks import DATA, LABELLED, Missing, PackageNetwork, label_file, space_file
from benchmarks.report import RESULTS, write
from benchmarks.runs import Run, Runs

MODELS = ("digits_dit", "digits_unet", "pitch", "text")
METRICS = {"digits_dit": "fid", "digits_unet": "fid", "pitch": "wrong", "text": "cer"}
COUNTS = (50, 100, 300)
KNOWN = ("quant_error", "first_order", "fisher", "output_error")
FAMILIES = ("gp", "linear")
RANKINGS = ("srcc", "lambdarank", "hybrid")
GUIDED = {"digits_dit": 100, "digits_unet": 100, "pitch": 100, "text": 50}  # labels of each of three guided draws
EVALUATED = 100  # configurations of TPE
FRESH = (100, 101)  # seeds of data
MEASURED = {"pitch": 500, "text": 48}  # windows or lines of each
OPTIONS = "1"  # raise it when what is run changes
RUNS = RESULTS / "quant_runs.csv"
PEER = Path(__file__).parent / "peers" / "results" / "quant_modelopt.json"

Metrics = dict[str, float]


def budgets(model: str) -> tuple[float, ...]:
    """Average bits; at 3 bits the pitch detector is almost as good as new."""
    return (2.4, 2.7, 3.0) if model == "pitch" else (3.4, 3.7, 4.0)


def counts_of(model: str) -> tuple[int, ...]:
    """Numbers of labels; the text recogniser has 150."""
    return (50, 100, 150) if model == "text" else COUNTS


@lru_cache
def space_of(model: str) -> SearchSpace:
    """The quantisation space of a network."""
    if model.startswith("digits"):
        return ab.space(f"quant:{model}")
    return SearchSpace.from_json(space_file(model).read_text(encoding="utf-8"))


@lru_cache
def labels_of(model: str) -> pd.DataFrame:
    """``arch`` and ``label``, which is lower where a configuration is better."""
    if model.startswith("digits"):
        return ab.LabelledSet.read(model, space_of(model)).frame.rename(columns={"fid": "label"})[["arch", "label"]]
    return pd.read_csv(label_file(model)).rename(columns={"loss": "label"})[["arch", "label"]]


@lru_cache
def evaluator(model: str, fresh: bool) -> Any:
    """What measures a configuration: as the labels were, or on more data."""
    if model.startswith("digits"):
        return DigitsDiffusionEvaluator(model)
    return PackageNetwork(model, (MEASURED if fresh else LABELLED)[model])


@cache
def measured(model: str, text: str) -> float:
    """The metric of a configuration, the mean over fresh data."""
    evaluate = evaluator(model, True)
    return float(np.mean([evaluate(space_of(model), text, seed)[METRICS[model]] for seed in FRESH]))


def full_precision(model: str) -> Metrics:
    """The metric of the network as it is, on the same data."""
    evaluate = evaluator(model, True)
    network = load_digits_network(model) if model.startswith("digits") else evaluate.network
    return {METRICS[model]: float(np.mean([evaluate.of_model(network, seed)[METRICS[model]] for seed in FRESH]))}


def measures(model: str, chosen: Callable[[float], Architecture]) -> Metrics:
    """The metric and average bits of what a method chooses for every budget."""
    bits, out = ab.costs(space_of(model))["avg_bits"], {}
    for budget in budgets(model):
        arch = chosen(budget)
        out[f"bits {budget}"] = float(bits([arch])[0])
        out[f"{METRICS[model]} {budget}"] = measured(model, arch.text)
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


def within(model: str, score: Additive) -> Callable[[float], Architecture]:
    """What gives the configuration of the highest sum within a budget, exactly."""
    space = space_of(model)
    costs = ab.costs(space)
    problem = Problem(score, {"avg_bits": costs.additive("avg_bits")})

    def chosen(budget: float) -> Architecture:
        solution = problem.best(Names(costs=costs).limits(f"avg_bits <= {budget}"))
        return space.assemble(tuple(solution.indices[0].tolist()))

    return chosen


def least(model: str, metric: str) -> Metrics:
    """The configuration of the least sum of a known metric within the budget."""
    return measures(model, within(model, ab.costs(space_of(model)).additive(metric).scaled(-1)))


def greedy(model: str) -> Metrics:
    """From the least error on, the step that adds the least error for each bit saved, until the budget holds."""
    space = space_of(model)
    costs = ab.costs(space)
    bits, error = (costs.additive(name) for name in ("avg_bits", "quant_error"))

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


@lru_cache
def peer_answers(model: str) -> dict[float, dict[str, int]]:
    """Budget -> bits of every layer, as Model-Optimizer chose them (:mod:`benchmarks.peers.quant_modelopt`)."""
    rows = json.loads(PEER.read_text(encoding="utf-8"))["results"] if PEER.exists() else []
    return {row["budget"]: row["bits"] for row in rows if row["model"] == model}


def peer(model: str) -> Metrics:
    """The bits that ``auto_quantize`` of NVIDIA Model-Optimizer chooses, by this project's uniform quantiser.

    Layers that it leaves in 16 bits keep their weights, and count as 16 bits.
    """
    evaluate, out = evaluator(model, True), {}
    network = load_digits_network(model) if model.startswith("digits") else evaluate.network
    weights = {name: layer.weight.numel() for name, layer in weight_layers(network)[0].items()}
    for budget, bits in peer_answers(model).items():
        with ab.quantise(network, {name: f"uaq{b}" for name, b in bits.items() if b < 16}) as quantised:
            values = [evaluate.of_model(quantised.model, seed)[METRICS[model]] for seed in FRESH]
        out[f"{METRICS[model]} {budget}"] = float(np.mean(values))
        out[f"bits {budget}"] = sum(weights[name] * b for name, b in bits.items()) / sum(weights.values())
    return out


def guided_file(model: str) -> Path:
    """Where the labels of guided configurations are."""
    return DATA / f"quant_guided_{model}.csv"


def guide(model: str) -> None:
    """Label guided configurations, drawn by several seeds; rows that are there are kept."""
    space, path = space_of(model), guided_file(model)
    costs, limits = ab.costs(space), budgets(model)
    sums = {name: costs.additive(name) for name in ("avg_bits", *KNOWN)}
    how = {"by": sums["avg_bits"], "estimates": [sums[name] for name in KNOWN], "between": (limits[0], limits[-1])}
    done = set(map(tuple, pd.read_csv(path)[["draw", "arch"]].to_numpy())) if path.exists() else set()
    for draw in range(3):
        for arch in ab.sample_design(space, GUIDED[model], "guided", seed=draw, **how):
            if (draw, arch.text) not in done:
                row = pd.DataFrame([{"draw": draw, "arch": arch.text, **evaluator(model, False)(space, arch, 0)}])
                row.to_csv(path, mode="a", header=not path.exists(), index=False, float_format="%.7g")


def guided(model: str, count: int, seed: int) -> pd.DataFrame:
    """Guided labels: those of seeds 0 to 2 begin with these draws, those of 3 and 4 in the middle of the first two."""
    frame = pd.read_csv(guided_file(model)).rename(columns={"fid": "label", "loss": "label"})[["arch", "label"]]
    begin = GUIDED[model] * seed % (5 * GUIDED[model] // 2)
    rolled = pd.concat([frame.iloc[begin:], frame.iloc[:begin]])
    return rolled.drop_duplicates("arch").head(count).reset_index(drop=True)


def drawn(model: str, count: int, seed: int, design: str = "") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Labels drawn by a seed, and the others."""
    if design == "guided":
        return guided(model, count, seed), labels_of(model)
    frame = labels_of(model)
    rows = np.random.default_rng(seed).permutation(len(frame))
    return frame.iloc[rows[:count]].reset_index(drop=True), frame.iloc[rows[count:]]


def random_search(model: str, count: int, seed: int, design: str = "") -> Metrics:
    """The best labelled configuration within the budget."""
    space = space_of(model)
    frame, _ = drawn(model, count, seed, design)
    used = ab.costs(space)["avg_bits"](list(frame["arch"]))

    def chosen(budget: float) -> Architecture:
        within = frame["label"].where(used <= budget)
        return space.parse(frame["arch"][within.idxmin() if within.notna().any() else int(used.argmin())])

    return measures(model, chosen)


def built(model: str, count: int, seed: int, family: str, ranking: str | None = None, design: str = "") -> Metrics:
    """The configuration of the highest prediction within the budget, or with a ranking loss of the highest norms."""
    space = space_of(model)
    frame, rest = drawn(model, count, seed, design)
    how: dict[str, Any] = {"model": family}
    if ranking:
        how |= {"folds": 5, "config": ab.FitConfig(ranking=ranking)}
    fitted = ab.fit(ab.LabelledSet.read(frame, space), target="-log(label)", seed=seed, **how)
    if ranking:
        tables = fitted.explain(scorer="hopweighted").unit_scores
        out = measures(model, within(model, Additive(0.0, tuple(tables.values()))))
    else:
        scores = fitted.explain()
        out = measures(
            model, lambda budget: space.parse(scores.build(top=1, where=f"avg_bits <= {budget}").frame["arch"][0])
        )
    if len(rest) > 5:
        predicted = fitted.predict_mean([space.parse(text) for text in rest["arch"]])
        out["srcc"] = float(spearmanr(predicted, -rest["label"])[0])
    return out


def tpe(model: str, count: int, seed: int) -> Metrics:
    """The best of ``count`` configurations within the middle budget that Optuna's TPE proposes.

    Average bits are known beforehand, so those beyond the budget are told as such and not evaluated.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space, budget = space_of(model), budgets(model)[1]
    bits, evaluate = ab.costs(space)["avg_bits"], evaluator(model, False)
    label = "fid" if model.startswith("digits") else "loss"
    sampler = optuna.samplers.TPESampler(seed=seed, constraints_func=lambda trial: trial.user_attrs["over"])
    study, best, left = optuna.create_study(sampler=sampler), (np.inf, ""), count
    while left:
        trial = study.ask()
        texts = [trial.suggest_categorical(unit.name, [c.text for c in unit]) for unit in space.units]
        arch = space.parse(space.separator.join(texts))
        over = float(bits([arch])[0]) - budget
        trial.set_user_attr("over", [over])
        value = 0.0
        if over <= 1e-9:
            value, left = float(np.log(evaluate(space, arch, 0)[label])), left - 1
            best = min(best, (value, arch.text))
        study.tell(trial, value)
    return {f"{METRICS[model]} {budget}": measured(model, best[1])}


def without(space: SearchSpace, dropped: Sequence[str]) -> SearchSpace:
    """The space without some of its known numbers."""
    data = copy.deepcopy(space.to_dict())
    for name in dropped:
        del data["options"]["tables"][name]
    return SearchSpace.from_dict(data)


def knowing(model: str, count: int, seed: int, known: Sequence[str]) -> Metrics:
    """Held-out SRCC of the process that knows some numbers beside the choices."""
    space = without(space_of(model), [name for name in KNOWN if name not in known])
    frame, rest = drawn(model, count, seed)
    fitted = ab.fit(ab.LabelledSet.read(frame, space), target="-log(label)", model="gp", seed=seed)
    predicted = fitted.predict_mean([space.parse(text) for text in rest["arch"]])
    return {"srcc": float(spearmanr(predicted, -rest["label"])[0])}


def tasks_of(model: str, seeds: int, counts: Sequence[int]) -> Iterator[tuple[str, int, Callable[[], Metrics]]]:
    """Method, seed, and what runs it; the quick ones first."""
    yield "full precision", 0, partial(full_precision, model)
    for method in ("uaq", "kmc", "kma"):
        yield f"uniform {method}", 0, partial(uniform, model, method)
    yield "greedy by error", 0, partial(greedy, model)
    for name in KNOWN:
        yield f"integer program on {name}", 0, partial(least, model, name)
    if peer_answers(model):
        yield "auto_quantize of Model-Optimizer", 0, partial(peer, model)
    for seed in range(seeds):
        for n in counts:
            yield f"random search, {n} labels", seed, partial(random_search, model, n, seed)
            for family in FAMILIES:
                yield f"built from {n} labels by {family}", seed, partial(built, model, n, seed, family)
    for n in counts if guided_file(model).exists() else ():
        for seed in range(seeds):
            yield f"best of {n} guided labels", seed, partial(random_search, model, n, seed, "guided")
            task = partial(built, model, n, seed, "gp", design="guided")
            yield f"built from {n} guided labels by gp", seed, task
    for seed in range(seeds):
        for n in counts:
            if n <= 100:
                knowledge: dict[str, Sequence[str]] = {
                    "bits alone": (),
                    **{name: (name,) for name in KNOWN},
                    "all": KNOWN,
                }
                for name, known in knowledge.items():
                    yield f"knowing {name}, {n} labels", seed, partial(knowing, model, n, seed, known)
    for seed in range(seeds):
        yield f"TPE, {EVALUATED} evaluations", seed, partial(tpe, model, EVALUATED, seed)
        for n in counts:
            for ranking in RANKINGS:
                task = partial(built, model, n, seed, "graph", ranking)
                yield f"built from {n} labels by hopweighted, {ranking}", seed, task


def run(model: str, seeds: int, counts: Sequence[int], only: str) -> None:
    """All methods on one network whose names hold a text; finished runs are kept."""
    runs = Runs(RUNS)
    for method, seed, task in tasks_of(model, seeds, counts):
        name = Run(model, seed, method, OPTIONS)
        if only in method and name not in runs.done():
            runs.add(name, task())


def table() -> pd.DataFrame:
    """A row a model and method: the mean metric at every budget, and its deviation over sampling seeds."""
    found = Runs(RUNS).read()
    rows = []
    for (model, method), own in found.groupby(["cell", "method"], sort=False):
        if method.startswith("knowing"):
            continue
        value = own.groupby("metric")["value"]
        mean, spread, count = value.mean(), value.std(), value.count()
        row = {"model": model, "metric": METRICS[model], "method": method, "seeds": int(count.max())}
        for place, budget in zip(("least", "middle", "most"), budgets(model), strict=True):
            key = METRICS[model] if method == "full precision" else f"{METRICS[model]} {budget}"
            shown = f"{mean[key]:.1f}" if key in mean else ""
            row[f"{place} bits"] = shown + (f" ± {spread[key]:.1f}" if shown and count[key] > 1 else "")
        row["held-out SRCC"] = f"{mean['srcc']:.2f}" if "srcc" in mean else ""
        rows.append(row)
    kinds = ("full", "uniform", "greedy", "integer", "auto_quantize", "random", "best", "TPE", "built")
    order = {name: place for place, name in enumerate(kinds)}

    def place_of(row: dict[str, Any]) -> tuple[Any, ...]:
        method, counted = row["method"], re.search(r"(\d+) (guided )?labels", row["method"])
        by = f"{counted and counted[2]}{method.partition(' by ')[2]}" if method.startswith("built") else ""
        return MODELS.index(row["model"]), order[method.split()[0].rstrip(",")], by, int(counted[1]) if counted else 0

    rows.sort(key=place_of)
    return pd.DataFrame(rows)


def to_reach() -> pd.DataFrame:
    """A row a model and budget: the best without labels, and the means over seeds of what labels give.

    Reached: the Gaussian process's mean is below every baseline's, those from guided and from more labels included.
    """
    found = Runs(RUNS).read()
    value = found.groupby(["cell", "method", "metric"])["value"].mean()
    rows = []
    for model in (name for name in MODELS if name in set(found["cell"])):
        for budget in budgets(model):
            own, counts = value[model].xs(f"{METRICS[model]} {budget}", level="metric"), counts_of(model)
            known = own[[not name.startswith(("random", "best", "built", "TPE")) for name in own.index]]
            row = {"model": model, "bits": budget, "metric": METRICS[model]}
            row |= {"full precision": value[model, "full precision", METRICS[model]]}
            row |= {"best without labels": f"{known.min():.1f} ({known.idxmin()})"}
            row["labels"] = ", ".join(map(str, counts))
            columns = (
                "random search, {} labels",
                *(f"built from {{}} labels by {family}" for family in FAMILIES),
                "best of {} guided labels",
                "built from {} guided labels by gp",
            )
            for what in columns:
                means = [own.get(what.format(n), float("nan")) for n in counts]
                shown = "" if np.isnan(means).all() else ", ".join("-" if m != m else f"{m:.1f}" for m in means)
                title = what.replace(", {} labels", "").replace(" from {} labels", "").replace("{} ", "")
                row[title] = shown
            for name in (f"TPE, {EVALUATED} evaluations", "auto_quantize of Model-Optimizer"):
                row[name] = own.get(name, float("nan"))
            others = own[[not name.startswith("built") for name in own.index]].min()
            for design in ("", "guided "):
                means = [own.get(f"built from {n} {design}labels by gp", np.nan) for n in counts]
                shown = ["-" if np.isnan(mean) else "yes" if mean < others else "no" for mean in means]
                row[f"reached, {design}labels"] = "" if np.isnan(means).all() else ", ".join(shown)
            rows.append(row)
    return pd.DataFrame(rows)


def knowledge_table() -> pd.DataFrame:
    """A row a model and number of labels: held-out SRCC of the process by what it knows beside the choices."""
    found = Runs(RUNS).read()
    found = found[found["method"].str.startswith("knowing")]
    parts = found["method"].str.extract(r"knowing (?P<known>.*), (?P<labels>\d+) labels")
    found = found.assign(known=parts["known"], labels=parts["labels"].astype(int))
    wide = found.pivot_table(index=["cell", "labels"], columns="known", values="value").round(3)
    return wide[["bits alone", *KNOWN, "all"]].reset_index().rename(columns={"cell": "model"})


def noise() -> pd.DataFrame:
    """A row a model: standard deviations over estimates of the logarithms of their values.

    ``unit``: of the median of a layer, relative to all layers, the mean over layers; ``candidate``: of a candidate,
    relative to its layer, the mean over candidates.
    """
    rows = []
    for model in MODELS:
        costs = ab.costs(space_of(model))
        logs = [[np.log(np.maximum(own, 1e-30)) for own in costs.additive(name).tables] for name in KNOWN]
        units = np.array([[np.median(own) for own in tables] for tables in logs])
        units -= np.median(units, axis=1, keepdims=True)
        candidates = np.array([np.concatenate([own - np.median(own) for own in tables]) for tables in logs])
        row = {"unit": units.std(axis=0).mean(), "candidate": candidates.std(axis=0).mean()}
        rows.append({"model": model, **{name: round(float(value), 2) for name, value in row.items()}})
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
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="methods whose names hold this text")
    parser.add_argument("--model", choices=MODELS)
    parser.add_argument("--labels", type=int)
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    parser.add_argument("--guide", action="store_true", help="only label guided configurations that have no labels yet")
    parser.add_argument("--speed", action="store_true", help="only the seconds of the quantisers")
    parser.add_argument("--noise", action="store_true", help="only by how much the estimates differ")
    given = parser.parse_args()
    if given.noise:
        write("quant_noise", noise(), quick=given.quick)
        return
    if given.speed:
        write("quant_speed", speed(512 if given.quick else 4096), quick=given.quick)
        return
    torch.set_num_threads(1)
    if given.guide:
        for model in (given.model,) if given.model else MODELS:
            guide(model)
        return
    if not given.table:
        for model in (given.model,) if given.model else MODELS:
            counts = (given.labels,) if given.labels else counts_of(model)[: 1 if given.quick else None]
            try:
                run(model, 1 if given.quick else given.seeds, counts, given.only)
            except Missing as error:
                print(f"{model}: skipped, {error}")
    write("quant_methods", table(), quick=given.quick)
    write("quant", to_reach(), quick=given.quick)
    write("quant_knowledge", knowledge_table(), quick=given.quick)


if __name__ == "__main__":
    main()
