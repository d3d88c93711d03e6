"""Classify columns: numbers, numbers with missing cells, numbers with a unit, or not a metric."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from autobuild._typing import FloatArray

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "<na>", "-nan", "#n/a", "#na"})
_BOOLEANS = {"true": 1.0, "false": 0.0}
_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_UNIT = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\W\d_][^\W\d_/]{0,7}|[%‰°])")
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:[ ,.'_\u00a0\u2009\u202f]\d{3})+(?:[.,]\d+)?|[+-]?\d+,\d+|[+-]?\d[\d_]*\d")


@dataclass
class NumberColumn:
    """A column as numbers.

    Attributes:
        values: The numbers, NaN if missing; None if the column is not a metric. Shape ``(n,)``.
        problem: Why the column is not a metric.
        unit: The unit written after every number.
        texts: Text that is not a number and counts as missing -> the rows that have it.
        commas: Whether decimal commas were read.
    """

    values: FloatArray | None
    problem: str = ""
    unit: str = ""
    texts: dict[str, list[int]] = field(default_factory=dict)
    commas: bool = False


def number_column(cells: Iterable[Any], *, decimal_commas: bool = False) -> NumberColumn:
    """Convert a column of cells to numbers.

    The column is a metric if at least half of its cells are numbers, or if the others consist of one or two distinct
    texts. A unit is removed if every cell has the same one. A column with thousands separators, or with units in some
    cells only, is not a metric, because its numbers would have to be guessed.
    """
    if isinstance(cells, pd.Series) and pd.api.types.is_numeric_dtype(cells) and cells.dtype.kind != "c":
        return NumberColumn(np.asarray(cells.to_numpy(dtype=np.float64, na_value=np.nan)))
    given = list(cells)
    if (plain := _plain_numbers(given)) is not None:
        return NumberColumn(plain)
    values = np.full(len(given), math.nan)
    texts: dict[str, list[int]] = {}
    others: dict[str, int] = {}
    numbers_read = commas = 0
    for row, cell in enumerate(given):
        if isinstance(cell, str):
            value = text_number(cell)
            if value is None and decimal_commas and _COMMA.fullmatch(cell.strip()):
                value, commas = float(cell.strip().replace(",", ".")), commas + 1
            if value is None:
                texts.setdefault(cell.strip(), []).append(row)
                continue
            missing = cell.strip().lower() in _MISSING
        elif missing := is_missing(cell):
            value = math.nan
        elif isinstance(cell, numbers.Real | Decimal | np.bool_):
            try:
                value = float(cell)
            except (OverflowError, ValueError):
                texts.setdefault(f"{str(cell)[:20]}... (too large)", []).append(row)
                continue
        else:
            others[type(cell).__name__] = others.get(type(cell).__name__, 0) + 1
            continue
        values[row] = value
        numbers_read += not missing
    if others:
        return NumberColumn(None, f"holds {', '.join(sorted(others))}")
    if not texts:
        return NumberColumn(values, commas=bool(commas))
    return _with_texts(values, numbers_read, texts, bool(commas))


def _plain_numbers(cells: list[Any]) -> FloatArray | None:
    """Cells that are all texts of numbers, as :func:`text_number` reads them, or None."""
    if not all(isinstance(cell, str) and "_" not in cell for cell in cells):
        return None
    try:
        return np.array(list(map(float, cells)))
    except ValueError:
        return None


def _with_texts(values: FloatArray, numbers_read: int, texts: dict[str, list[int]], commas: bool) -> NumberColumn:
    """Classify a column in which some cells are texts."""
    count = sum(map(len, texts.values()))
    units = {text: match for text in texts if (match := _UNIT.fullmatch(text))}
    behind = {match[2] for match in units.values()}
    if len(units) == len(texts) and len(behind) == 1 and not numbers_read:
        for text, rows in texts.items():
            values[rows] = float(units[text][1])
        return NumberColumn(values, unit=behind.pop(), commas=commas)
    if len(units) * 2 > len(texts) and len(behind) <= 3 and sum(len(texts[text]) for text in units) * 4 > count:
        example = next(iter(units))
        return NumberColumn(
            None, f"numbers with units such as {example!r}, not the same in every cell; write plain numbers in one unit"
        )
    grouped = next((text for text in texts if _GROUPED.fullmatch(text)), None)
    if grouped is not None and (numbers_read or all(_GROUPED.fullmatch(text) for text in texts)):
        return NumberColumn(
            None,
            f"{grouped!r} may have thousands separators or a decimal comma; write plain numbers such as 1234.5",
        )
    # A column of numbers in which failures are marked by one or two texts stays a metric, even after many failures.
    if numbers_read >= count or (len(texts) <= 2 and numbers_read > max(4, 0.1 * count)):
        return NumberColumn(values, texts=texts, commas=commas)
    some = f"; {numbers_read:,} cells are numbers, {count:,} are not" if numbers_read else ""
    return NumberColumn(None, f"text{some}")


def text_number(cell: str) -> float | None:
    """Convert a text to a number: NaN if it marks a missing value, None if it is not a number."""
    try:
        value = float(cell)
    except ValueError:
        text = cell.strip().lower()
        return math.nan if text in _MISSING else _BOOLEANS.get(text)
    return None if "_" in cell else value  # Python reads 1_000 as a number, other programs do not


def is_missing(cell: Any) -> bool:
    """Whether a cell of a frame is a missing value."""
    return cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and math.isnan(cell))
