"""Check raw tables: parse architectures, convert metrics to float64, report all bad rows, average repeated rows."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from autobuild._typing import FloatArray, IntArray
from autobuild.errors import LabelError, SpaceError
from autobuild.labels._raw_table import (
    ARCH_ALIASES,
    COMMA,
    RawTable,
    is_missing,
    no_architectures,
    number_column,
    text_number,
)
from autobuild.spaces import Architecture, SearchSpace, load_space, space_names

SHOWN = 20
PROBED = 50  # number of cells that are parsed to find out whether a column holds architectures


class _Unusable(ValueError):
    """The cell is not an architecture; the text gives the reason."""


@dataclass(frozen=True)
class Measured:
    """The rows of a file, before rows of equal architectures are averaged.

    Attributes:
        numbers: Number (or name) of each row in the file. Length ``(m,)``.
        word: Word for a row in messages: line, row, key...
        row: For each row of the file, its row in the labelled set. Shape ``(m,)``.
        metrics: Metric -> its values. Shape ``(m,)``.
    """

    numbers: tuple[int | str, ...]
    word: str
    row: IntArray
    metrics: dict[str, FloatArray]

    def take(self, places: IntArray, row: IntArray) -> Measured:
        """Select rows of the file by position; ``row`` gives their rows in the new labelled set."""
        metrics = {name: values[places] for name, values in self.metrics.items()}
        return Measured(tuple(self.numbers[place] for place in places), self.word, row, metrics)

    def of(self, rows: IntArray) -> Measured:
        """Select the measurements of some rows of the labelled set, which are renumbered 0, 1, ..."""
        new = np.full(int(self.row.max(initial=-1)) + 1, -1)
        new[rows] = np.arange(len(rows))
        places = np.flatnonzero(new[self.row] >= 0)
        return self.take(places, new[self.row[places]])

    def averaged(self) -> dict[str, FloatArray]:
        """Mean of each metric for each row of the set; missing and infinite values are left out if others remain."""
        first = np.unique(self.row, return_index=True)[1]
        size = np.bincount(self.row)
        merged = {}
        for name, values in self.metrics.items():
            finite = np.isfinite(values)
            count = np.bincount(self.row[finite], minlength=len(first))
            total = np.bincount(self.row[finite], weights=values[finite], minlength=len(first))
            merged[name] = np.where((count > 0) & (size > 1), total / np.maximum(count, 1), values[first])
        return merged

    def note(self) -> list[str]:
        """A note on how many rows were averaged; empty if all architectures differ."""
        size = np.bincount(self.row)
        repeated = int((size > 1).sum())
        if not repeated:
            return []
        what = "architecture occurs" if repeated == 1 else "architectures occur"
        copies = sum(self._alike(np.flatnonzero(self.row == row)) for row in np.flatnonzero(size > 1)[:1000])
        exact = f" ({copies:,} with equal values throughout)" if copies else ""
        text = f"{int(size[size > 1].sum()):,} rows averaged: {repeated:,} {what} more than once{exact}"
        return [text + self._differences(np.flatnonzero(size > 1))]

    def _differences(self, rows: IntArray) -> str:
        """Metrics in which rows of one architecture differ by more than a tenth of the metric's 5 % to 95 % range."""
        differences = []
        order = np.argsort(self.row, kind="stable")
        begin = np.searchsorted(self.row[order], np.arange(int(self.row.max()) + 2))
        for name, values in self.metrics.items():
            finite = np.where(np.isfinite(values), values, np.nan)[order]
            if np.isfinite(finite).sum() < 2:
                continue
            low, high = np.nanquantile(finite, [0.05, 0.95])
            groups = (finite[begin[row] : begin[row + 1]] for row in rows)
            widest = max((np.ptp(g[np.isfinite(g)]) for g in groups if np.isfinite(g).sum() > 1), default=0.0)
            if widest > 0.1 * (high - low):
                differences.append(f"{name} by up to {widest:.3g}")
        more = ", ..." if len(differences) > 4 else ""
        return f"; they differ: {', '.join(differences[:4])}{more}" if differences else ""

    def _alike(self, places: IntArray) -> bool:
        columns = [values[places] for values in self.metrics.values()]
        return bool(columns) and all(np.array_equal(c, np.full_like(c, c[0]), equal_nan=True) for c in columns)


