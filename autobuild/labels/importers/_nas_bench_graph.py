"""NAS-Bench-Graph (Qin et al., NeurIPS 2022): a pickle, number of an architecture -> its results on one data set.

Four nodes each take the output of an earlier one; an architecture is one of nine such structures and an operation for
each node. The number has the structure as its first digit and the operations as further ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autobuild.errors import LabelError
from autobuild.labels._raw_table import RawTable
from autobuild.labels.importers._restricted_unpickler import read_pickle

NUMBERS = "keys are counted from 1"
LINKS = ("0000", "0001", "0011", "0012", "0013", "0111", "0112", "0122", "0123")  # the node that each node reads
OPS = ("gat", "gcn", "gin", "cheb", "sage", "arma", "graph", "fc", "skip")
OPS_PROTEINS = ("gcn", "sage", "arma", "fc", "skip")
METRICS = {"valid_perf": "valid_perf", "perf": "test_perf", "latency": "latency", "para": "params"}


def read_nas_bench_graph(path: Path) -> RawTable:
    """Read a file ``light/DATA.bench``: architectures such as ``0012|gat|gcn|fc|skip``, and the metrics
    ``valid_perf``, ``test_perf``, ``latency`` and ``params``, in the published units.

    Raises:
        LabelError: The pickle refers to a class, cannot be read, or has another structure.
    """
    data = read_pickle(path)
    entries = data.items() if isinstance(data, dict) else ()
    if not entries or not all(isinstance(key, int) and isinstance(entry, Mapping) for key, entry in entries):
        raise LabelError(f"{path}: accepted is a dictionary, number of an architecture -> its results; this is not")
    fewer = "proteins" in path.name and max(data) < len(LINKS) * (len(OPS_PROTEINS) + 1) ** 4
    ops = OPS_PROTEINS if fewer else OPS
    texts, bad = [], {}
    for row, number in enumerate(data):
        try:
            texts.append(_text(number, ops))
        except IndexError:
            texts.append("")
            bad[row] = f"{number} is no architecture of NAS-Bench-Graph with the operations {', '.join(ops)}"
    columns: dict[str, Any] = {"arch": texts}
    for name, column in METRICS.items():
        columns[column] = [entry.get(name) for entry in data.values()]
    return RawTable(str(path), columns, range(1, len(texts) + 1), NUMBERS, bad=bad, space="nas_bench_graph")


def _text(number: int, ops: tuple[str, ...]) -> str:
    """The structure and operations that a number stands for. Raises IndexError if it is none."""
    base, chosen = len(ops) + 1, []
    if number < 0:
        raise IndexError(number)
    for _ in range(4):
        number, digit = divmod(number, base)
        chosen.append(ops[digit])
    return "|".join([LINKS[number], *reversed(chosen)])
