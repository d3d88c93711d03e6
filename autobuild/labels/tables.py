"""Label files as raw tables: CSV, TSV, Parquet, JSON Lines; read with row numbers, written whole or not at all."""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from autobuild.errors import LabelError, nearest
from autobuild.labels.embedded_sets import embedded_sets

ARCH_ALIASES = ("cellstr",)  # what tables of NAS-Bench-201 call the column
LINES = "lines are counted from 1, the header included"
JSON_LINES = "lines are counted from 1"
ROWS = "rows are counted from 1"


@dataclass
class RawTable:
    """Cells as they were found, not yet checked.

    Attributes:
        source: What messages call the table (its path).
        columns: Column name -> one cell a row.
        numbers: Number (or name) of each row in the file, as ``counted`` explains.
        from_text: Cells are text throughout (CSV), so numbers, ``true`` and empty cells are still written out.
        bad: Row position -> what is wrong with the row as a whole.
        notes: What the user should know about the reading.
        space: Name of the search space that rows of this form belong to, where the form says so.
    """

    source: str
    columns: dict[str, Sequence[Any]]
    numbers: Sequence[int] | Sequence[str]
    counted: str
    from_text: bool = False
    bad: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    space: str | None = None


def locate(path_or_name: str | os.PathLike[str]) -> Path:
    """Find a label file by the name of an embedded set or by its path.

    Raises:
        LabelError: There is no such file, or it is a folder or of an unknown form.
    """
    text = os.fspath(path_or_name)
    embedded = embedded_sets()
    if text in embedded:
        return embedded[text]
    path = Path(os.path.expanduser(text))
    try:
        if path.is_dir():
            raise LabelError(f"labels {text!r}: this is a folder; give a file ending in {', '.join(READERS)}")
        found = path.is_file()
        siblings = [] if found else [f.name for f in sorted(path.parent.glob("*.*")) if f.suffix.lower() in READERS]
    except (OSError, ValueError) as error:  # a name too long, a null character, a folder that cannot be listed
        raise LabelError(f"labels {text[:200]!r}: cannot be read ({error})") from error
    if not found:
        near = nearest(path.name, [*embedded, *siblings])
        raise LabelError(f"labels {text!r}: file not found; embedded sets and files beside it: {near}")
    _suffix(path)
    return path


