"""Are the networks the published ones, and how fast are they counted? The table of proofs.

python -m benchmarks.spaces [--quick]      (AUTOBUILD_DATA names the folder of the published labels)

Counts from cost tables are compared for all rows; 500 networks of each published set are realised as well, and their
modules counted.
"""

from __future__ import annotations

import json
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import autobuild as ab
from autobuild.cost import costs_of
from autobuild.graphs import pack_architectures
from autobuild.spaces.registry import declaration
from benchmarks.report import arguments, counted_by_torch, machine, median, published, write

MACRO, ANB = "nas-bench-macro_cifar10.json", "anb_dataset_jsons.tar.gz"
OFA_595M = "e3k3-e4k5-e3k3|e4k5-e4k5-e6k3-e3k5|e6k7-e6k5-e3k3-e4k5|e6k3-e6k5-e6k7-e4k3|e6k3-e6k3-e6k5-e3k3"
RESNET50_D = "m32w1.0d1|" + "|".join(f"w1.0|{'-'.join(['e0.25'] * depth)}" for depth in (3, 4, 6, 3))
CELL_36 = "|skip_connect~0|+|none~0|nor_conv_3x3~1|+|avg_pool_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
CELL_0 = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
COUNTED = (
    "nas_bench_macro",
    "mnasnet",
    "nas_bench_201",
    "ofa_mbv3(width=1.2)",
    "ofa_mbv3(resolution='128-224/4')",
    "ofa_proxyless",
    "ofa_resnet50",
)

Row = tuple[str, str, str, str]


def realised(space: ab.SearchSpace, texts: Sequence[str], params: Sequence[int], macs: Sequence[int]) -> int:
    """How many realised networks have exactly these parameters and multiply-accumulates."""
    file = declaration(space.family)
    right = 0
    for text, own_params, own_macs in zip(texts, params, macs, strict=True):
        with torch.device("meta"):
            net = space.realise(text, file.NUM_CLASSES, file.INPUT_SHAPE[0])
        right += counted_by_torch(net, file.INPUT_SHAPE) == (own_params, own_macs)
    return right


