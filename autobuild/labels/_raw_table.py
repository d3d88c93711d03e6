"""RawTable: the unchecked cells of a label file, with column names and row numbers; which columns hold numbers."""

from __future__ import annotations

import itertools
import math
import numbers
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from autobuild._typing import FloatArray
from autobuild.errors import LabelError, nearest

SURROGATE = re.compile("[\ud800-\udfff]")
ARCH_ALIASES = ("cellstr",)  # name of the column in tables of NAS-Bench-201
LINES = "lines are counted from 1, the header included"
JSON_LINES = "lines are counted from 1"
ROWS = "rows are counted from 1"
MAX_BYTES = 1 << 30  # size of an unpacked file
MAX_COLUMNS = 10_000
MAX_CELLS = 50_000_000
MAX_RATIO = 100  # of an unpacked file to the packed one, from FREE_BYTES on; tables of labels have 5 to 20
FREE_BYTES = 16 << 20


def most_unpacked(packed_bytes: int, most: int) -> int:
    """How many bytes a packed file may unpack to: a small one that unpacks to much is a bomb."""
    return min(most, max(FREE_BYTES, MAX_RATIO * packed_bytes))


@dataclass
class RawTable:
    """A table of unchecked cells.

    Attributes:
        source: Name of the table in messages (its path).
        columns: Column name -> one cell per row.
        numbers: Number (or name) of each row in the file, as ``counted`` explains.
        counted: How rows are numbered, as text.
        bad: Row position -> what is wrong with the row as a whole.
        notes: Notes about the reading, for the user.
        space: Name of the search space that files of this format belong to; None if the format does not determine it.
        separator: Separator of the cells in a text file.
    """

    source: str
    columns: dict[str, Sequence[Any]]
    numbers: Sequence[int] | Sequence[str]
    counted: str
    bad: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    space: str | None = None
    separator: str = ","

    @property
    def word(self) -> str:
        """Word for a row in messages: ``line``, ``row``, ``key``..."""
        return self.counted.split()[0].removesuffix("s")

    def named(self, rows: Sequence[int]) -> str:
        """Text for some rows, given by position: ``lines 3, 7, 9``."""
        return name_rows(self.word, [self.numbers[row] for row in rows])

    def with_arch(self, name: str) -> RawTable:
        """Use column ``name`` as the architectures; an existing column ``arch`` is left out."""
        rest = {column: cells for column, cells in self.columns.items() if column not in (name, "arch")}
        lost = " (the column 'arch' holds none, and is left out)" if "arch" in self.columns else ""
        note = f"architectures are those of the column {name!r}{lost}"
        return replace(self, columns={"arch": self.columns[name], **rest}, notes=[*self.notes, note])

    def without(self, row: int) -> RawTable:
        """The table without one row."""
        kept = [place for place in range(len(self.numbers)) if place != row]
        columns: dict[str, Sequence[Any]] = {
            name: list(itertools.chain(itertools.islice(cells, row), itertools.islice(cells, row + 1, None)))
            for name, cells in self.columns.items()
        }
        bad = {place - (place > row): why for place, why in self.bad.items() if place != row}
        numbers: Any = [self.numbers[place] for place in kept]
        return replace(self, columns=columns, bad=bad, numbers=numbers)


def name_rows(word: str, numbers: Sequence[int | str], shown: int = 6) -> str:
    """Text for some rows: ``line 3``, or ``lines 3, 7, 9 and 12 more``."""
    more = f" and {len(numbers) - shown:,} more" if len(numbers) > shown else ""
    return f"{word}{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers[:shown]))}{more}"


def check_columns(names: Sequence[object], source: str) -> list[str]:
    """Return the column names without blanks around them; an unnamed column is ``""``.

    ``cellstr`` becomes ``arch`` if there is no column ``arch``.

    Raises:
        LabelError: A name occurs twice, is no Unicode text, or there are too many columns.
    """
    if len(names) > MAX_COLUMNS:
        raise LabelError(
            f"{source}: {len(names):,} columns; at most {MAX_COLUMNS:,} are read: is the table transposed?"
        )
    columns = [name.strip() if isinstance(name, str) else "" for name in names]
    columns = ["" if re.fullmatch(r"Unnamed: \d+|__index_level_\d+__", name) else name for name in columns]
    if broken := [name for name in columns if SURROGATE.search(name)]:
        raise LabelError(f"{source}: column {broken[0]!r}: half a character (a surrogate), which no file can hold")
    double = sorted(name for name, count in Counter(columns).items() if count > 1 and name)
    if double:
        raise LabelError(f"{source}: duplicated column names: {', '.join(double)}; columns: {_listed(columns)}")
    if "arch" not in columns:
        columns = ["arch" if name in ARCH_ALIASES else name for name in columns]
    return columns