def read_table(path: Path) -> RawTable:
    """Read a label file into raw cells.

    Raises:
        LabelError: The file is empty, unreadable, not UTF-8, truncated, or has duplicated or unnamed columns.
    """
    reader = READERS[_suffix(path)]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not data.removeprefix(codecs.BOM_UTF8).strip():
        raise LabelError(f"{path}: the file is empty; a column 'arch' and metric columns are expected")
    table = reader(path, data)
    if not len(table.numbers):
        raise LabelError(f"{path}: the file has columns ({', '.join(table.columns)}) but no rows")
    return table


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Write a frame as CSV, TSV, Parquet or JSON Lines, by the ending of the name; beside, then renamed.

    Floats are written so that they read back as the same float64. Raises LabelError where that cannot be done.
    """
    path = Path(os.path.expanduser(path))
    writer = WRITERS[_suffix(path)]
    if not path.parent.is_dir():
        raise LabelError(f"{path}: cannot be written (there is no folder {str(path.parent)!r})")
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        writer(frame, beside)
        os.replace(beside, path)
    except ImportError as error:
        raise _parquet_missing(path) from error
    except OSError as error:
        raise LabelError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        beside.unlink(missing_ok=True)
    return path


def check_columns(names: Sequence[object], source: str) -> list[str]:
    """Return the column names, stripped, ``cellstr`` as ``arch``; refuse unnamed, duplicated and missing ones.

    Raises:
        LabelError: Naming the columns that exist.
    """
    columns = [name.strip() if isinstance(name, str) else "" for name in names]
    for position, (given, name) in enumerate(zip(names, columns, strict=True), start=1):
        if not name:
            raise LabelError(
                f"{source}: column {position} has no usable name ({given!r}); columns: {', '.join(map(str, names))} "
                "(a frame's index may have been written with it)"
            )
    double = sorted({name for name in columns if columns.count(name) > 1})
    if double:
        raise LabelError(f"{source}: duplicated column names: {', '.join(double)}; columns: {', '.join(columns)}")
    if "arch" not in columns:
        columns = ["arch" if name in ARCH_ALIASES else name for name in columns]
    if "arch" not in columns:
        raise LabelError(f"{source}: no column 'arch'; {nearest('arch', columns)}")
    return columns


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise LabelError(f"labels {str(path)!r}: unknown ending {suffix!r}: {nearest(suffix, READERS)}")
    return suffix


def _decode(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")  # a byte order mark, as spreadsheets write it, is no part of the first name
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise LabelError(
            f"{path}: not UTF-8 text (byte 0x{data[error.start]:02x} in line {line}); save the file as UTF-8"
        ) from error


def _read_delimited(path: Path, data: bytes) -> RawTable:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO(_decode(path, data), newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    numbers: list[int] = []
    line = 1
    try:
        for row in reader:
            if row:  # a blank line is no row
                rows.append(row)
                numbers.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise LabelError(f"{path}: line {line} cannot be read ({error}); is the file truncated?") from error
    columns = check_columns(rows[0], str(path))
    bad = {}
    for position, row in enumerate(rows[1:]):
        if len(row) != len(columns):
            bad[position] = f"{len(row)} fields, the header has {len(columns)} (truncated?)"
            rows[position + 1] = (row + [""] * len(columns))[: len(columns)]
    cells = zip(*rows[1:], strict=True) if len(rows) > 1 else (() for _ in columns)
    return RawTable(str(path), dict(zip(columns, cells, strict=True)), numbers[1:], LINES, from_text=True, bad=bad)


def _read_json_lines(path: Path, data: bytes) -> RawTable:
    columns: dict[str, None] = {}
    records: list[dict[str, Any]] = []
    numbers: list[int] = []
    bad = {}
    for number, line in enumerate(_decode(path, data).split("\n"), start=1):
        if not line.strip():
            continue
        record: dict[str, Any] = {}
        try:
            given = json.loads(line, object_pairs_hook=_Pairs)
            if not isinstance(given, _Pairs):
                raise ValueError("not a JSON object")
            record = dict(given)
            if len(record) != len(given):
                raise ValueError("a key is written twice")
        except (ValueError, RecursionError) as error:
            bad[len(records)] = f"{_short(line)}: {error} (truncated?)"
        columns.update(dict.fromkeys(record))
        records.append(record)
        numbers.append(number)
    if len(bad) == len(records):
        first = f"; line {numbers[0]}: {bad[0]}" if records else ""
        raise LabelError(f"{path}: no line is a JSON object{first}")
    names = check_columns(list(columns), str(path))
    cells: dict[str, Sequence[Any]] = {
        name: [record.get(key) for record in records] for name, key in zip(names, columns, strict=True)
    }
    return RawTable(str(path), cells, numbers, JSON_LINES, bad=bad)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it was written, duplicated keys included."""


def _read_parquet(path: Path, data: bytes) -> RawTable:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise _parquet_missing(path) from error
    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(data))
        columns = check_columns([n for n in file.schema_arrow.names if not n.startswith("__index_level_")], str(path))
        frame = file.read().to_pandas(ignore_metadata=True)
    except LabelError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise LabelError(f"{path}: not a readable Parquet file ({_short(str(error))}); is it truncated?") from error
    frame = frame[[name for name in frame.columns if not name.startswith("__index_level_")]]
    return frame_table(frame.set_axis(columns, axis=1), str(path))


def frame_table(frame: pd.DataFrame, source: str) -> RawTable:
    """View a frame as a raw table; its index is not read."""
    columns = check_columns(list(frame.columns), source)
    cells: dict[str, Any] = {name: frame.iloc[:, position] for position, name in enumerate(columns)}
    return RawTable(source, cells, range(1, len(frame) + 1), ROWS)


def _write_json_lines(frame: pd.DataFrame, path: Path) -> None:
    names = [str(name) for name in frame.columns]
    with path.open("w", encoding="utf-8") as file:
        for row in zip(*(frame[name].tolist() for name in frame.columns), strict=True):
            cells = (None if isinstance(cell, float) and math.isnan(cell) else cell for cell in row)
            file.write(json.dumps(dict(zip(names, cells, strict=True)), ensure_ascii=False) + "\n")


def _parquet_missing(path: Path) -> LabelError:
    return LabelError(
        f"{path}: Parquet files need pyarrow: pip install 'autobuild-nas[parquet]' (or use .csv or .jsonl)"
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


READERS: dict[str, Callable[[Path, bytes], RawTable]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".parquet": _read_parquet,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
}
WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False, lineterminator="\n"),
    ".tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t", lineterminator="\n"),
    ".parquet": lambda frame, path: frame.to_parquet(path, index=False, engine="pyarrow"),
    ".jsonl": _write_json_lines,
    ".ndjson": _write_json_lines,
}
