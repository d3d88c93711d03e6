"""Read tables from JSON: one object per line, a list of objects, columns, or architecture -> metrics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autobuild.errors import LabelError
from autobuild.labels._raw_table import (
    ARCH_ALIASES,
    JSON_LINES,
    ROWS,
    RawTable,
    check_columns,
    decode,
    unnamed_note,
)

_FORMS = (
    'a list of objects [{"arch": ..., "acc": ...}, ...], columns {"arch": [...], "acc": [...]}, or architecture -> '
    'metrics {"...": {"acc": ...}}'
)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as a list of its pairs, including repeated keys."""


def read_json_lines(path: Path, data: bytes) -> RawTable:
    """Read one JSON object per line; other lines are reported as bad rows."""
    records: list[dict[str, Any]] = []
    numbers: list[int] = []
    bad = {}
    for number, line in enumerate(decode(path, data).split("\n"), start=1):
        if not line.strip():
            continue
        record: dict[str, Any] = {}
        try:
            given = json.loads(line, object_pairs_hook=_Pairs)
            if not isinstance(given, _Pairs):
                raise ValueError("not a JSON object")
            record = _object(given)
        except (ValueError, RecursionError) as error:
            bad[len(records)] = f"{_short(line)}: {error} (truncated?)"
        records.append(record)
        numbers.append(number)
    if len(bad) == len(records):
        first = f"; line {numbers[0]}: {bad[0]}" if records else ""
        raise LabelError(f"{path}: no line is a JSON object{first}")
    return _records_table(path, records, numbers, JSON_LINES, bad)


def read_json(path: Path, data: bytes) -> RawTable:
    """Read a table from a JSON document in one of the usual forms (see ``_FORMS``).

    Raises:
        LabelError: The data is not JSON, or has none of these forms.
    """
    try:
        given = json.loads(decode(path, data), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        if b"\n" in data.strip():
            try:
                return read_json_lines(path, data)
            except LabelError:
                pass
        raise LabelError(f"{path}: not readable as JSON ({error}); is it truncated?") from error
    if isinstance(given, list) and not isinstance(given, _Pairs) and any(isinstance(cell, _Pairs) for cell in given):
        return _rows_table(path, given)
    if isinstance(given, _Pairs) and given:
        try:
            document = _object(given)
        except ValueError as error:
            raise LabelError(f"{path}: {error}") from None
        # pandas, orient="table"
        if isinstance(document.get("schema"), _Pairs) and isinstance(document.get("data"), list):
            return _rows_table(path, document["data"], index="index")
        if table := _columns_table(path, document):
            return table
        if all(isinstance(value, _Pairs) for value in document.values()):
            named = any(key in ("arch", *ARCH_ALIASES) for value in document.values() for key, _ in value)
            return _rows_table(
                path, [value if named else _Pairs([("arch", key), *value]) for key, value in document.items()]
            )
    raise LabelError(f"{path}: JSON, but no table of labels; accepted: {_FORMS}")


def _rows_table(path: Path, rows: Sequence[Any], index: str | None = None) -> RawTable:
    """A table of objects, one a row; what is none, or writes a key twice, is a bad row. ``index`` is left out."""
    records: list[dict[str, Any]] = []
    bad = {}
    for place, row in enumerate(rows):
        record = {key: cell for key, cell in row if key != index} if isinstance(row, _Pairs) else {}
        if not isinstance(row, _Pairs):
            bad[place] = f"{str(row)[:60]!r} is no object"
        elif len({key for key, _ in row}) < len(row):
            bad[place] = "a key is written twice"
        records.append(record)
    return _records_table(path, records, list(range(1, len(rows) + 1)), ROWS, bad)


def _columns_table(path: Path, document: dict[str, Any]) -> RawTable | None:
    """Read ``{"arch": [...]}``, or ``{"arch": {"0": ...}}`` and ``{"columns", "data"}`` of pandas; else None."""
    if set(document) >= {"columns", "data"} and all(isinstance(document[key], list) for key in ("columns", "data")):
        names = check_columns([str(name) for name in document["columns"]], str(path))
        rows = [row if isinstance(row, list) else [] for row in document["data"]]
        bad = {
            place: f"{len(row)} cells, {len(names)} columns" for place, row in enumerate(rows) if len(row) != len(names)
        }
        records = [dict(zip(names, row, strict=False)) for row in rows]
        return _records_table(path, records, list(range(1, len(rows) + 1)), ROWS, bad)
    if not any(name in document for name in ("arch", *ARCH_ALIASES)):
        return None
    lists = {name: cells for name, cells in document.items() if isinstance(cells, list)}
    left = [name for name in document if name not in lists]
    mapped = {name: cells for name, cells in lists.items() if isinstance(cells, _Pairs)}
    order: list[tuple[str, Any]] = next(iter(mapped.values())) if mapped else []
    for name, pairs in mapped.items():  # {"0": cell, ...}: in the order of the first column, whatever their own
        cells = dict(pairs)
        if len(cells) != len(pairs) or set(cells) != {row for row, _ in order}:
            raise LabelError(f"{path}: column {name!r} has other rows than {next(iter(mapped))!r}")
        lists[name] = [cells[row] for row, _ in order]
    sizes = {len(cells) for cells in lists.values()}
    if len(sizes) != 1:
        lengths = ", ".join(f"{name} {len(cells)}" for name, cells in list(lists.items())[:8])
        raise LabelError(f"{path}: columns of different lengths: {lengths}")
    records = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    table = _records_table(path, records, list(range(1, len(records) + 1)), ROWS, {})
    table.notes += [f"no column, left out: {', '.join(left[:20])}"] if left else []
    return table


def _records_table(
    path: Path, records: list[dict[str, Any]], numbers: list[int], counted: str, bad: dict[int, str]
) -> RawTable:
    keys = list(dict.fromkeys(name for record in records for name in record))
    names = check_columns(keys, str(path))
    cells: dict[str, Sequence[Any]] = {
        name: [record.get(key) for record in records] for name, key in zip(names, keys, strict=True) if name
    }
    return RawTable(str(path), cells, numbers, counted, bad=bad, notes=unnamed_note(names, [False] * len(names)))


def _object(pairs: _Pairs) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a key is written twice")
    return record


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
