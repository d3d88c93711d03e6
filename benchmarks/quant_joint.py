"""Architecture and bits chosen together, beside uniform bits of an architecture chosen for accuracy, at equal bytes.

    python -m benchmarks.quant_joint [--quick] [--table]

60 architectures of tiny_mbconv are trained with their standard evaluator, and each is quantised with eight drawn
configurations. ``joint`` builds from these accuracies within a limit on the bytes of all tensors. ``uniform`` builds an
architecture from the accuracies of the same 60 networks before quantisation, with one choice for all layers and the
same limit. ``random search`` takes the best label within the limit. Every chosen network is trained with three seeds
that no label has used, and quantised. The test pictures are those of the labels. Every result is appended to
``quant_joint_runs.csv`` as soon as it is there.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import itertools
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import autobuild as ab
from autobuild.construct import NoNetworkError
from autobuild.evaluate.digits import DigitTask
from autobuild.evaluate.training import JointEvaluator
from autobuild.importance import Scores
from benchmarks.report import RESULTS, write
from benchmarks.runs import Run, Runs

BASE = ab.space("tiny_mbconv")
QUANT = ("uaq3", "uaq4", "uaq8")
JOINT = ab.joint_space(BASE, QUANT)
TRAINED, CONFIGURATIONS = 60, 8
BUDGETS = (5_000, 6_000, 8_000, 10_000, 12_000, 16_000)  # bytes
SEEDS = (100, 101, 102)
METHODS = ("joint", "random search", *(f"uniform {choice}" for choice in QUANT))
OPTIONS = "1"  # raise it when what is run changes


def plain(text: str) -> str:
    """An architecture of the joint space in the space of architectures."""
    return "|".join("-".join(layer.split(":")[0] for layer in unit.split("-")) for unit in text.split("|")[1:-1])


def with_bits(text: str, choices: list[str]) -> str:
    """An architecture with the choices of stem, layers and head, in this order."""
    first, *left, last = choices
    given = iter(left)
    units = ["-".join(f"{layer}:{next(given)}" for layer in unit.split("-")) for unit in text.split("|")]
    return "|".join([first, *units, last])


def layers_of(text: str) -> int:
    """Layers that choose: those of the stages, stem and head."""
    return text.count("|") + text.count("-") + 3


def drawn(number: int, text: str) -> list[str]:
    """Configurations of one architecture; shares of the choices are drawn first, so that average bits differ."""
    rng = np.random.default_rng(number)
    shares = rng.dirichlet([0.5] * len(QUANT), CONFIGURATIONS)
    return [with_bits(text, rng.choice(QUANT, size=layers_of(text), p=own).tolist()) for own in shares]


def evaluated(texts: list[str], seed: int, quick: bool) -> list[dict[str, float]]:
    """Train the one architecture of these configurations, and quantise it with each of them."""
    evaluate = JointEvaluator(task=DigitTask(n_train=640, n_test=200), epochs=1) if quick else JointEvaluator()
    network = evaluate.network(JOINT, texts[0], seed)
    acc, _ = evaluate._train_and_test(network, texts[0], seed, None)
    return [evaluate._after(JOINT, text, copy.deepcopy(network), acc) for text in texts]


def labels(runs: Runs, quick: bool) -> pd.DataFrame:
    """``arch, acc, acc_plain, size_bytes`` of every labelled configuration, computed where missing."""
    for number, arch in enumerate(ab.sample_design(BASE, 12 if quick else TRAINED, seed=0)):
        names = [Run("label", number, text, OPTIONS) for text in dict.fromkeys(drawn(number, arch.text))]
        if not set(names) <= runs.done():
            found = evaluated([name.method for name in names], number, quick)
            for name, metrics in zip(names, found, strict=True):
                runs.add(name, metrics)
    found = runs.read()
    found = found[found["cell"] == "label"]
    return found.pivot(index="method", columns="metric", values="value").rename_axis("arch").reset_index()


def scores(frame: pd.DataFrame, method: str) -> Scores:
    """Scores of a Gaussian process of the labels, or of the accuracies before quantisation with one choice for all."""
    space, own = JOINT, frame[["arch", "acc"]]
    if method != "joint":
        choice = method.split()[1]
        space, bare = ab.joint_space(BASE, (choice,)), [plain(text) for text in frame["arch"]]
        texts = [with_bits(text, [choice] * layers_of(text)) for text in bare]
        own = pd.DataFrame({"arch": texts, "acc": frame["acc_plain"]}).drop_duplicates("arch", ignore_index=True)
    return ab.fit(ab.LabelledSet.read(own, space), target="acc", model="gp", seed=0).explain()


def chosen(frame: pd.DataFrame) -> dict[tuple[int, str], str]:
    """Budget and method -> what the method chooses within it, where there is anything."""
    out: dict[tuple[int, str], str] = {}
    for method in METHODS:
        found = None if method == "random search" else scores(frame, method)
        for budget in BUDGETS:
            within = frame[frame["size_bytes"] <= budget]
            with contextlib.suppress(NoNetworkError):
                if found is not None:
                    built = found.build(top=1, where=f"size_bytes <= {budget}")
                    out[budget, method] = str(built.frame["arch"][0])
                elif len(within):
                    out[budget, method] = str(within["arch"][within["acc"].idxmax()])
    return out


def table(runs: Runs) -> pd.DataFrame:
    """A row a budget and method."""
    found = runs.read()
    found = found[found["cell"] != "label"]
    value = found.pivot_table(index=["cell", "method", "split"], columns="metric", values="value").reset_index()
    rows = []
    for budget in BUDGETS:
        for method in METHODS:
            own = value[(value["cell"] == str(budget)) & (value["method"] == method)]
            if len(own):
                spread = f" ± {own['acc'].std():.1f}" if len(own) > 1 else ""
                row = {"size_bytes at most": f"{budget:,}", "method": method, "seeds": len(own)}
                row |= {"size_bytes": f"{own['size_bytes'].iloc[0]:,.0f}", "avg_bits": f"{own['avg_bits'].iloc[0]:.2f}"}
                row |= {
                    "acc before (%)": f"{own['acc_plain'].mean():.1f}",
                    "acc (%)": f"{own['acc'].mean():.1f}{spread}",
                }
                rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    """Label, build, train what was built; then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short trainings of 12 architectures; nothing is written")
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder) / "runs.csv" if given.quick else RESULTS / "quant_joint_runs.csv")
        if not given.table:
            found = chosen(labels(runs, given.quick))
            for seed, ((budget, method), text) in itertools.product(SEEDS, found.items()):
                name = Run(str(budget), seed, method, OPTIONS)
                if name not in runs.done():
                    runs.add(name, evaluated([text], seed, given.quick)[0])
        write("quant_joint", table(runs), quick=given.quick)


if __name__ == "__main__":
    main()