def macro_rows(folder: Path, nets: int) -> list[Row]:
    """NAS-Bench-Macro against its published params and flops."""
    rows = json.loads((folder / MACRO).read_text())
    space, texts = ab.space("nas_bench_macro"), list(rows)
    costs = costs_of(space)
    params, flops = (np.array([row[name] for row in rows.values()]) for name in ("params", "flops"))
    equal = int(((costs["params"](texts) == params) & (costs["flops"](texts) == flops)).sum())
    some = slice(None, None, max(1, len(texts) // nets))
    right = realised(space, texts[some], params[some], flops[some])
    distinct = len({space.key(space.parse(text)) for text in texts})

    def read() -> float:
        started = time.perf_counter()
        pack_architectures(space, [space.parse(text) for text in json.loads((folder / MACRO).read_text())])
        return time.perf_counter() - started

    seconds = median(read, 3)
    return [
        row(
            "nas_bench_macro: params and flops equal, from tables", f"{equal:,} of {len(texts):,}", "all", equal == 6561
        ),
        row("... of realised networks", f"{right} of {len(texts[some])}", "all, >= 500", right == len(texts[some])),
        row("... distinct networks by key", f"{distinct:,}", "3,969", distinct == 3969),
        row("... JSON parsed and packed to tensors (s)", f"{seconds:.2f}", "< 2", seconds < 2),
    ]


def mnasnet_rows(folder: Path, nets: int) -> list[Row]:
    """Accel-NASBench against its published params and macs."""
    texts, params, macs, plain = [], [], [], []
    with tarfile.open(folder / ANB) as tar:
        for member in tar:
            if not member.name.endswith(".json"):
                continue
            one = json.load(tar.extractfile(member))  # type: ignore[arg-type]
            a = one["architecture"]
            parts = [(a[f"block{b}_e"], a[f"block{b}_k"], a[f"block{b}_l"], int(a[f"block{b}_se"])) for b in range(7)]
            texts.append("|".join(f"e{e}k{k}l{depth}s{se}" for e, k, depth, se in parts))
            plain.append(not any(se for *_, se in parts))
            params.append(round(one["model_info"]["params"] * 1e6))
            macs.append(round(one["model_info"]["macs"] * 1e6))
    space = ab.space("mnasnet")
    costs = costs_of(space)
    own, rule, bare = costs["params"](texts), costs["macs_published"](texts), costs["macs"](texts)
    without = np.array(plain)
    off = np.abs(own / params - 1)
    apart = float(np.abs(rule / macs - 1).max())
    below = 1 - bare / macs
    some = slice(None, None, max(1, len(texts) // nets))
    right = realised(space, texts[some], params[some], list(map(int, bare[some])))
    equal = int((own == params)[without].sum())
    return [
        row("mnasnet: params equal where no squeeze-excite is on", f"{equal:,} of {without.sum():,}", "all",
            equal == without.sum()),
        row("... largest deviation of params where it is on", f"{off[~without].max():.2%} ({(~without).sum():,} rows)",
            "<= 0.5 %", off.max() <= 0.005),
        row("... largest deviation of macs_published (all rows)", f"{apart:.4%}", "<= 1 %", apart <= 0.01),
        row("... macs below the published ones by", f"{below.min():.1%} to {below.max():.1%}", "", True),
        row("... realised networks: params published, macs as from tables", f"{right} of {len(texts[some])}",
            "all, >= 500", right == len(texts[some])),
    ]  # fmt: skip


def known_rows() -> list[Row]:
    """Single networks whose counts are published."""
    cells, more = (costs_of(ab.space("nas_bench_201"), num_classes=n) for n in (10, 100))
    ofa = costs_of(ab.space("ofa_mbv3", width=1.2), input_shape=(3, 236, 236))
    resnet = int(costs_of(ab.space("ofa_resnet50"))["params"]([RESNET50_D])[0])
    found = {
        "nas_bench_201, the cell of NATS-Bench's thread 36: params, flops": (
            (int(cells["params"]([CELL_36])[0]), int(cells["flops"]([CELL_36])[0])), (802_426, 113_951_370)),
        "nas_bench_201, cell 0 (thread 24): flops, of 10 and 100 classes": (
            (int(cells["flops"]([CELL_0])[0]), int(more["flops"]([CELL_0])[0])), (15_647_370, 15_653_220)),
        "ofa_resnet50, the subnet that is ResNet-50-D: params": ((resnet,), (25_576_264,)),
    }  # fmt: skip
    rows = [row(what, _numbers(got), _numbers(wanted), got == wanted) for what, (got, wanted) in found.items()]
    params, macs = ofa["params"]([OFA_595M])[0] / 1e6, ofa["macs"]([OFA_595M])[0] / 1e6
    said = row("ofa_mbv3(width=1.2), specialised net flops@595M, 236 px: params, MACs (M)",
               f"{params:.3f}, {macs:.1f}", "9.1, 595", (round(params, 1), round(macs)) == (9.1, 595))  # fmt: skip
    unknown = row("ofa_proxyless: no published count of a subnet at hand", "", "", True)
    return [*rows, said, unknown]


def speed_rows(n: int) -> list[Row]:
    """Parameters and MACs of random architectures from tables, against counting a realised network."""
    rows = []
    for name in COUNTED:
        space = ab.space(name)
        archs = space.sample(n, seed=0, design="uniform")
        costs = costs_of(space)
        started = time.perf_counter()
        params, macs = costs["params"](archs), costs["macs"](archs)
        rate = n / (time.perf_counter() - started)
        file = declaration(space.family)
        same = 0
        for place, arch in enumerate(archs[:20]):
            size = space.layers(arch)[0][0].get("resolution") or file.INPUT_SHAPE[1]
            with torch.device("meta"):
                net = space.realise(arch, file.NUM_CLASSES, file.INPUT_SHAPE[0])
            counted = counted_by_torch(net, (file.INPUT_SHAPE[0], int(str(size)), int(str(size))))
            same += counted == (params[place], macs[place])
        what = f"{name}: params and MACs, making the tables included (architectures/s); equal to counting modules"
        rows.append(row(what, f"{rate:,.0f}; {same} of 20", ">= 2,000; all", rate >= 2000 and same == 20))
    return rows


def row(what: str, measured: str, wanted: str, reached: bool) -> Row:
    """A row of the table."""
    return what, measured, wanted, ("yes" if reached else "no") if wanted else ""


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(f"{number:,}" for number in numbers)


def main() -> None:
    """Check everything and print the table."""
    options = arguments(__doc__ or "")
    nets = 20 if options.quick else 500
    folder = published()
    rows = [*macro_rows(folder, nets), *mnasnet_rows(folder, nets)] if folder else []
    if not folder:
        print("AUTOBUILD_DATA is not set: the rows on published labels are left out")
    rows += [*known_rows(), *speed_rows(2000 if options.quick else 10_000)]
    write("spaces", pd.DataFrame(rows, columns=["what", "measured", "wanted", "reached"]), quick=options.quick,
          note=machine())  # fmt: skip


if __name__ == "__main__":
    main()