@dataclass(frozen=True)
class Checked:
    """The checked content of a table.

    Attributes:
        archs: The architectures, each once, in the order of their first row.
        measured: The rows with their metrics.
        notes: What was changed or left out, for the user.
        ignored: Column that is not a metric -> the reason.
    """

    archs: list[Architecture]
    measured: Measured
    notes: list[str]
    ignored: dict[str, str] = field(default_factory=dict)


def check_table(table: RawTable, space: SearchSpace, n: int | None) -> Checked:
    """Check the first ``n`` rows of a table; None checks all.

    Columns without numbers are left out, and cells of a metric that are not numbers count as missing; see ``notes``.

    Raises:
        LabelError: ``n`` is out of range, no column holds architectures, none holds numbers, or rows are unusable: one
            error counts them all and shows the first 20 with number, value and reason.
    """
    rows = row_count(n, len(table.numbers), table.source)
    table = _find_architectures(table, space, rows)
    if rows > 1 and _holds_units(table, space):
        units = ", ".join(str(next(iter(cells))) for name, cells in table.columns.items() if name != "arch")
        note = f"{table.named([0])} holds units ({units}), no architecture: no row"
        table, rows = replace(table.without(0), notes=[*table.notes, note]), rows - 1
    bad: dict[int, list[str]] = {row: [reason] for row, reason in table.bad.items() if row < rows}
    archs = _architectures(table, space, rows, bad)
    if bad:
        raise LabelError(_listing(table, rows, bad, space))
    metrics, notes, ignored = _metrics(table, rows)
    place: dict[str, int] = {}
    kept = [arch for arch in archs if arch is not None]
    row = np.array([place.setdefault(str(arch), len(place)) for arch in kept], dtype=np.int64)
    measured = Measured(tuple(table.numbers[:rows]), table.word, row, metrics)
    first = np.unique(row, return_index=True)[1]
    return Checked([kept[at] for at in first], measured, [*table.notes, *notes, *measured.note()], ignored)


def row_count(n: int | None, rows: int, source: str) -> int:
    """Check a requested number of rows; None stands for all. Raises LabelError if it is out of range."""
    if n is None:
        return rows
    if isinstance(n, bool) or not isinstance(n, numbers.Integral) or not 1 <= n <= rows:
        raise LabelError(f"{source}: n={n!r}: accepted is a number of rows from 1 to {rows:,}")
    return int(n)


def _find_architectures(table: RawTable, space: SearchSpace, rows: int) -> RawTable:
    """Make the column of architectures the column ``arch``: it has that name, or its texts parse in the space."""
    usual = [name for name in ("arch", *ARCH_ALIASES) if name in table.columns]
    shares = {name: _share(table.columns[name], space, rows) for name in usual}
    column = next((name for name in usual if shares[name]), None)
    if column is None:
        others = {name: _share(cells, space, rows) for name, cells in table.columns.items() if name not in usual}
        best = max(others.values(), default=0.0)
        likely = [name for name, share in others.items() if share == best]
        if best >= 0.5 and len(likely) == 1:
            column = likely[0]
        elif usual:  # the errors of its rows will explain the problem
            column = usual[0]
        elif best >= 0.5:
            raise no_architectures(table, f", and several that hold architectures ({', '.join(likely)}): rename one")
        else:
            raise no_architectures(table, f", and none of another name holds architectures of {space.name}")
        if _is_architecture(column, space):
            names = ", ".join(["arch", *(f"metric{n}" for n in range(1, min(len(table.columns), 4)))])
            raise LabelError(
                f"{table.source}: the names of the columns are missing: {_short(column)} in their place is an "
                f"architecture; write them above it, for example {names}"
            )
    return table if column == "arch" else table.with_arch(column)


