"""Write one table of the runs of a sweep or of any folder of runs: settings and main results of each.

A sweep (-m) writes it at its end; this job writes it again, from the runs that exist now.

Examples:
    autobuild table run=families
    autobuild table run=families sort=test_srcc
    autobuild table run=runs/fit out=all_fits.csv

Writes:
    sweep.csv  folder, status, every key that was typed or differs, every single number of metrics.json, reason (why one failed)
"""  # noqa: E501

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autobuild.errors import ConfigError, nearest
from autobuild.jobs._folders import flat, lock, read_json, write_beside
from autobuild.jobs._options import read_job
from autobuild.jobs.run import EXECUTION_KEYS
from autobuild.settings.option import option

STATE = "sweep.json"  # in the folder of a sweep: overrides of the command, and its status
TABLE = "sweep.csv"
_BOOKKEEPING = ("job", "versions", "data_hash", "threads")
_SHOWN = 40  # rows that are printed


@dataclass
class Row:
    """One run: its folder, job, state, settings by dotted name, single numbers, and why it failed."""

    folder: str
    job: str = ""
    status: str = "failed"
    settings: dict[str, Any] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


@dataclass
class Keys:
    """Its keys."""

    run: str | None = option(
        None,
        "the folder of a sweep (out= of the -m command), or any folder whose folders are runs",
        required=True,
        kind="path",
    )
    sort: str | None = option(
        None, "a column; numbers from the largest on (null: in the order in which the runs began)"
    )
    out: str | None = option(None, "another file for the table (null: sweep.csv in that folder)", kind="path")
    resume: bool = option(True, "accepted as everywhere; a table is always made anew")
    threads: int | None = option(None, "accepted as everywhere; nothing here computes", ">=1 <=1024")


def run(config: Mapping[str, Any]) -> int:
    """Read the runs, write the table and print it."""
    folder = Path(config["run"])
    rows = read_rows(folder)
    if not rows:
        raise ConfigError(f"run={folder}: no folder in it holds a run (run.json); the folder of a sweep is accepted")
    table = Table(rows, (read_json(folder / STATE) or {}).get("words", []))
    if config["sort"] is not None:
        table.sort(config["sort"])
    path = Path(config["out"]) if config["out"] else folder / TABLE
    table.write(path)
    table.show()
    print(path)
    return 0


def read_rows(folder: Path) -> list[Row]:
    """The runs in a folder, in the order of their start times."""
    states = [(path.parent, read_json(path)) for path in folder.glob("*/run.json")]
    runs = [(place, state) for place, state in states if state is not None]
    return [
        Row(
            place.name,
            str(state.get("job", "")),
            _status(place, state),
            flat(state.get("config", {})),
            _single(read_json(place / "metrics.json") or {}),
            str(state.get("error") or ""),
        )
        for place, state in sorted(runs, key=lambda one: (str(one[1].get("started")), one[0].name))
    ]


def _status(place: Path, state: Mapping[str, Any]) -> str:
    status = str(state.get("status"))
    if status != "running":
        return status
    held = lock(place)
    if held is False:
        return status
    if held is not None:
        held.release()
    return "unfinished"  # its process has ended


def _single(numbers: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in numbers.items() if key not in _BOOKKEEPING}
    return {key: value for key, value in plain.items() if isinstance(value, (str, int, float)) or value is None}


class Table:
    """The columns and cells of a table over runs.

    Args:
        rows: The runs.
        words: Overrides of the sweep; each gets a column even if all runs have the same value.
    """

    def __init__(self, rows: Sequence[Row], words: Sequence[str] = ()) -> None:
        self.rows = list(rows)
        self.settings = _settings(rows, [word.partition("=")[0].lstrip("+") for word in words])
        known = {name for row in rows for name in row.settings}  # some jobs repeat settings among their numbers
        self.numbers = [name for name in dict.fromkeys(n for row in rows for n in row.numbers) if name not in known]
        several = len({row.job for row in rows if row.job}) > 1
        self.about = ["folder", *(["job"] if several else []), "status"]

    def sort(self, column: str) -> None:
        """Sort by a column, largest numbers first, rows without a value last.

        Raises:
            ConfigError: There is no such column.
        """
        if column not in (names := [*self.about, *self.settings, *self.numbers]):
            raise ConfigError(f"sort={column}: {nearest(column, names)}")
        values = {id(row): self._value(row, column) for row in self.rows}
        without = [row for row in self.rows if values[id(row)] is None]
        texts = [row for row in self.rows if isinstance(values[id(row)], (str, list))]
        counted = [row for row in self.rows if isinstance(values[id(row)], (int, float))]
        counted.sort(key=lambda row: float(values[id(row)]), reverse=True)
        self.rows = [*counted, *sorted(texts, key=lambda row: str(values[id(row)])), *without]

    def _value(self, row: Row, column: str) -> Any:
        if column in self.about or column == "reason":
            return getattr(row, column)
        return row.settings.get(column) if column in self.settings else row.numbers.get(column)

    def write(self, path: Path) -> None:
        """Write all columns as CSV.

        Raises:
            RunError: It cannot be written.
        """
        header = [*self.about, *self.settings, *self.numbers, "reason"]
        text = io.StringIO()
        cells = [[_text(self._value(row, name)) for name in header] for row in self.rows]
        csv.writer(text, lineterminator="\n").writerows([header, *cells])
        write_beside(path, text.getvalue())

    def show(self) -> None:
        """Print the settings that differ and the main numbers, those that the job's help names for ``metrics.json``."""
        from autobuild.jobs._console import cell, grid, say

        main = [name for name in self.numbers if name in {n for row in self.rows for n in main_numbers(row.job)}]
        done = all(row.status == "finished" for row in self.rows)
        differ = [name for name in self.settings if len({str(row.settings.get(name)) for row in self.rows}) > 1]
        header = [
            *(differ or self.settings),
            *(main or self.numbers[:6]),
            *(name for name in self.about[1:] if not done),
            "folder",
        ]
        grid(header, [[cell(self._value(row, name)) for name in header] for row in self.rows[:_SHOWN]])
        if len(self.rows) > _SHOWN:
            say(f"  ... {len(self.rows) - _SHOWN:,} more rows")


def _settings(rows: Sequence[Row], typed: Sequence[str]) -> list[str]:
    """The settings that were typed or differ; keys of a group that follow from its choice are left out."""
    whole = [row for row in rows if row.job] or list(rows)  # the others failed before their settings were composed
    names = [name for name in dict.fromkeys(name for row in whole for name in row.settings)
             if not set(name.split(".")) & set(EXECUTION_KEYS)]  # fmt: skip
    columns = [name for name in names if name in typed or len({str(row.settings.get(name)) for row in whole}) > 1]
    groups = {group for row in whole if row.job for group in read_job(row.job).groups}
    return [name for name in columns if name in typed or not _follows(name, names, groups, whole)]


def _follows(name: str, names: Sequence[str], groups: set[str], rows: Sequence[Row]) -> bool:
    """Whether a key of a group has one value for each choice of the group."""
    group = name.split(".")[0]
    first = next((other for other in names if other.startswith(f"{group}.")), name)
    if group not in groups or name == first:
        return False
    pairs = {(str(row.settings.get(first)), str(row.settings.get(name))) for row in rows}
    return len(pairs) == len({choice for choice, _ in pairs})


def main_numbers(job: str) -> list[str]:
    """The numbers that a job's help names for ``metrics.json``."""
    lines = [line for line in read_job(job).writes if line.startswith("metrics.json")] if job else []
    return re.findall(r"\w+", lines[0].partition(" ")[2]) if lines else []


def _text(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
