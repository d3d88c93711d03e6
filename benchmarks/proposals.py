"""What the number of proposals buys: the networks built from 10,000, 2,000, 500 or 100 best sums, all climbed from.

For each space and target a Gaussian process is fitted to some labels. Its additive scores propose, its predictions rank
and climb. Compared is the mean prediction of the ten networks built, in standard deviations of the labels, with that of
10,000 proposals; and whether the best network is the same.
"""

from __future__ import annotations

import itertools
import time

import numpy as np
import pandas as pd

import autobuild as ab
from autobuild.construct import Evaluator, build_refined
from benchmarks.report import arguments, machine, published, write

CASES = (
    ("tiny_mbconv", "tiny_mbconv", 120, "acc"),
    ("tiny_mbconv", "tiny_mbconv", 120, "-latency_ms"),
    ("nas_bench_macro", "nas-bench-macro_cifar10.json", 100, "mean_acc"),
    ("ofa_proxyless(width=1.3)", "ofa_proxyless_labels.csv", 150, "acc"),
    ("ofa_proxyless(width=1.3)", "ofa_proxyless_labels.csv", 150, "acc - 0.002*latency_gpu"),
    ("ofa_mbv3(width=1.2)", "ofa_mbv3_labels.csv", 150, "acc"),
    ("ofa_mbv3(width=1.2)", "ofa_mbv3_labels.csv", 150, "-latency_gpu"),
    ("ofa_mbv3(width=1.2)", "ofa_mbv3_labels.csv", 150, "acc/latency_gpu"),
)
PROPOSALS = (10_000, 2_000, 500, 100)
TOP = 10


def measured(name: str, file: str, count: int, target: str, seed: int) -> dict[int, tuple[float, str, float]]:
    """For each number of proposals: mean prediction of the built networks, the first of them, seconds."""
    folder, space = published(), ab.space(name)
    labels = ab.LabelledSet.read(file if folder is None or "." not in file else folder / file, space)
    rows = np.sort(np.random.default_rng(seed).choice(len(labels), count, replace=False))
    model = ab.fit(ab.LabelledSet.from_frame(labels.frame.iloc[rows].reset_index(drop=True), space), target,
                   model="gp", seed=seed)  # fmt: skip
    scores = model.explain().unit_scores
    spread = float(model.training["target"].std())
    out = {}
    for proposals in PROPOSALS:
        started = time.perf_counter()
        built = build_refined(space, scores, Evaluator(model.predict_mean), TOP, proposals=proposals)
        took = time.perf_counter() - started
        out[proposals] = (float(model.predict_mean(built).mean()) / spread, built[0].text, took)
    return out


def main() -> None:
    """Measure everything and print the table."""
    options = arguments(__doc__ or "")
    seeds = range(1 if options.quick else 3)
    rows = []
    for case in CASES:
        if "." in case[1] and published() is None:
            print(f"AUTOBUILD_DATA is not set: {case[0]} is left out")
            continue
        runs = [measured(*case, seed) for seed in seeds]
        for proposals in PROPOSALS:
            off = [run[proposals][0] - run[PROPOSALS[0]][0] for run in runs]
            same = sum(run[proposals][1] == run[PROPOSALS[0]][1] for run in runs)
            seconds = np.median([run[proposals][2] for run in runs])
            rows.append((case[0], case[3], f"{proposals:,}", f"{np.mean(off):+.5f}", f"{min(off):+.5f}",
                         f"{same} of {len(runs)}", f"{seconds:.2f}"))  # fmt: skip
            print(*rows[-1], flush=True)
    columns = ["space", "target", "proposals", "mean of ten, difference", "worst seed", "same best network", "seconds"]
    frame = pd.DataFrame(list(itertools.chain(rows)), columns=columns)
    write("proposals", frame, quick=options.quick, note=f"{len(seeds)} draws of labels. {machine()}")


if __name__ == "__main__":
    main()
