"""LabelledSet: architectures with their measured metrics, checked against a search space."""

from __future__ import annotations

import hashlib
import html
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from autobuild.errors import ConfigError, LabelError, TargetError
from autobuild.labels import splits
from autobuild.labels.check import average_duplicates, check_table, row_count, row_indices
from autobuild.labels.importers import read_any
from autobuild.labels.tables import RawTable, frame_table, write_table
from autobuild.labels.target import TargetExpression, find_name
from autobuild.spaces import Architecture, SearchSpace, check_space

FloatArray = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Cost = Callable[[list[Architecture]], npt.ArrayLike]

MIN_USABLE = 20
TINY, HUGE = 1e-100, 1e100  # standard deviations whose squares and inverses float64 still holds


@dataclass(frozen=True)
class TargetValues:
    """A target computed for the rows that have one.

    Attributes:
        labels: The labelled set without unusable rows, ``n`` rows.
        values: The target, float64, shape ``(n,)``; all finite, not constant, to be maximised.
        dropped: Number of rows left out.
        note: Says how many were dropped and why; empty where none were.
        rows: Which rows of the original set are kept, ascending, shape ``(n,)``.
        expression: The parsed expression.
    """

    labels: LabelledSet
    values: FloatArray
    dropped: int
    note: str
    rows: Rows
    expression: TargetExpression


