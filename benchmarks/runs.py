"""The runs file: every single result, appended as soon as it is there, so that a killed benchmark goes on."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from filelock import FileLock

COLUMNS = ("cell", "split", "method", "options", "metric", "value")


class Run(NamedTuple):
    """What names a run: ``options`` is a fingerprint of the method's options, so that other options run anew."""

    cell: str
    split: int
    method: str
    options: str


class Runs:
    """A CSV file of ``cell, split, method, options, metric, value``; several processes may append to it.

    Args:
        path: The file; it is made with the first result.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> pd.DataFrame:
        """All results so far; of a result that two processes have written, the first."""
        if not self.path.exists():
            return pd.DataFrame(columns=list(COLUMNS))
        frame = pd.read_csv(self.path, dtype={"options": str})
        return frame.drop_duplicates(list(COLUMNS[:-1]), ignore_index=True)

    def done(self) -> set[Run]:
        """The runs that are there."""
        names = self.read()[list(Run._fields)].drop_duplicates()
        return {Run(str(a), int(b), str(c), str(d)) for a, b, c, d in names.itertuples(index=False)}

    def add(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Append a run's metrics, all in one write under a lock."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        for metric, value in metrics.items():
            rows.writerow([*run, metric, int(value) if isinstance(value, int) else f"{value:.10g}"])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_name(f".{self.path.name}.lock")), open(self.path, "ab") as file:
            header = ",".join(COLUMNS) + "\n" if os.fstat(file.fileno()).st_size == 0 else ""
            file.write((header + text.getvalue()).encode())
