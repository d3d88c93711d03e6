"""Can importance be trusted? Stability over seeds and labels, a deletion check on true labels, planted effects.

python -m benchmarks.importance [--quick]        (AUTOBUILD_DATA names the folder of the published labels)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

import autobuild as ab
from autobuild.importance import deletion, stability
from autobuild.rank import srcc
from autobuild.spaces import Architecture
from benchmarks.report import arguments, machine, published, write

DATA = {
    "nas_bench_macro": ("nas-bench-macro_cifar10.json", "mean_acc", (50, 100, 200)),
    "mnasnet": ("anb_dataset_jsons.tar.gz", "val_top1", (100, 300)),
    "ofa_mbv3": ("ofa_mbv3_labels.csv", "100*acc", (300,)),
}


def main() -> None:
    """Measure, print, write."""
    given = arguments(__doc__ or "")
    folder = published()
    fits = 3 if given.quick else 5
    rows = planted(2 if given.quick else 6)
    if folder is not None:
        for name, (file, target, sizes) in DATA.items():
            labels = ab.LabelledSet.read(folder / file, ab.space(name))
            for n in sizes[:1] if given.quick else sizes:
                rows += of_labels(labels, target, n, fits)
    note = f"Models: gp. Stability: {fits} fits. {machine()}"
    write("importance", pd.DataFrame(rows, columns=["what", "measured"]), quick=given.quick, note=note)


def of_labels(labels: ab.LabelledSet, target: str, n: int, fits: int) -> list[tuple[str, str]]:
    """Stability between fits on other labels and on folds of the same ones; the deletion check where truth is known."""
    apart = []
    for seed in range(fits):
        rows = np.random.default_rng(seed).permutation(len(labels))[:n]
        apart.append(ab.fit(labels.subset(rows), target, model="gp", seed=seed).explain())
    same = labels.subset(np.random.default_rng(0).permutation(len(labels))[:n])
    folds = [ab.fit(same.subset(train), target, model="gp").explain() for train, _ in same.folds(fits, 0)]
    where = f"{labels.space.name} `{target}`, {n} labels"
    out = []
    for what, scores in (("drawn anew each time", apart), ("four fifths of the same", folds)):
        frame = stability(scores)
        out.append((f"{where}: candidate scores, labels {what}: SRCC between fits, mean (worst unit and pair)",
                    f"{frame['srcc'].mean():.3f} ({frame['worst'].min():.3f})"))  # fmt: skip
    choices = apart[0].choices
    out.append(
        (
            f"{where}: choices whose best value is significantly better than the second",
            f"{choices['significant'].sum()} of {len(choices)}",
        )
    )
    if labels.space.name == "nas_bench_macro":
        known = dict(zip(labels.keys, labels.frame["mean_acc"], strict=True))

        def truth(archs: Sequence[Architecture]) -> np.ndarray:
            return np.array([known.get(labels.space.key(arch), np.nan) for arch in archs])

        frame = pd.concat([deletion(scores, truth, seed=seed) for seed, scores in enumerate(apart)])
        for unit, group in frame.groupby("unit", sort=False):
            out.append((f"{where}: {unit}, best candidate replaced by the median one: predicted, true loss (points)",
                        f"{group['predicted_loss'].mean():.2f}, {group['true_loss'].mean():.2f}; random exchange "
                        f"{group['random_loss'].mean():+.2f}"))  # fmt: skip
    return out


def planted(truths: int) -> list[tuple[str, str]]:
    """Effects against planted ones: a sum over choices with noise, 300 labels of tiny_mbconv's space."""
    space = ab.space("tiny_mbconv")
    found, covered, spread = [], [], []
    for seed in range(truths):
        rng = np.random.default_rng(seed)
        worth = {
            (stage.name, layer, f.name): rng.normal(size=len(f.values))
            for stage in space.stages
            for layer in range(1, stage.depths[-1] + 1)
            for f in stage.features
        }
        archs = list(dict.fromkeys(space.sample(320, seed, "depth")))[:300]
        values = [_value(space, arch, worth) for arch in archs]
        noisy = np.array(values) + 0.3 * np.std(values) * rng.normal(size=len(values))
        frame = pd.DataFrame({"arch": [arch.text for arch in archs], "acc": noisy})
        places = ab.fit(ab.LabelledSet.from_frame(frame, space), "acc", model="gp").explain().places
        for key, group in places[places["feature"] != "depth"].groupby(["unit", "layer", "feature"], sort=False):
            true = worth[key] - worth[key].mean()
            spread += list(zip(group["effect"], true, strict=True))
            covered += list((group["lower"].to_numpy() <= true) & (true <= group["upper"].to_numpy()))
        found.append(srcc([a for a, _ in spread], [b for _, b in spread]))
        spread = []
    return [
        ("planted effects of all choices, 300 labels, noise 0.3 sd: SRCC with the truth, mean (worst)",
         f"{np.mean(found):.3f} ({np.min(found):.3f})"),
        ("... share of them inside their 90 % intervals", f"{np.mean(covered):.1%}"),
    ]  # fmt: skip


def _value(space: ab.SearchSpace, arch: Architecture, worth: dict[tuple[str, int, str], np.ndarray]) -> float:
    total = 0.0
    for stage, run in zip(space.stages, arch.runs, strict=True):
        for layer, digit in enumerate(run, start=1):
            for feature in stage.features:
                value = stage.layer_dict(digit)[feature.name]
                total += float(worth[stage.name, layer, feature.name][feature.values.index(value)])
    return total


if __name__ == "__main__":
    main()