def no_architectures(table: RawTable, why: str) -> LabelError:
    """The error for a table without a column of architectures."""
    hint = "" if table.separator == "," else f" (separated by {table.separator!r})"
    hint += "; cells are separated by commas, tabs or semicolons" if len(table.columns) == 1 else ""
    return LabelError(f"{table.source}: no column 'arch'{why}; {nearest('arch', table.columns)}{hint}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f", ... ({len(names):,} in all)" if len(names) > 20 else "")


def unnamed_note(columns: Sequence[str], empty: Sequence[bool]) -> list[str]:
    """A note on unnamed columns that are left out. Empty ones (a separator ends the lines) are not mentioned."""
    places = [
        str(place) for place, (name, void) in enumerate(zip(columns, empty, strict=True), 1) if not (name or void)
    ]
    which = f"column {places[0]} has" if len(places) == 1 else f"columns {', '.join(places)} have"
    return [f"{which} no name and {'is' if len(places) == 1 else 'are'} left out"] if places else []


def frame_table(frame: pd.DataFrame, source: str) -> RawTable:
    """View a pandas frame as a raw table; its index is read only if it is named like a column of architectures.

    Raises:
        LabelError: The names of the columns cannot be used, or there are too many cells.
    """
    if frame.columns.nlevels > 1:
        raise LabelError(f"{source}: the columns have {frame.columns.nlevels} levels of names; accepted: one name each")
    named = {"arch", *ARCH_ALIASES} & set(frame.index.names)
    if named and named.isdisjoint(frame.columns):
        frame = frame.reset_index(allow_duplicates=True)
    if frame.shape[0] * frame.shape[1] > MAX_CELLS:
        raise LabelError(f"{source}: {frame.shape[0]:,} x {frame.shape[1]:,} cells; at most {MAX_CELLS:,} are read")
    columns = check_columns([str(name) if isinstance(name, numbers.Real) else name for name in frame.columns], source)
    cells: dict[str, Any] = {name: frame.iloc[:, place] for place, name in enumerate(columns) if name}
    notes = unnamed_note(columns, [False] * len(columns))
    return RawTable(source, cells, range(1, len(frame) + 1), ROWS, notes=notes)


def decode(path: Path, data: bytes) -> str:
    """Decode the text of a file: UTF-8, or UTF-16 with a byte order mark, as spreadsheets write it.

    Raises:
        LabelError: The bytes are neither; the message names the line.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as error:
            raise LabelError(f"{path}: not whole UTF-16 text; is it truncated?") from error
    try:
        return data.decode("utf-8-sig")  # removes a byte order mark before the first name
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise LabelError(
            f"{path}: not UTF-8 text (byte 0x{data[error.start]:02x} in line {line}); save the file as UTF-8"
        ) from error


_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "<na>", "-nan", "#n/a", "#na"})
_BOOLEANS = {"true": 1.0, "false": 0.0}
COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+")
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


def number_column(cells: Iterable[Any], *, decimal_commas: bool = False, points: bool = True) -> NumberColumn:
    """Convert a column of cells to numbers.

    The column is a metric if at least half of its cells are numbers, or if the others consist of one or two distinct
    texts. A unit is removed if every cell has the same one. A column with thousands separators, or with units in some
    cells only, is not a metric, because its numbers would have to be guessed. ``decimal_commas``: commas are decimal
    points. ``points`` is false where other columns have decimal commas, so that 1.234 may be a thousand and more.
    """
    if isinstance(cells, pd.Series) and pd.api.types.is_numeric_dtype(cells) and cells.dtype.kind != "c":
        return NumberColumn(np.asarray(cells.to_numpy(dtype=np.float64, na_value=np.nan)))
    given = list(cells)
    if not points:
        dotted = [cell.strip() for cell in given if isinstance(cell, str) and "." in cell]
        if dotted and all(_THOUSANDS.fullmatch(cell) for cell in dotted):
            return NumberColumn(None, _may_be_grouped(dotted[0]))
    if (plain := _plain_numbers(given)) is not None:
        return NumberColumn(plain)
    values = np.full(len(given), math.nan)
    texts: dict[str, list[int]] = {}
    others: dict[str, int] = {}
    numbers_read = commas = 0
    for row, cell in enumerate(given):
        if isinstance(cell, str):
            value = text_number(cell)
            if value is None and decimal_commas and COMMA.fullmatch(cell.strip()):
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
    if {*map(type, cells)} != {str} or "_" in "".join(cells):
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
        return NumberColumn(None, _may_be_grouped(grouped))
    # A column of numbers in which failures are marked by one or two texts stays a metric, even after many failures.
    if numbers_read >= count or (len(texts) <= 2 and numbers_read > max(4, 0.1 * count)):
        return NumberColumn(values, texts=texts, commas=commas)
    some = f"; {numbers_read:,} cells are numbers, {count:,} are not" if numbers_read else ""
    return NumberColumn(None, f"text{some}")


def _may_be_grouped(text: str) -> str:
    return f"{text!r} may have thousands separators or a decimal comma; write plain numbers such as 1234.5"


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
