"""What is measured on which labels: the cells of the construction benchmark, and the truth that judges them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

import autobuild as ab
from autobuild.spaces import Architecture
from benchmarks.columns import Columns
from benchmarks.panel import Panel
from benchmarks.report import published
from benchmarks.splits import Split, split, split_nearly_all

Floats = NDArray[np.float64]

DATA = {
    "mbv3": ("ofa_mbv3(width=1.2)", "ofa_mbv3_labels.csv"),
    "proxyless": ("ofa_proxyless", "ofa_proxyless_labels.csv"),
    "accel": ("mnasnet", "anb_dataset_jsons.tar.gz"),
    "macro": ("nas_bench_macro", "nas-bench-macro_cifar10.json"),
    "nb201": ("nas_bench_201", "nas_bench_201_cifar10.csv.gz"),
    "trans": ("trans_nas_bench_micro", "trans_nas_bench_micro.csv"),
}
TRAINED_EACH = ("nb201", "trans")  # networks of one function were trained apart, and have labels of their own
COMPLETE = ("macro",)  # every network of the space has a label, so a true rank can be told
BUILT_ON = ("mbv3", "proxyless", "macro")  # where what is built is judged: by truth, or by a panel of predictors
BUDGETS = (60, 110, 210)  # evaluations of a search: labels of a cell and ten networks built
BUILT = 10


@dataclass(frozen=True)
class Cell:
    """One row of the table: a target, a number of labels, and the splits it is repeated on.

    Attributes:
        name: E.g. ``"mbv3_300"``.
        data: Key of :data:`DATA`.
        target: What is maximised.
        n: Labels given; of a search, its evaluations.
        splits: Number of splits; their numbers are their seeds.
        search: True for searches of the whole space.
    """

    name: str
    data: str
    target: str
    n: int
    splits: int
    search: bool = False


def _cells() -> dict[str, Cell]:
    rows = [(data, data, "acc", n, splits) for data in ("mbv3", "proxyless") for n, splits in ((300, 20), (2700, 5))]
    rows += [
        (f"accel_{short}", "accel", target, n, splits)
        for short, target in (
            ("top1", "val_top1"),
            ("zcu102", "log(latency_zcu102)"),
            ("a100", "log(throughput_a100)"),
        )
        for n, splits in ((100, 20), (300, 20), (1000, 5))
    ]
    rows += [("macro", "macro", "mean_acc", n, 20) for n in (50, 100, 200)]
    cells = [Cell(f"{name}_{n}", data, target, n, splits) for name, data, target, n, splits in rows]
    cells.append(Cell("macro_search", "macro", "mean_acc", BUDGETS[-1], 20, search=True))
    return {cell.name: cell for cell in cells}


CELLS = _cells()


def true_ranks(values: Sequence[float] | Floats) -> NDArray[np.int64]:
    """1 + the number of networks strictly better, for every distinct network. Shapes: ``(n,) -> (n,)``."""
    given = np.asarray(values, dtype=float)
    return len(given) - np.searchsorted(np.sort(given), given, side="right") + 1


class Problem:
    """The labels of one target, and what is computed from them once for all splits and methods.

    Attributes:
        labels: The rows that have the target.
        values: The target. Shape ``(len(labels),)``.
    """

    def __init__(self, data: str, target: str) -> None:
        folder = published()
        if folder is None:
            raise SystemExit("AUTOBUILD_DATA is not set: it names the folder of the published labels")
        space, file = DATA[data]
        usable = ab.LabelledSet.read(folder / file, ab.space(space)).target(target)
        self.data, self.target = data, target
        self.labels, self.values = usable.labels, usable.values
        self.space, self.archs, self.keys = usable.labels.space, usable.labels.archs, usable.labels.keys
        self.columns = Columns(self.space)

    @cached_property
    def one_hot(self) -> Floats:
        """One-hot columns of all rows."""
        return self.columns.one_hot(self.archs)

    @cached_property
    def knowledge(self) -> Floats:
        """Knowledge-rich columns of all rows."""
        return self.columns.knowledge(self.archs)

    def split(self, cell: Cell, seed: int, part: str = "judged") -> Split:
        """The rows of a split. At 2,700 of 3,000 labels, rows of the other part are learned from, too."""
        nearly_all = self.data in ("mbv3", "proxyless") and cell.n > 1000
        return (split_nearly_all if nearly_all else split)(self.keys, cell.n, seed, part)

    # --- truth, where every network has a label ---------------------------------------------------------------

    def _name(self, arch: Architecture) -> str:
        return arch.text if self.data in TRAINED_EACH else self.space.key(arch)

    @cached_property
    def networks(self) -> dict[str, int]:
        """Key of every distinct network (text, of :data:`TRAINED_EACH`) -> its first row."""
        first: dict[str, int] = {}
        for row, arch in enumerate(self.archs):
            first.setdefault(self._name(arch), row)
        return first

    @cached_property
    def _truth(self) -> dict[str, tuple[float, int]]:
        rows = list(self.networks.values())
        pairs = zip(self.values[rows], true_ranks(self.values[rows]), strict=True)
        return {key: (float(value), int(rank)) for key, (value, rank) in zip(self.networks, pairs, strict=True)}

    def value(self, arch: Architecture) -> float:
        """True label of any architecture of a complete table."""
        return self._truth[self._name(arch)][0]

    def rank(self, arch: Architecture) -> int:
        """True rank of any architecture of a complete table; 1 is the best."""
        return self._truth[self._name(arch)][1]

    # --- a proxy, where only the labelled rows are there ------------------------------------------------------

    @cached_property
    def _panel(self) -> Panel:
        return Panel(self.columns, self.archs, self.values)

    def proxy(self, archs: Sequence[Architecture]) -> Floats:
        """What a panel of predictors that saw *all* rows says: see :mod:`benchmarks.panel`. Shape ``(n,)``."""
        return self._panel.predict(archs)


@cache
def problem(data: str, target: str) -> Problem:
    """Labels of a target; read once."""
    return Problem(data, target)