class LabelledSet:
    """Labelled architectures of one search space; each architecture occurs once. Nothing changes it after it is made.

    Made by :meth:`read` or :meth:`from_frame`. Metrics are float64 in base units (counts; seconds or
    milliseconds as the column's name says); a missing measurement is NaN.
    """

    def __init__(
        self, frame: pd.DataFrame, archs: Sequence[Architecture], space: SearchSpace, notes: Sequence[str], source: str
    ) -> None:
        self._frame = frame
        self._archs = tuple(archs)
        self._space = space
        self._notes = tuple(notes)
        self._source = source

    @classmethod
    def read(
        cls, path_or_name: str | os.PathLike[str], space: SearchSpace, n: int | None = None, format: str = "auto"
    ) -> LabelledSet:
        """Read ``.csv``, ``.tsv``, ``.parquet``, ``.jsonl``, ``.ndjson``, a published form, or an embedded set by name.

        Args:
            path_or_name: A file with a column ``arch`` and metric columns, the file or folder of a published data set
                (:mod:`autobuild.labels.importers`), or a name such as ``"tiny_mbconv"``.
            space: Every architecture is parsed by it, and stored in its canonical text.
            n: Read the first ``n`` rows of the file only (of an archive: members, sorted by name); rows after them are
                not even checked.
            format: ``"auto"`` tells a published form by its content; see ``importers.FORMATS``.

        Raises:
            LabelError: The file is missing, empty, unreadable or truncated; a column ``arch`` is missing; names of
                columns occur twice; ``n`` is out of range; or rows cannot be used: one error counts them and shows the
                first 20.
        """
        return cls.from_table(read_any(path_or_name, format), space, n)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, space: SearchSpace, *, source: str = "labels") -> LabelledSet:
        """Take a frame with a column ``arch`` (text or architectures) and numeric metric columns; the index is ignored.

        Raises:
            LabelError: As for :meth:`read`; ``source`` is what messages call the frame.
        """
        if not isinstance(frame, pd.DataFrame):
            raise LabelError(f"{source}: given a {type(frame).__name__}, accepted: a pandas frame; read takes a file")
        table = frame_table(frame, source)
        if not len(frame):
            raise LabelError(f"{source}: the frame has no rows")
        return cls.from_table(table, space)

    @classmethod
    def from_table(cls, table: RawTable, space: SearchSpace, n: int | None = None) -> LabelledSet:
        """Check the first ``n`` rows of a raw table, which a reader of this room has made.

        Raises:
            LabelError: As for :meth:`read`; where the table is of a form that belongs to another space, it says so.
        """
        check_space(space)
        try:
            archs, metrics = check_table(table, space, n)
        except LabelError as error:
            if table.space is None or table.space == space.family:
                raise
            told = f"rows of this form belong to the space {table.space}, and {space.name} was given"
            raise LabelError(f"{error}\n{told}") from error
        archs, metrics, notes = average_duplicates(archs, metrics)
        frame = pd.DataFrame({"arch": [str(arch) for arch in archs], **metrics})
        return cls(frame, archs, space, [*table.notes, *notes], table.source)

    @property
    def frame(self) -> pd.DataFrame:
        """A copy of the rows: ``arch`` (canonical text) and one float64 column a metric, index 0 to ``len - 1``."""
        return self._frame.copy()

    @property
    def space(self) -> SearchSpace:
        """The search space that the architectures belong to."""
        return self._space

    @property
    def archs(self) -> list[Architecture]:
        """The architecture of every row."""
        return list(self._archs)

    @property
    def metrics(self) -> list[str]:
        """Names of the metric columns, in file order."""
        return [str(name) for name in self._frame.columns if name != "arch"]

    @property
    def notes(self) -> list[str]:
        """What the user should know, e.g. ``"2 rows averaged: 1 architecture occurs more than once"``."""
        return list(self._notes)

    @property
    def source(self) -> str:
        """The file that the rows came from."""
        return self._source

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """``space.key`` of every row: equal for networks that are the same once identity layers are removed."""
        return tuple(self._space.key(arch) for arch in self._archs)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 (hex) of the canonical rows in order, whatever the file's form and the order of its metrics."""
        digest = hashlib.sha256()
        names = sorted(self.metrics)
        for text in ("\x1f".join(names), "\n".join(self._frame["arch"])):
            digest.update(text.encode() + b"\x00")
        for name in names:
            values = self._frame[name].to_numpy(dtype="<f8", copy=True)
            values[np.isnan(values)] = np.nan  # one bit pattern for all kinds of NaN
            digest.update((values + 0.0).tobytes())  # and one zero
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._archs)

    def __repr__(self) -> str:
        name, metrics = os.path.basename(self._source), ", ".join(self.metrics)
        return f"LabelledSet({name}: {len(self):,} architectures of {self._space.name}; {metrics})"

    def _repr_html_(self) -> str:
        lines = [f"<b>{len(self):,}</b> labelled architectures of <b>{html.escape(self._space.name)}</b>"]
        lines += [html.escape(note) for note in self._notes]
        tables = [self._frame.head(5).to_html(index=False), self.describe().to_html(index=False)]
        return f"<p>{'<br>'.join(lines)}</p>{''.join(tables)}"

    def head(self, n: int) -> LabelledSet:
        """The first ``n`` rows. Raises LabelError unless ``1 <= n <= len``."""
        return self.subset(np.arange(row_count(n, len(self), self._source)))

    def subset(self, rows: Sequence[int] | npt.NDArray[Any]) -> LabelledSet:
        """Some of the rows, in the order given: distinct indices from 0, or a boolean mask of all rows.

        Raises:
            LabelError: A row does not exist or is asked for twice.
        """
        taken = row_indices(rows, len(self))
        frame = self._frame.iloc[taken].reset_index(drop=True)
        part = LabelledSet(frame, [self._archs[row] for row in taken], self._space, self._notes, self._source)
        if "keys" in self.__dict__:
            part.__dict__["keys"] = tuple(self.keys[row] for row in taken)
        return part

    def describe(self) -> pd.DataFrame:
        """One row a metric: ``metric, count, missing, mean, std, min, p05, median, p95, max``, over finite values."""
        rows = []
        for name in self.metrics:
            column = self._frame[name].to_numpy()
            values = column[np.isfinite(column)]
            counts = {"metric": name, "count": len(values), "missing": len(self) - len(values)}
            if not len(values):
                rows.append(counts)
                continue
            quantiles = np.quantile(values, [0.0, 0.05, 0.5, 0.95, 1.0])
            spread = {"mean": values.mean(), "std": values.std(ddof=1) if len(values) > 1 else 0.0}
            rows.append(counts | spread | dict(zip(("min", "p05", "median", "p95", "max"), quantiles, strict=True)))
        columns = ["metric", "count", "missing", "mean", "std", "min", "p05", "median", "p95", "max"]
        return pd.DataFrame(rows, columns=columns)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the rows in the form that the name's ending says, beside and renamed; floats read back exactly.

        Raises:
            LabelError: The ending is unknown, or the file cannot be written.
        """
        write_table(self._frame, path)

    def target(self, expression: str | TargetExpression, costs: Mapping[str, Cost] | None = None) -> TargetValues:
        """Compute a target expression for every row, and leave out the rows where it is missing or not finite.

        Args:
            expression: E.g. ``"acc - 0.01*latency_gpu"``: see :class:`TargetExpression`. A bare name is a metric of
                this set, else a cost.
            costs: Name -> function from ``n`` architectures to their costs, shape ``(n,)``; called only if referenced.

        Raises:
            TargetError: The expression is not accepted, names something unknown or ambiguous, or is the same for all
                rows.
            LabelError: Fewer than 20 rows have a finite target.
        """
        parsed = expression if isinstance(expression, TargetExpression) else TargetExpression.parse(expression)
        costs = {} if costs is None else costs
        if not parsed.names:
            raise TargetError(f"target {parsed.text!r} names no metric, so all rows are equal; {self._known(costs)}")
        # All names are looked up before the first cost is computed: a typing error should not wait for that.
        found = {name: find_name(name, self.metrics, costs, parsed.text) for name in parsed.names}
        computed: dict[str, FloatArray] = {}

        def column(name: str) -> FloatArray:
            kind, which = found[name]
            if kind == "label":
                return self._frame[which].to_numpy(dtype=np.float64)
            if which not in computed:
                computed[which] = self._cost(which, costs[which])
            return computed[which]

        values = parsed.evaluate(column)
        usable = np.isfinite(values)
        rows = np.flatnonzero(usable)
        dropped = len(self) - len(rows)
        note = f"{dropped:,} of {len(self):,} rows dropped: target is missing or not finite" if dropped else ""
        if len(rows) < MIN_USABLE:
            raise LabelError(
                f"{self._source}: {len(rows)} usable rows for target {parsed.text!r}, at least {MIN_USABLE} are needed"
                + (f" ({note})" if note else "")
            )
        kept = values[rows]
        _refuse_constant(parsed, kept)
        return TargetValues(self.subset(rows) if dropped else self, kept, dropped, note, rows, parsed)

    def split(self, holdout: float | int = 0.1, seed: int = 0) -> tuple[Rows, Rows]:
        """``(train_rows, test_rows)``: a random split that keeps equal networks together; see :func:`splits.split`."""
        return splits.split(self.keys, holdout, seed)

    def folds(self, k: int, seed: int = 0) -> list[tuple[Rows, Rows]]:
        """``k`` pairs ``(train_rows, test_rows)`` that keep equal networks together; see :func:`splits.folds`."""
        return splits.folds(self.keys, k, seed)

    def _cost(self, name: str, cost: Cost) -> FloatArray:
        values = np.asarray(cost(self.archs), dtype=np.float64)
        if values.shape != (len(self),):
            raise TargetError(f"cost {name!r} gave an array of shape {values.shape} for {len(self):,} architectures")
        return values

    def _known(self, costs: Mapping[str, Cost]) -> str:
        return f"label columns: {', '.join(self.metrics) or 'none'}; costs: {', '.join(costs) or 'none'}"


def _refuse_constant(expression: TargetExpression, values: FloatArray) -> None:
    """Refuse a target that does not tell rows apart; a few rounding errors are not a difference."""
    low, high = float(values.min()), float(values.max())
    if high / 2 - low / 2 <= 4 * np.finfo(np.float64).eps * max(abs(low), abs(high)):
        raise TargetError(
            f"target {expression.text!r} is the same for all {len(values):,} usable rows ({low:.6g}): "
            "nothing can be learned from it"
        )
    with np.errstate(all="ignore"):
        spread = float(values.std())
    if not TINY < spread < HUGE:
        size = "large" if spread > 1 else "small"
        raise TargetError(
            f"target {expression.text!r} runs from {low:.6g} to {high:.6g}: its spread is too {size} to be computed "
            "with; multiply it by a number, or take its logarithm"
        )


def check_labels(given: object, key: str = "labels") -> LabelledSet:
    """Return what was given for ``key`` if it is a labelled set.

    Raises:
        ConfigError: It is something else, such as the path of a file.
    """
    if isinstance(given, LabelledSet):
        return given
    raise ConfigError(f"{key}={given!r}: a labelled set is accepted, such as LabelledSet.read gives")
