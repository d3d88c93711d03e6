"""Raw tables into checked rows: architectures parsed, metrics as float64, bad rows in one error, twins averaged."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from autobuild.errors import LabelError, SpaceError
from autobuild.labels.tables import RawTable
from autobuild.spaces import Architecture, SearchSpace

FloatArray = npt.NDArray[np.float64]

SHOWN = 20
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "<na>", "-nan", "#n/a"})
_BOOLEANS = {"true": 1.0, "false": 0.0}


class _Unusable(ValueError):
    """A cell that is not what its column holds; the text is the reason."""


def check_table(table: RawTable, space: SearchSpace, n: int | None) -> tuple[list[Architecture], dict[str, FloatArray]]:
    """Parse the first ``n`` rows (all by default).

    Returns:
        The architecture of every row, and every metric column with shape ``(rows,)``; missing cells are NaN.

    Raises:
        LabelError: ``n`` is out of range, or rows are unusable: one error counts them all and shows the first 20 with
            number, value and reason.
    """
    rows = row_count(n, len(table.numbers), table.source)
    bad: dict[int, list[str]] = {row: [reason] for row, reason in table.bad.items() if row < rows}
    archs = _architectures(table, space, rows, bad)
    metrics = {name: _metric(table, name, rows, bad) for name in table.columns if name != "arch"}
    if bad:
        raise LabelError(_listing(table, rows, bad))
    return [arch for arch in archs if arch is not None], metrics


def row_count(n: int | None, rows: int, source: str) -> int:
    """Check a requested number of rows; None asks for all."""
    if n is None:
        return rows
    if isinstance(n, bool) or not isinstance(n, numbers.Integral) or not 1 <= n <= rows:
        raise LabelError(f"{source}: n={n!r}: accepted is a number of rows from 1 to {rows:,}")
    return int(n)


def average_duplicates(
    archs: list[Architecture], metrics: dict[str, FloatArray]
) -> tuple[list[Architecture], dict[str, FloatArray], list[str]]:
    """Average the rows of equal architectures, metric by metric, at the place of the first.

    Missing and infinite values are left out of an average; where nothing is left, the first value stays.
    Also returns what to tell the user, empty where all architectures differ.
    """
    place: dict[str, int] = {}
    group = np.array([place.setdefault(str(arch), len(place)) for arch in archs], dtype=np.int64)
    if len(place) == len(archs):
        return archs, metrics, []
    first = np.unique(group, return_index=True)[1]
    merged = {}
    for name, values in metrics.items():
        finite = np.isfinite(values)
        count = np.bincount(group[finite], minlength=len(place))
        total = np.bincount(group[finite], weights=values[finite], minlength=len(place))
        merged[name] = np.where(count > 0, total / np.maximum(count, 1), values[first])
    size = np.bincount(group)
    repeated = int((size > 1).sum())
    what = "architecture occurs" if repeated == 1 else "architectures occur"
    note = f"{int(size[size > 1].sum()):,} rows averaged: {repeated:,} {what} more than once"
    return [archs[row] for row in first], merged, [note]


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
        if _is_missing(cell):
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
    found = known[text]
    if isinstance(found, str):
        raise _Unusable(found)
    return found


def _metric(table: RawTable, name: str, rows: int, bad: dict[int, list[str]]) -> FloatArray:
    cells = table.columns[name][:rows]
    if isinstance(cells, pd.Series) and pd.api.types.is_numeric_dtype(cells) and cells.dtype.kind != "c":
        return np.asarray(cells.to_numpy(dtype=np.float64, na_value=np.nan))
    convert = _from_text if table.from_text else _from_object
    values = np.full(rows, np.nan)
    for row, cell in enumerate(cells):
        try:
            values[row] = convert(cell)
        except _Unusable as error:
            if row not in table.bad:
                bad.setdefault(row, []).append(f"{name} {_short(cell)}: {error}")
    return values


def _from_text(cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        text = cell.strip().lower()
        if text in _MISSING:
            return math.nan
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        raise _Unusable("text in a metric column") from None
    if "_" in cell:  # Python reads 1_000 as a number, no other program does
        raise _Unusable("text in a metric column")
    return value


def _from_object(cell: object) -> float:
    if _is_missing(cell):
        return math.nan
    if isinstance(cell, numbers.Real | Decimal | np.bool_):
        try:
            return float(cell)
        except (OverflowError, ValueError):
            raise _Unusable("too large for float64") from None
    raise _Unusable("text in a metric column" if isinstance(cell, str) else f"a {type(cell).__name__}, not a number")


def _is_missing(cell: Any) -> bool:
    return cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and math.isnan(cell))


def _listing(table: RawTable, rows: int, bad: dict[int, list[str]]) -> str:
    word = table.counted.split()[0].removesuffix("s")
    shown = [f"  {word} {table.numbers[row]}: {'; '.join(bad[row])}" for row in sorted(bad)[:SHOWN]]
    more = [f"  ... and {len(bad) - SHOWN:,} more"] if len(bad) > SHOWN else []
    metrics = [name for name in table.columns if name != "arch"]
    head = f"{table.source}: {len(bad):,} of {rows:,} rows cannot be used ({table.counted})"
    tail = [f"Every column beside 'arch' holds numbers, or nothing where one is missing; here: {', '.join(metrics)}"]
    return "\n".join([head, *shown, *more, *(tail if _any_metric(bad) else [])])


def _any_metric(bad: dict[int, list[str]]) -> bool:
    return any("metric column" in reason or "not a number" in reason for reasons in bad.values() for reason in reasons)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 90 else text[:87] + "..."


def row_indices(values: Sequence[int] | npt.NDArray[Any], rows: int) -> npt.NDArray[np.int64]:
    """Check row indices, or a boolean mask over all rows, and return them as indices.

    Raises:
        LabelError: An index is not an integer from 0 to ``rows - 1``, occurs twice, or a mask has another length.
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
        raise LabelError("a row is asked for twice; a labelled set holds each architecture once")
    return given.astype(np.int64)
