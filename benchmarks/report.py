"""What every benchmark shares: a table on screen, as CSV and as Markdown, and where the published labels lie."""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from autobuild._words import counted

if TYPE_CHECKING:
    from torch import nn

RESULTS = Path(__file__).parent / "results"


def arguments(about: str, **numbers: int) -> argparse.Namespace:
    """The options of every benchmark, and ``--NAME N`` for those given, with their defaults."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a version of about a minute; results are not written")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"default: {default}")
    return parser.parse_args()


def published() -> Path | None:
    """Folder of published labels, named by AUTOBUILD_DATA."""
    folder = os.environ.get("AUTOBUILD_DATA")
    return Path(folder) if folder else None


def write(name: str, frame: pd.DataFrame, *, quick: bool, note: str = "") -> None:
    """Print a table; unless quick, write it as CSV and Markdown under ``benchmarks/results``."""
    text = markdown(frame)
    print(text + (f"\n\n{note}" if note else ""))
    if quick:
        return
    RESULTS.mkdir(exist_ok=True)
    frame.to_csv(RESULTS / f"{name}.csv", index=False)
    (RESULTS / f"{name}.md").write_text(text + (f"\n\n{note}\n" if note else "\n"), encoding="utf-8")


def markdown(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table."""
    rows = [list(map(str, frame.columns)), ["---"] * len(frame.columns)]
    rows += [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    return str(value)


def median(measure: Callable[[], float], runs: int) -> float:
    """Median of several runs."""
    return statistics.median(measure() for _ in range(runs))


def fresh_process(module: str, part: str, *extra: str) -> str:
    """Run one part of a benchmark in a process of its own (clean memory, cold caches); its last line of output."""
    command = [sys.executable, "-m", module, "--part", part, *extra]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout.strip().splitlines()[-1]


def machine(threads: Sequence[str] = ()) -> str:
    """One line about where this was measured."""
    import platform

    import torch

    return (
        f"Measured with {counted(torch.get_num_threads(), 'torch thread')} on {counted(os.cpu_count() or 1, 'core')} "
        f"({platform.machine()}), Python {platform.python_version()}, torch {torch.__version__}."
    )


def counted_by_torch(net: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """Parameters and multiply-accumulates of one input, by a counter that is not this project's: torch's own.

    It counts two operations for every multiply-accumulate. A copy runs on the meta device; the network stays as it is.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    shadow = copy.deepcopy(net).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shadow(torch.empty((1, *shape), device="meta"))
    return sum(parameter.numel() for parameter in net.parameters()), int(counter.get_total_flops()) // 2
