"""The CSV file of a labelling. Rows are appended; the whole file is replaced only by renaming a complete new one."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from autobuild.errors import LabelError, RunError
from autobuild.evaluate._wrappers import source_of

Key = tuple[str, int]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of ``path``, a file beside it; the system frees it when the process ends.

    Raises:
        RunError: If another process holds it, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(path.with_name(path.name + ".lock")).acquire(blocking=False)
    except Timeout:
        raise RunError(f"{path} is being written by another process; wait for it or choose another file") from None
    except OSError as error:
        raise RunError(f"{path.parent} cannot be written: {error.strerror}") from error
    with held:
        yield


class LabelFile:
    """Rows of a labelling in memory and on disk. Only between :meth:`fill` and :meth:`rewrite` they differ.

    Args:
        path: The CSV file.
        columns: Its columns; empty if it has no header yet.
        rows: (arch, seed) -> texts of the row by column.
    """

    def __init__(self, path: Path, columns: list[str], rows: dict[Key, dict[str, str]]) -> None:
        self.path, self.columns, self.rows = path, columns, rows

    @classmethod
    def open(cls, path: Path, family: str, evaluator: object) -> LabelFile:
        """Read the file and remove an incomplete last line; the caller must hold the lock.

        Raises:
            LabelError: The file is no label file, or its labels have another origin.
            RunError: It cannot be read or written.
        """
        try:
            _check_recipe(path, family, evaluator)
            text = _without_torn_line(path)
        except OSError as error:
            raise RunError(f"{path} cannot be read and written: {error.strerror}") from error
        records = list(csv.reader(io.StringIO(text)))
        if not records:
            return cls(path, [], {})
        columns, rows = records[0], dict[Key, dict[str, str]]()
        if columns[:2] != ["arch", "seed"] or len(set(columns)) != len(columns):
            raise LabelError(f"{path} is no label file: its columns are {columns}; accepted: arch, seed, metrics...")
        for number, record in enumerate(records[1:], start=2):
            try:
                row = dict(zip(columns, record, strict=True))
                key = (row["arch"], int(row["seed"]))
            except ValueError:
                raise LabelError(f"{path}, row {number} does not read as {columns}: {record}") from None
            if key in rows:
                raise LabelError(f"{path}, row {number}: {key[0]!r} with seed {key[1]} is there twice")
            rows[key] = row
        return cls(path, columns, rows)

    def append(self, arch: str, seed: int, metrics: Mapping[str, float], blank: str | None = None) -> str:
        """Append a row and write it to the disk. A metric that only some rows have is empty in the others.

        Args:
            arch: Canonical text.
            seed: Seed of the evaluation.
            metrics: Metrics of the row.
            blank: A column to be filled later, which follows the first metric in the header.

        Returns:
            Why the row was not appended, as for a metric that is not finite; otherwise an empty text.

        Raises:
            RunError: It cannot be written, as on a full disk; an incomplete row is removed when the file is opened.
        """
        bad = [name for name, value in metrics.items() if not math.isfinite(value)]
        if bad:
            return f"not a finite number: {', '.join(bad)}"
        first = not self.columns
        if first:
            names = list(metrics)
            self.columns = ["arch", "seed", *names[:1], *([blank] if blank else []), *names[1:]]
        if new := [name for name in metrics if name not in self.columns]:
            self.columns += new
            for row in self.rows.values():
                row.update(dict.fromkeys(new, ""))
            self.rewrite()
        texts = {name: _number(value) for name, value in metrics.items()}
        row = {name: texts.get(name, "") for name in self.columns} | {"arch": arch, "seed": str(seed)}
        lines = [self.columns] if first else []
        lines.append([row[name] for name in self.columns])
        with _written(self.path), self.path.open("ab") as handle:
            handle.write(_csv(lines))
            handle.flush()
            os.fsync(handle.fileno())
        self.rows[(arch, seed)] = row
        return ""

    def fill(self, arch: str, column: str, value: float) -> None:
        """Set ``column`` of every row of ``arch`` in memory; :meth:`rewrite` writes it to the disk."""
        if column not in self.columns:
            self.columns.insert(min(3, len(self.columns)), column)
            for row in self.rows.values():
                row[column] = ""
        for (text, _), row in self.rows.items():
            if text == arch:
                row[column] = _number(value)

    def rewrite(self) -> None:
        """Write all rows to a new file and rename it, so that a reader sees the old file or the new one, never a part.

        Raises:
            RunError: It cannot be written; the old file is unchanged.
        """
        lines = [self.columns, *([row[name] for name in self.columns] for row in self.rows.values())]
        with _written(self.path):
            write_whole(self.path, _csv(lines))


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path} cannot be written: {error.strerror}; what it holds stays, and the same command goes on from there"
        ) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a new file beside ``path``, sync it, and rename it."""
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    beside.replace(path)


def recipe(family: str, evaluator: object) -> dict[str, Any]:
    """Origin of labels as JSON-ready data: the space, and the evaluator with all its settings."""
    origin: dict[str, Any] = json.loads(json.dumps({"space": family, **source_of(evaluator)}, default=str))
    return origin


def _check_recipe(path: Path, family: str, evaluator: object) -> None:
    beside, now = path.with_name(path.stem + ".recipe.json"), recipe(family, evaluator)
    if not beside.is_file():
        write_whole(beside, (json.dumps(now, indent=2) + "\n").encode())
        return
    try:
        then = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LabelError(f"{beside} is no recipe: {error}") from error
    if then != now and path.is_file() and path.stat().st_size:
        raise LabelError(
            f"{path} holds labels of another recipe ({beside.name}): then {json.dumps(then)}, now {json.dumps(now)}; "
            "choose another file"
        )
    if then != now:
        write_whole(beside, (json.dumps(now, indent=2) + "\n").encode())


def _without_torn_line(path: Path) -> str:
    """The text up to the last line end; what follows it was incomplete when a process died, and is removed."""
    if not path.is_file():
        return ""
    with path.open("r+b") as handle:
        content = handle.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            handle.truncate(len(whole))
            os.fsync(handle.fileno())
    return whole.decode("utf-8")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))


def _csv(lines: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode("utf-8")
