"""Read CSV and TSV tables as programs and spreadsheets write them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from autobuild.errors import LabelError
from autobuild.labels._raw_table import (
    ARCH_ALIASES,
    LINES,
    MAX_CELLS,
    RawTable,
    check_columns,
    decode,
    name_rows,
    unnamed_note,
)

SEPARATORS = (",", "\t", ";")
_NAMES = {",": "commas", "\t": "tabs", ";": "semicolons"}


def read_delimited(path: Path, data: bytes) -> RawTable:
    """Read a table with one row per line; the separator is detected from the header.

    Blank lines, lines that begin with ``#`` and repeated headers are skipped. A first line ``sep=;``, as Excel writes
    it, sets the separator.
    """
    usual = "\t" if ".tsv" in path.name.lower() else ","
    text = decode(path, data)
    first, _, rest = text.partition("\n")
    start = first.strip().strip('"').lower()
    lead = 0
    if start.startswith("sep=") and len(start) == 5:
        usual, text, lead = first.strip().strip('"')[4:], rest, 1
    elif start == "sep=":  # a tab, stripped
        usual, text, lead = "\t", rest, 1
    header = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    commented = _commented_header(text)
    separator = _separator(commented or header, usual, path)
    rows, numbers, comments = _cells(path, text, separator, lead)
    if commented:
        rows, numbers = [[cell.strip() for cell in commented.split(separator)], *rows], [0, *numbers]
        comments = comments[1:]
    if not rows:
        raise LabelError(f"{path}: every line is blank or begins with '#'; a header with a column 'arch' is expected")
    notes = [] if separator == usual and lead == 0 else [f"cells are separated by {_NAMES.get(separator, separator)}"]
    if comments:
        count = "line begins" if len(comments) == 1 else "lines begin"
        notes.append(f"{len(comments):,} {count} with '#': no rows ({name_rows('line', comments)})")
    return _table(path, rows, numbers, separator, notes)


def _commented_header(text: str) -> str:
    """The last line of a leading comment if it is the header (``# arch,acc``), otherwise empty."""
    lead = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            break
        lead.append(line)
    last = lead[-1].lstrip("# ").strip() if lead else ""
    names = {cell.strip() for separator in SEPARATORS for cell in last.split(separator)}
    following = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    plain = {cell.strip() for separator in SEPARATORS for cell in following.split(separator)}
    wanted = {"arch", *ARCH_ALIASES}
    return last if names & wanted and not plain & wanted and len(names) > 1 else ""


def _separator(header: str, usual: str, path: Path) -> str:
    """The best separator of the header: one that gives a column ``arch``, then the one that gives most columns."""

    def merit(separator: str) -> tuple[bool, int, bool]:
        try:
            cells = next(csv.reader([header], delimiter=separator), [])
        except csv.Error:
            cells = [header]
        names = [cell.strip() for cell in cells]
        return bool({"arch", *ARCH_ALIASES} & set(names)) and len(names) > 1, len(names), separator == usual

    return max(dict.fromkeys((usual, *SEPARATORS)), key=merit)


def _cells(path: Path, text: str, separator: str, lead: int) -> tuple[list[list[str]], list[int], list[int]]:
    """Rows, the line number at which each row begins, and the line numbers of comments."""
    rows: list[list[str]] = []
    numbers: list[int] = []
    comments: list[int] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line, cells = lead + 1, 0
    try:
        for row in reader:
            if row and row[0].lstrip().startswith("#") and _is_comment(row, rows):
                comments.append(line)
            elif "".join(row).strip():  # skip blank lines
                rows.append(row)
                numbers.append(line)
                cells += len(row)
                if cells > MAX_CELLS:
                    raise LabelError(f"{path}: more than {MAX_CELLS:,} cells (line {line}); that many are not read")
            line = lead + reader.line_num + 1
    except csv.Error as error:
        raise LabelError(f"{path}: line {line} cannot be read ({error}); is the file truncated?") from error
    return rows, numbers, comments


def _is_comment(row: list[str], rows: list[list[str]]) -> bool:
    """Whether a line that begins with ``#`` is a comment; it is a row if the first column holds names like ``#1``."""
    return not rows or len(row) != len(rows[0]) or rows[0][0].strip() in ("arch", *ARCH_ALIASES)


def _table(path: Path, rows: list[list[str]], numbers: list[int], separator: str, notes: list[str]) -> RawTable:
    headers = _headers(rows)
    if len(rows[0]) == 1 < max(map(len, rows)):
        most = max(map(len, rows))
        raise LabelError(
            f"{path}: line {numbers[0]} has one cell ({rows[0][0][:60]!r}), others have {most}: a header with a column "
            "'arch' comes first (begin other lines with '#'); cells are separated by commas, tabs or semicolons"
        )
    heads = [check_columns(rows[place], str(path)) for place in headers]
    columns = check_columns(list(dict.fromkeys(name for head in heads for name in head)), str(path))
    count = len(rows) - len(headers)
    if count * len(columns) > MAX_CELLS:
        raise LabelError(f"{path}: {count:,} rows of {len(columns):,} columns; at most {MAX_CELLS:,} cells are read")
    bad: dict[int, str] = {}
    kept: list[int] = []
    cells: dict[str, list[str]] = {name: [""] * count for name in columns}
    for head, begin, end in zip(heads, headers, [*headers[1:], len(rows)], strict=True):
        block = rows[begin + 1 : end]
        for place, row in enumerate(block):
            if len(row) == len(head):
                continue
            if len(row) == len(head) + 1 and not row[-1].strip():  # a separator after the last cell
                block[place] = row[:-1]
                continue
            more = "a header names every column" if len(row) > len(head) else "truncated?"
            bad[len(kept) + place] = f"{len(row)} fields, the header has {len(head)} ({more})"
            block[place] = [*row, *[""] * len(head)][: len(head)]
        for name, column in zip(head, zip(*block, strict=True), strict=bool(block)):
            cells[name][len(kept) : len(kept) + len(block)] = column
        kept += numbers[begin + 1 : end]
    for place, head in list(zip(headers, heads, strict=True))[1:20]:
        again = "the header again, no row" if head == heads[0] else f"another header: {', '.join(head[:20])}"
        notes.append(f"{name_rows('line', [numbers[place]])}: {again}")
    notes += [f"{len(heads) - 20:,} more headers"] if len(heads) > 20 else []
    empty = [not any(cell.strip() for cell in cells[name]) for name in heads[0]]
    notes += unnamed_note(heads[0], empty)
    cells.pop("", None)
    return RawTable(str(path), dict(cells), kept, LINES, bad=bad, notes=notes, separator=separator)


def _headers(rows: list[list[str]]) -> list[int]:
    """Positions of headers: the first row, and each row with a cell that is the name of the architecture column.

    A later header occurs if another run has appended its rows, with the same or with more columns.
    """
    names = {cell.strip() for cell in rows[0]} & {"arch", *ARCH_ALIASES}
    return [0, *(place for place, row in enumerate(rows) if place and not names.isdisjoint(map(str.strip, row)))]
