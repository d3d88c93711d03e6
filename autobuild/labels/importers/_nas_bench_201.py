"""Tables of NAS-Bench-201: a column of cell strings (``cellstr`` or ``arch``) and metrics (Dong & Yang, ICLR 2020)."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from autobuild.labels._raw_table import RawTable
from autobuild.labels.label_files import locate, read_table

EXAMPLE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|nor_conv_1x1~1|avg_pool_3x3~2|"
_EDGE = re.compile(r"[A-Za-z_]\w*~(\d+)")
_NODES = ("".join(rf"[A-Za-z_]\w*~{source}\|" for source in range(node)) for node in (1, 2, 3))
_CELL = re.compile(r"\+".join(rf"\|{node}" for node in _NODES))


def read_nas_bench_201(path: Path) -> RawTable:
    """Read a table in any format; every other column of numbers is a metric.

    Raises:
        LabelError: As for any table. Rows with incomplete cells are reported later, with all other bad rows.
    """
    return as_cells(read_table(locate(path)))


def cells_column(table: RawTable) -> str | None:
    """The column with a complete cell string in some row, ``arch`` first; None if there is no such column."""
    for name in sorted(table.columns, key=lambda name: name != "arch"):
        cells = (cell.strip() for cell in table.columns[name] if isinstance(cell, str) and "~0|" in cell)
        if any(cell_problem(cell) is None for cell in cells):
            return name
    return None


def as_cells(table: RawTable) -> RawTable:
    """Use the cell strings as architectures, and record what is wrong with the form of each."""
    name = cells_column(table)
    if name is not None and name != "arch":
        table = table.with_arch(name)
    bad = dict(table.bad)
    for row, cell in enumerate(table.columns.get("arch", ())):
        problem = cell_problem(cell.strip()) if isinstance(cell, str) else None
        if problem is not None:
            bad.setdefault(row, f"arch {cell[:120]!r}: {problem}")
    return replace(table, bad=bad, space="nas_bench_201")


def cell_problem(text: str) -> str | None:
    """What is wrong with the form of a cell string, or None. Names of operations are checked by the space.

    A cell has the nodes 1, 2 and 3, joined by ``+``. Node i is ``|op~0|...|op~i-1|``, one edge per earlier node.
    """
    if _CELL.fullmatch(text):
        return None
    nodes = text.split("+")
    if len(nodes) != 3:
        return f"{len(nodes)} nodes joined by '+', a cell has 3, as in {EXAMPLE!r}"
    for number, node in enumerate(nodes, start=1):
        if not (node.startswith("|") and node.endswith("|") and len(node) > 2):
            return f"node {number} is {node!r}; its edges stand between bars, as in {EXAMPLE!r}"
        edges = [_EDGE.fullmatch(edge) for edge in node[1:-1].split("|")]
        sources = [int(edge[1]) if edge else None for edge in edges]
        if None in sources:
            wrong = node[1:-1].split("|")[sources.index(None)]
            return f"node {number}: {wrong!r} is no edge; one is written operation~source"
        missing = sorted(set(range(number)) - set(sources))
        if missing:
            return f"node {number} lacks its edge from node {missing[0]}"
        if sources != list(range(number)):
            return f"node {number} has edges from {sources}, expected are {list(range(number))} in order"
    return None