def _share(cells: Sequence[Any], space: SearchSpace, rows: int) -> float:
    """The share of a column's cells that are architectures, estimated from cells spread over the whole table."""
    places = np.unique(np.linspace(0, rows - 1, min(rows, PROBED)).astype(int))
    at = cells.iloc if hasattr(cells, "iloc") else cells
    known: dict[str, Architecture | str] = {}
    good = 0
    for place in places:
        try:
            _architecture(at[int(place)], space, known)
            good += 1
        except _Unusable:
            pass
    return good / len(places)


def _holds_units(table: RawTable, space: SearchSpace) -> bool:
    """Whether the first row holds units: no architecture, no number, and some text in a metric column."""
    first = {name: next(iter(cells)) for name, cells in table.columns.items()}
    texts = [cell for name, cell in first.items() if name != "arch"]
    if not all(isinstance(cell, str) and text_number(cell) is None for cell in texts) or not any(map(_filled, texts)):
        return False
    second = table.columns["arch"]
    return not _is_architecture(first["arch"], space) and _share(second[1:], space, len(table.numbers) - 1) > 0


def _is_architecture(cell: object, space: SearchSpace) -> bool:
    try:
        _architecture(cell, space, {})
    except _Unusable:
        return False
    return True


def _filled(cell: object) -> bool:
    return isinstance(cell, str) and bool(cell.strip())


def _architectures(
    table: RawTable, space: SearchSpace, rows: int, bad: dict[int, list[str]]
) -> list[Architecture | None]:
    known: dict[str, Architecture | str] = {}
    archs: list[Architecture | None] = []
    for row, cell in enumerate(table.columns["arch"][:rows]):
        arch: Architecture | None = None
        if row not in table.bad:
            try:
                arch = _architecture(cell, space, known)
            except _Unusable as error:
                bad.setdefault(row, []).append(f"arch {_short(cell)}: {error}")
        archs.append(arch)
    return archs


def _architecture(cell: object, space: SearchSpace, known: dict[str, Architecture | str]) -> Architecture:
    if isinstance(cell, Architecture):
        cell = str(cell)
    if not isinstance(cell, str):
        if is_missing(cell):
            raise _Unusable("no architecture")
        lost = (
            ": a number has lost its leading zeros, read the column as text" if isinstance(cell, numbers.Real) else ""
        )
        raise _Unusable(f"not text{lost}")
    text = cell.strip()
    if not text:
        raise _Unusable("no architecture")
    if text not in known:
        try:
            known[text] = space.parse(text)
        except SpaceError as error:
            known[text] = str(error)
    parsed = known[text]
    if isinstance(parsed, str):
        raise _Unusable(parsed)
    return parsed


