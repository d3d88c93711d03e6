"""Limits on DRAM bytes in the loop: how long building takes, whether every network keeps them, how tight the sums are.

python -m benchmarks.dram_limits [--quick] [--part ofa_mbv3,nas_bench_201]     rows of other spaces stay as they are

Of each space 200 networks are labelled with a made-up accuracy that grows with the logarithm of their MACs, so that
what is wanted costs what is limited; a Gaussian process is fitted, and the ten best networks are built with
``dram_bytes <= X``. X is the 10, 30 and 60 % quantile of 100 random networks. The hardware is ``edge_npu``, whose
buffer of 1 MiB holds whole networks of 32 pixels, and the same with a smaller one. Nothing is known of groups or
networks before each of the limits. Every network that comes back is computed again by :func:`autobuild.fuse`,
which shares nothing with what built it.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

import autobuild as ab
from autobuild.construct import Limited
from autobuild.cost import read_hardware
from autobuild.cost.fusion import group_cost_cache
from autobuild.cost.space_costs import MetricOf
from autobuild.spaces.fitted import fitted_sum
from benchmarks.report import RESULTS, arguments, machine, write

EDGE = read_hardware("edge_npu")
SPACES = {  # the smaller buffer, KiB
    "ofa_mbv3": 256, "ofa_proxyless": 256, "mnasnet": 256, "nas_bench_macro": 64, "nas_bench_201": 16, "tiny_mbconv": 8,
}  # fmt: skip
QUANTILES = (0.1, 0.3, 0.6)
LABELLED, RANDOM, TOP, SEED = 200, 100, 10, 0


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """What limits say of the networks that come up, and how many are computed in full among the best."""
    found: Counter[str] = Counter()
    decide, feasible = Limited.decide, Limited.feasible

    def deciding(self: Limited, archs: list[ab.Architecture]) -> np.ndarray:
        verdict = decide(self, archs)
        found.update({"in": int((verdict > 0).sum()), "open": int((verdict == 0).sum()),
                      "out": int((verdict < 0).sum())})  # fmt: skip
        return verdict

    def looking(self: Limited, archs: list[ab.Architecture]) -> np.ndarray:
        kept = feasible(self, archs)
        found.update({"checked": len(archs), "kept": int(kept.sum())})
        return kept

    Limited.decide, Limited.feasible = deciding, looking  # type: ignore[method-assign]
    try:
        yield found
    finally:
        Limited.decide, Limited.feasible = decide, feasible  # type: ignore[method-assign]


def forget() -> None:
    """What networks before this one taught about groups."""
    group_cost_cache._known.clear()
    group_cost_cache._ids.clear()


def scores_of(space: ab.SearchSpace, count: int) -> ab.Scores:
    """Additive scores of a made-up accuracy."""
    archs = space.sample(count, seed=SEED, design="depth")
    macs = ab.costs(space)["macs"](archs)
    noise = np.random.default_rng(SEED).normal(0, 0.1, len(archs))
    frame = pd.DataFrame({"arch": [arch.text for arch in archs], "acc": 10 * np.log(macs) + noise})
    return ab.fit(ab.LabelledSet.from_frame(frame, space), "acc", model="gp", seed=SEED).explain()


def measured(name: str, buffer_kib: int, quick: bool) -> list[dict[str, object]]:
    """A row for each limit."""
    space, hardware = ab.space(name), replace(EDGE, buffer_bytes=1024 * buffer_kib)
    archs = space.sample(20 if quick else RANDOM, seed=SEED + 1, design="uniform")
    exact = ab.costs(space, hardware)["dram_bytes"]
    forget()
    start = time.perf_counter()
    values = exact(archs)
    each = (time.perf_counter() - start) / len(archs)
    sums = tightness(exact, archs, values)
    scores = scores_of(space, 60 if quick else LABELLED)
    rows: list[dict[str, object]] = []
    for quantile in QUANTILES[1:2] if quick else QUANTILES:
        limit = int(np.quantile(values, quantile))
        forget()
        with counted() as found:
            start = time.perf_counter()
            built = scores.build(TOP, where=f"dram_bytes <= {limit}", hardware=hardware)
            seconds = time.perf_counter() - start
        told = built.values["cost.dram_bytes"]
        again = [ab.fuse(ab.graph_of(space, arch), hardware).partition for arch in built]
        right = [part.dram_bytes == own and own <= limit for part, own in zip(again, told, strict=True)]
        rows.append({
            "space": name, "buffer (KiB)": buffer_kib, "limit (MB)": f"{limit / 1e6:.3f}",
            "quantile": f"{quantile:.0%}",
            "seconds": f"{seconds:.1f}",
            "built": len(built), "satisfy the limit": f"{sum(right)} of {len(right)}",
            "largest use of the limit": f"{max(told) / limit:.1%}",
            "feasible / undecided / infeasible by bounds": " / ".join(f"{found[k]:,}" for k in ("in", "open", "out")),
            "undecided ones computed": found["checked"], "of these feasible": found["kept"],
            "ms per network": f"{1e3 * each:.0f}", **sums,
        })  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def tightness(cost: MetricOf, archs: list[ab.Architecture], values: np.ndarray) -> dict[str, str]:
    """Medians over random networks: the sums that enclose the number, and one fitted to the first half on the rest."""
    bounds, space = cost.bounds(), cost.of.space
    indices = np.array([space.indices(arch) for arch in archs])
    half = len(archs) // 2
    fit = partial(fitted_sum, space) if bounds is None else bounds.likely
    likely, _ = fit(indices[:half], values[:half])
    off = np.abs(likely.totals(indices[half:]) / values[half:] - 1)
    told = {"upper bound / exact": "", "lower bound / exact": "", "error of the fitted sum": f"{np.median(off):.1%}"}
    if bounds is not None:
        for name, table in (("upper", bounds.upper), ("lower", bounds.lower)):
            told[f"{name} bound / exact"] = f"{np.median(table.totals(indices) / values):.3f}"
    return told


def main() -> None:
    """Run it, and print the table."""
    given = arguments(__doc__ or "")
    names = given.part.split(",") if given.part else ["tiny_mbconv"] if given.quick else list(SPACES)
    buffers = {name: (SPACES[name],) if given.quick else (EDGE.buffer_bytes // 1024, SPACES[name]) for name in names}
    rows = [row for name in names for buffer in buffers[name] for row in measured(name, buffer, given.quick)]
    frame = pd.DataFrame(rows)
    path = RESULTS / "dram_limits.csv"
    if path.exists() and not given.quick:
        stored = pd.read_csv(path, dtype=str, keep_default_na=False)
        frame = pd.concat([frame, stored[~stored["space"].isin(names)]])
        frame = frame.sort_values("space", key=lambda column: column.map(list(SPACES).index), kind="stable")
    load = f"Load of the machine at the end: {os.getloadavg()[0]:.1f}."
    write("dram_limits", frame, quick=given.quick, note=f"The {TOP} best networks under each limit. {machine()} {load}")


if __name__ == "__main__":
    main()
