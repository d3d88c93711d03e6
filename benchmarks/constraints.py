"""How fast are limits solved, and is it proven? Best, k best, hard instances, Pareto fronts.

python -m benchmarks.constraints [--quick]      (AUTOBUILD_DATA names the folder of the published OFA labels)

Additive scores only: what the full predictor adds is not measured here. Every row is the median (and the largest) of
several instances. The OFA instances take their accuracy and latency tables from a ridge regression on one-hot layers
of the published labels, parameters and MACs from exact tables; their limits are quantiles of random architectures.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import pandas as pd

import autobuild as ab
from autobuild.construct import (
    Additive,
    Limit,
    Problem,
    Solution,
    additive_front,
    hypervolume,
    parse_where,
)
from autobuild.construct._relaxation import constraints_of, relax
from autobuild.cost import unit_tables
from benchmarks.report import arguments, machine, published, write

LIMIT = 10.0  # seconds
Case = tuple[Problem, tuple[Limit, ...]]


def random_case(seed: int, hard: bool = False) -> Case:
    """7 units x 1,000 candidates x 3 limits; hard: the score is a combination of the limited costs, and 1e-3 noise."""
    rng = np.random.default_rng(seed)
    costs = {f"cost{i}": Additive(0.0, tuple(rng.uniform(size=1000) for _ in range(7))) for i in range(3)}
    tables = [rng.normal(size=1000) for _ in range(7)]
    if hard:
        weights = rng.uniform(0.5, 1.5, 3)
        for unit, noise in enumerate(tables):
            parts = [weight * cost.tables[unit] for weight, cost in zip(weights, costs.values(), strict=True)]
            tables[unit] = np.sum(parts, axis=0) + 1e-3 * noise
    limits = " and ".join(f"{name} <= {rng.uniform(1.5, 3):.3f}" for name in costs)
    return Problem(Additive(0.0, tuple(tables)), costs, time_limit_s=LIMIT), parse_where(limits)


def one_hot(runs: np.ndarray, choices: int) -> np.ndarray:
    """Layers of one unit as indicators. Shapes: ``(n, depth) -> (n, depth * choices)``."""
    out = np.zeros((*runs.shape, choices))
    rows, places = np.nonzero(runs >= 0)
    out[rows, places, runs[rows, places]] = 1
    return out.reshape(len(runs), -1)


def ofa() -> dict[str, Additive] | None:
    """Accuracy (%), latency (ms), parameters and MACs (millions) of the OFA-MBv3 space as tables over units."""
    folder = published()
    if folder is None:
        return None
    from sklearn.linear_model import RidgeCV

    space = ab.space("ofa_mbv3(width=1.2)")
    labels = ab.LabelledSet.read(folder / "ofa_mbv3_labels.csv", space)
    chosen = np.array([space.indices(arch) for arch in labels.archs])
    tables = [one_hot(unit.runs(np.arange(unit.size))[0], len(unit.stages[0].layers)) for unit in space.units]
    rows = np.hstack([table[chosen[:, unit]] for unit, table in enumerate(tables)])
    out = {name: unit_tables(space, name).scaled(1e-6) for name in ("params", "macs")}
    for name, factor in (("acc", 100.0), ("latency_gpu", 1.0)):
        fitted = RidgeCV(np.logspace(-3, 3, 13)).fit(rows, factor * labels.frame[name].to_numpy())
        shares = np.split(fitted.coef_, np.cumsum([table.shape[1] for table in tables])[:-1])
        parts = tuple(table @ share for table, share in zip(tables, shares, strict=True))
        out[name] = Additive(float(fitted.intercept_), parts)
    return out


def ofa_case(tables: dict[str, Additive], seed: int) -> Case:
    """Three limits, each at a random quantile (0.1 to 0.9) of random architectures."""
    rng = np.random.default_rng(seed)
    drawn = np.stack([rng.integers(size, size=2000) for size in tables["acc"].sizes], axis=1)
    names = ("latency_gpu", "params", "macs")
    bounds = [np.quantile(tables[name].totals(drawn), rng.uniform(0.1, 0.9)) for name in names]
    limits = " and ".join(f"{name} <= {bound:.4f}" for name, bound in zip(names, bounds, strict=True))
    problem = Problem(tables["acc"], {name: tables[name] for name in names}, time_limit_s=LIMIT)
    return problem, parse_where(limits)


def seconds(values: Sequence[float]) -> str:
    """Median and largest."""
    return f"{np.median(values):.2f} (largest {max(values):.2f})"


def by_highs(case: Case) -> tuple[float, float, float]:
    """The same programme handed to HiGHS after the same dropping of candidates: seconds, score, bound."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix

    problem, limits = case
    started = time.perf_counter()
    small = relax(problem.score, constraints_of(problem.score, limits, problem.metrics), only_best=True)
    assert small is not None
    owner = np.repeat(np.arange(len(small.kept)), [kept.size for kept in small.kept])
    cost = np.concatenate([loss - small.prices @ use for loss, use in zip(small.losses, small.usages, strict=True)])
    choose = csr_matrix((np.ones(owner.size), (owner, np.arange(owner.size))))
    both = [LinearConstraint(choose, 1, 1), LinearConstraint(np.hstack(small.usages), -np.inf, small.room)]
    options = {"mip_rel_gap": 0, "time_limit": LIMIT}
    found = milp(cost, integrality=np.ones(owner.size), bounds=Bounds(0, 1), constraints=both, options=options)

    def value(objective: float | None) -> float:
        spent = float(small.prices @ small.room)
        return math.nan if objective is None else small.bound - small.scale * (objective + spent)

    return time.perf_counter() - started, value(found.fun), value(found.mip_dual_bound)


