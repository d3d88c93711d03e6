"""Can feature scores be trusted? Planted truths: what every feature value is worth is known.

python -m benchmarks.features [--quick]

Labels are drawn from random additive truths over a small space; the rank correlation between the FE-MLP's feature
effects and the truth is printed for the full gradient of deeper hops (``feature_gradient=1``, plain joint training)
and for this project's default, with the held-out rank correlations beside them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

import autobuild as ab
from autobuild.rank import srcc
from benchmarks.report import arguments, write

SHARES = (1.0, 0.1, 0.02, 0.0)


def planted(seed: int, rows: int) -> tuple[ab.LabelledSet, dict[tuple[str, object], float]]:
    """A labelled set and the worth of every feature value in it."""
    rng = np.random.default_rng(seed)
    space = ab.sequence_space(
        "planted",
        units={"a": [1, 2, 3], "b": [1, 2, 3], "c": [1, 2, 3]},
        features={"expand": [1, 2, 3], "kernel": [3, 5, 7], "se": [0, 1]},
        text="e{expand}k{kernel}s{se}",
    )
    worth = {(f.name, value): float(rng.uniform(0.2, 1)) for f in space.features for value in f.values}
    archs = list(dict.fromkeys(space.sample(2 * rows, seed=seed, design="depth")))[:rows]
    truth = np.array(
        [
            sum(worth[item] for stage in space.layers(arch) for layer in stage for item in layer.items())
            for arch in archs
        ]
    )
    noise = rng.normal(0, 0.05 * truth.std(), len(archs))
    frame = pd.DataFrame({"arch": [arch.text for arch in archs], "acc": truth + noise})
    return ab.LabelledSet.from_frame(frame, space), worth


def main() -> None:
    """Fit every planted truth with every share of the gradient."""
    options = arguments(__doc__ or "")
    truths, rows = (2, 200) if options.quick else (6, 300)
    table = []
    for share in SHARES:
        found, hop0, head = [], [], []
        for seed in range(truths):
            labels, worth = planted(seed, rows)
            model = ab.fit(
                labels,
                seed=seed,
                config=ab.FitConfig(holdout=0.2, refit=False),
                encoder=ab.EncoderConfig(feature_gradient=share),
                model="graph",
            )
            effects = model.explain().features
            own = effects[effects["feature"].isin(["expand", "kernel", "se"])]
            centred = own["effect"]
            true = pd.Series([worth[(name, value)] for name, value in zip(own["feature"], own["value"], strict=True)])
            true = true - true.groupby(own["feature"].to_numpy()).transform("mean")
            found.append(srcc(centred.to_numpy(), true.to_numpy()))
            hop0.append(model.report["hop_srcc"][0])
            head.append(model.report["test_srcc"])
        table.append((share, np.mean(found), np.min(found), np.mean(hop0), np.mean(head)))
    columns = ["feature_gradient", "effects against truth: SRCC, mean", "... worst", "hop-0 SRCC", "held-out SRCC"]
    note = f"Means over {truths} planted truths of {rows} labels each."
    write("features", pd.DataFrame(table, columns=columns), quick=options.quick, note=note)


if __name__ == "__main__":
    main()