def _metrics(table: RawTable, rows: int) -> tuple[dict[str, FloatArray], list[str], dict[str, str]]:
    """Metric -> values; notes for the user; other columns -> why they are not metrics."""
    metrics: dict[str, FloatArray] = {}
    notes: list[str] = []
    ignored: dict[str, str] = {}
    commas = table.separator not in (",", "") and not any(
        "." in cell and text_number(cell) is not None
        for name, cells in table.columns.items()
        if name != "arch"
        for cell in cells[:rows]
        if isinstance(cell, str)
    )
    mixed = (
        not commas
        and table.separator not in (",", "")
        and any(
            isinstance(cell, str) and COMMA.fullmatch(cell.strip())
            for name, cells in table.columns.items()
            if name != "arch"
            for cell in cells[:rows]
        )
    )
    used_commas = False
    for name, cells in table.columns.items():
        if name == "arch":
            continue
        column = number_column(cells[:rows], decimal_commas=commas, points=not mixed)
        used_commas |= column.commas
        if column.values is None:
            ignored[name] = column.problem
            continue
        metrics[name] = column.values
        if column.unit:
            notes.append(f"{name}: the unit {column.unit!r} behind every number is left out")
        if column.texts:
            shown = [f"{text!r} ({table.named(places)})" for text, places in list(column.texts.items())[:4]]
            more = f" and {len(column.texts) - 4} other texts" if len(column.texts) > 4 else ""
            count = sum(map(len, column.texts.values()))
            is_none = "cell is no number and counts" if count == 1 else "cells are no numbers and count"
            notes.append(f"{name}: {count:,} {is_none} as missing: {', '.join(shown)}{more}")
    if used_commas:
        notes.append("decimal commas are read as points: 0,75 is 0.75")
    if ignored and not metrics:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(ignored.items())[:SHOWN])
        raise LabelError(f"{table.source}: no column beside {'arch'!r} holds numbers: {reasons}")
    by_reason: dict[str, list[str]] = {}
    for name, why in ignored.items():
        by_reason.setdefault(why, []).append(name)
    notes += [
        f"no metric{'s' if len(names) > 1 else ''}, left out: {_listed(names)} ({why})"
        for why, names in by_reason.items()
    ]
    return metrics, notes, ignored


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f", ... ({len(names):,} in all)" if len(names) > 10 else "")


def _listing(table: RawTable, rows: int, bad: dict[int, list[str]], space: SearchSpace) -> str:
    shown = [f"  {table.word} {table.numbers[row]}: {'; '.join(bad[row])}" for row in sorted(bad)[:SHOWN]]
    more = [f"  ... and {len(bad) - SHOWN:,} more"] if len(bad) > SHOWN else []
    head = f"{table.source}: {len(bad):,} of {rows:,} rows cannot be used ({table.counted})"
    hint = [_of_another_space(table.columns["arch"][:rows], space)] if len(bad) == rows and not table.bad else []
    return "\n".join([head, *shown, *more, *filter(None, hint)])


def _of_another_space(cells: Iterable[Any], space: SearchSpace) -> str:
    """A hint which bundled space the architectures belong to, if no row belongs to the space given."""
    text = next((cell.strip() for cell in cells if isinstance(cell, str) and cell.strip()), "")
    if not text:
        return ""
    others = []
    for name in space_names():
        if name == space.name:
            continue
        try:
            load_space(name).parse(text)
        except SpaceError:
            continue
        others.append(name)
    if others:
        return f"{_short(text)} is an architecture of {' and of '.join(others)}; the space given is {space.name}"
    return (
        f"no space that ships has architectures such as {_short(text)}: if they are of a space of your own, "
        "declare it (docs/own_space.md) and give it as space="
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 90 else text[:87] + "..."


def row_indices(values: Sequence[int] | npt.NDArray[Any], rows: int) -> IntArray:
    """Check row indices, or a boolean mask over all rows, and return them as indices.

    Raises:
        LabelError: An index is not an integer from 0 to ``rows - 1`` or occurs twice, or a mask has the wrong length.
    """
    given = np.asarray(values)
    if given.dtype == np.bool_ and given.ndim == 1:
        if len(given) != rows:
            raise LabelError(f"a mask of {len(given):,} rows was given for {rows:,} rows")
        return np.flatnonzero(given)
    if given.size == 0:
        return np.zeros(0, dtype=np.int64)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise LabelError(f"rows are integers from 0 to {rows - 1:,} in one dimension; given: {_short(values)}")
    if given.min() < 0 or given.max() >= rows:
        wrong = given[(given < 0) | (given >= rows)]
        raise LabelError(f"row {int(wrong[0])} does not exist: accepted are 0 to {rows - 1:,}")
    if len(np.unique(given)) != len(given):
        raise LabelError("a row is given twice; a labelled set holds each architecture once")
    return given.astype(np.int64)