def main() -> None:
    """Measure everything and print the table."""
    options = arguments(__doc__ or "")
    count = 2 if options.quick else 5
    rows: list[tuple[str, str, str, str]] = []

    def add(what: str, measured: str, wanted: str = "", reached: bool = True) -> None:
        rows.append((what, measured, wanted, ("yes" if reached else "no") if wanted else ""))

    def add_best(what: str, cases: list[Case]) -> None:
        solved: list[Solution] = [problem.best(limits) for problem, limits in cases]
        total = sum(cases[0][0].score.sizes)
        took, proven = [item.seconds for item in solved], sum(item.status == "optimal" for item in solved)
        reached = proven == len(cases) and max(took) <= LIMIT
        add(f"{what}: best, proven optimal (s)", seconds(took), "<= 10, all proven", reached)
        add("... proven", f"{proven} of {len(cases)}")
        add("... candidates left of all", f"{total - solved[0].dropped:,} of {total:,}")
        others = [by_highs(case) for case in cases]
        worst = max(abs(item.score - score) for item, (_, score, _) in zip(solved, others, strict=True))
        add("... HiGHS alone on those (s)", seconds([took for took, _, _ in others]))
        add("... largest difference between both scores", f"{worst:.1e}", "<= 1e-6", worst <= 1e-6)

    def add_k_best(what: str, cases: list[Case], k: int) -> None:
        found: list[Solution] = [
            Problem(problem.score, problem.metrics, time_limit_s=20.0).k_best(limits, k) for problem, limits in cases
        ]
        complete = sum(item.complete for item in found)
        add(f"{what}: {k:,} best feasible (s)", seconds([item.seconds for item in found]))
        add("... proven", f"{complete} of {len(cases)}")

    def add_front(what: str, targets: list[Additive]) -> None:
        started = time.perf_counter()
        front = additive_front(targets)
        took = time.perf_counter() - started
        share = max(
            float(lost / (target.greatest - target.least)) for lost, target in zip(front.epsilon, targets, strict=True)
        )
        said = "exact" if front.exact else f"within {share:.2%} of the ranges"
        volume = hypervolume(front.values[:2000], [target.least for target in targets])
        assert volume > 0
        add(f"Pareto front, {what} (s)", f"{took:.2f}: {len(front):,} assemblies, {said}")

    first = random_case(99)
    first[0].best(first[1])  # imports what solving needs
    randoms = [random_case(seed) for seed in range(count)]
    add_best("7 x 1,000 candidates, 3 limits, random", randoms)
    for k in (1000, 10_000):
        add_k_best("... random", randoms, k)
    tables = ofa()
    if tables is None:
        print("AUTOBUILD_DATA is not set: the rows on published labels are left out")
    else:
        cases = [ofa_case(tables, seed) for seed in range(count)]
        add_best("OFA-MBv3, 5 x 7,371 candidates, 3 limits", cases)
        for k in (1000, 10_000):
            add_k_best("... OFA-MBv3", cases, k)
        problem, limits = cases[0]
        started = time.perf_counter()
        problem.prices(limits)
        add("... prices of its three limits, solved again (s)", f"{time.perf_counter() - started:.2f}")
        both = Problem(tables["acc"], tables, time_limit_s=LIMIT)
        greedy = parse_where(
            f"acc >= {tables['acc'].greatest - 0.5} and latency_gpu <= {limits[0].bound} and macs <= 500"
        )
        started = time.perf_counter()
        found = both.why_infeasible(greedy)
        took = time.perf_counter() - started
        said = "feasible" if found is None else f"{'proven' if found.proven else 'not proven'} nearest"
        add("... nearest network to limits that none satisfies (s)", f"{took:.2f}: {said}")
    hard = [random_case(seed, hard=True) for seed in range(count)]
    solved = [problem.best(limits) for problem, limits in hard]
    others = [by_highs(case) for case in hard]
    add("7 x 1,000, score nearly the limited costs: time (s)", seconds([item.seconds for item in solved]),
        "about 10", max(item.seconds for item in solved) < 12)  # fmt: skip
    add("... gap between bound and best found", shares([item.gap / abs(item.score) for item in solved]))
    add("... HiGHS alone: its gap", shares([(bound - score) / abs(score) for _, score, bound in others]))
    better = sum(item.score > score for item, (_, score, _) in zip(solved, others, strict=True))
    add("... better score than HiGHS alone", f"{better} of {len(hard)}")
    if tables is not None:
        down = {name: tables[name].scaled(-1) for name in ("latency_gpu", "params", "macs")}
        add_front("OFA-MBv3 accuracy, latency", [tables["acc"], down["latency_gpu"]])
        add_front("OFA-MBv3 accuracy, MACs", [tables["acc"], down["macs"]])
        if not options.quick:
            add_front("OFA-MBv3 accuracy, latency, params", [tables["acc"], down["latency_gpu"], down["params"]])
    score, costs = randoms[0][0].score, list(randoms[0][0].metrics.values())
    add_front("random, two targets", [score, costs[0].scaled(-1)])
    add_front("random, three targets", [score, costs[0].scaled(-1), costs[1].scaled(-1)])
    frame = pd.DataFrame(rows, columns=["what", "measured", "wanted", "reached"])
    note = f"{count} instances a row, median and largest. {machine()}"
    write("constraints", frame, quick=options.quick, note=note)


def shares(values: Sequence[float]) -> str:
    """Median and largest of relative gaps."""
    return f"{np.median(values):.3%} (largest {max(values):.3%})"


if __name__ == "__main__":
    main()
