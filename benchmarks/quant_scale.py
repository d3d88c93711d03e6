"""Quantisation spaces at the size of large models, and exact optima of as many units.

    python -m benchmarks.quant_scale [--quick] [--spaces | --solver]

Spaces are those of published models without their weights: layers and weights are counted beside the models' own
parameters. Imports of the libraries are not measured.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd
import torch

import autobuild as ab
from autobuild.construct.problem import Problem
from autobuild.expressions.limits import parse_where
from autobuild.quant import Choice, weight_layers
from autobuild.quant.knowledge import measure
from autobuild.quant.layer_graph import layer_graph
from autobuild.quant.published import load_published, published
from autobuild.quant.space import declared
from autobuild.spaces.additive import Additive
from benchmarks.report import write


def of_space(name: str) -> dict[str, object]:
    """The space of a published model without its weights: counts beside the model's own, CPU seconds and memory."""
    torch.set_num_threads(1)
    load_published(name)  # imports of the library are not measured
    begun = time.process_time()
    model, inputs = load_published(name)
    graph = layer_graph(model, inputs)
    choices = [Choice(method, bits) for method in ("uaq", "kmc", "kma") for bits in (3, 4)]
    known = measure(model, graph, choices, inputs)
    space = declared(graph, choices, known, name=name)
    row: dict[str, object] = {"model": name, "parameters": f"{sum(p.numel() for p in model.parameters()):,}"}
    layers, _ = weight_layers(model)
    own = sum(layer.weight.numel() for layer in layers.values())
    counted = int(space.options["tables"]["avg_bits"]["divisor"])
    size = 4 * counted + known.other_bytes
    bytes_ = sum({id(t): t.nbytes for t in model.state_dict(keep_vars=True).values()}.values())
    row |= {"weight layers": len(space.stages), "weight layers of the model": len(layers)}
    row |= {
        "weights in these layers": f"{counted:,}",
        "weights of the model": f"{own:,}",
        "bytes agree": size == bytes_,
    }
    row |= {"edges": len(graph.edges), "graph": "chain of modules" if graph.note else "exported"}
    row["CPU s"] = round(time.process_time() - begun, 1)
    row["peak GB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)
    block = declared(graph, choices, known, name=name, grain="block")
    row |= {"block units": len(block.units), "block candidates": sum(unit.size for unit in block.units)}
    bits = ab.costs(space).additive("avg_bits")
    noise = Additive(0.0, tuple(-own.sum() * 4.0 ** -(own / own.min() * 3) for own in bits.tables))
    begun = time.process_time()
    solved = Problem(noise, {"avg_bits": bits}).best(parse_where("avg_bits <= 3.7"))
    row |= {
        "bits at <= 3.7": f"{bits.totals([solved.best])[0]:.6f}",
        "solved, CPU s": round(time.process_time() - begun, 2),
    }
    if name == "dit_xl_2":
        archs = ab.sample_design(block, 50, seed=0)
        frame = pd.DataFrame({"arch": [arch.text for arch in archs], "bits": ab.costs(block)["avg_bits"](archs)})
        fitted = ab.fit(ab.LabelledSet.read(frame, block), target="bits", model="gp", seed=0)
        begun = time.process_time()
        fitted.explain()
        row["all block candidates scored, CPU s"] = round(time.process_time() - begun, 1)
    return row


def spaces(quick: bool) -> pd.DataFrame:
    """All published models, each in a process of its own."""
    names = ["vit_small"] if quick else list(published())
    rows = []
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for row in pool.map(of_space, names):
            print(row, flush=True)
            rows.append(row)
    return pd.DataFrame(rows).fillna("")


def solver(seeds: int = 5, units: int = 800) -> pd.DataFrame:
    """The exact optimum of the sums under two limits: random tables, and tables of mixed precision."""
    rows = []
    for seed, kind in itertools.product(range(seeds), ("random", "mixed precision")):
        rng = np.random.default_rng(seed)
        if kind == "random":
            tables = [rng.normal(size=(units, 3)), rng.uniform(size=(units, 3)), rng.uniform(size=(units, 3))]
        else:
            sizes = rng.choice([1e5, 4e5, 1.6e6, 6.5e6, 1.3e7], units)
            work, bits = sizes * rng.choice([16384, 4096, 1024, 77], units), np.array([2.0, 3.0, 4.0])
            loss = rng.lognormal(size=units)[:, None] * np.sqrt(sizes)[:, None] * 4.0**-bits
            tables = [-loss * np.exp(rng.normal(0, 0.1, (units, 3)))]
            tables += [own[:, None] * bits / own.sum() for own in (sizes, work)]
        score, *metrics = (Additive(0.0, tuple(table)) for table in tables)
        best = [float(m.totals([tables[0].argmax(axis=1)])[0]) for m in metrics]
        bounds = [m.least + share * (b - m.least) for m, b, share in zip(metrics, best, (0.55, 0.5), strict=True)]
        limits = parse_where(f"a <= {bounds[0]!r} and b <= {bounds[1]!r}")
        begun = time.process_time()
        solved = Problem(score, dict(zip("ab", metrics, strict=True)), time_limit_s=600).best(limits)
        seconds = time.process_time() - begun
        rows.append(
            {"tables": kind, "seed": seed, "status": solved.status, "gap": solved.gap, "CPU s": round(seconds, 2)}
        )
    return pd.DataFrame(rows)


def main() -> None:
    """Both tables, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one model, one seed; results are not written")
    parser.add_argument("--spaces", action="store_true", help="only the spaces")
    parser.add_argument("--solver", action="store_true", help="only the optima")
    given = parser.parse_args()
    if given.solver or not given.spaces:
        write("quant_solver", solver(1 if given.quick else 5), quick=given.quick)
    if given.spaces or not given.solver:
        write("quant_spaces", spaces(given.quick), quick=given.quick)


if __name__ == "__main__":
    main()
