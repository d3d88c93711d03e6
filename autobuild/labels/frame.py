"""LabelledSet: architectures with their measured metrics, checked against a search space."""

from __future__ import annotations

import hashlib
import html
import os
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from autobuild.errors import ConfigError, CostError, LabelError, LabelWarning, TargetError, nearest
from autobuild.expressions import Names, TargetExpression
from autobuild.labels import splits
from autobuild.labels.check import Measured, check_table, row_count, row_indices
from autobuild.labels.importers import read_any
from autobuild.labels.raw_table import RawTable, frame_table
from autobuild.labels.suspects import Suspect, find_suspects
from autobuild.labels.tables import write_table
from autobuild.spaces import Architecture, SearchSpace, check_space

FloatArray = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Cost = Callable[[list[Architecture]], npt.ArrayLike]

MIN_USABLE = 20
REPEATED = 32  # rows that are compared with a cost before all are
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
        warnings: What looks wrong in the metrics that the target names.
    """

    labels: LabelledSet
    values: FloatArray
    dropped: int
    note: str
    rows: Rows
    expression: TargetExpression
    warnings: tuple[str, ...] = ()


class LabelledSet:
    """Labelled architectures of one search space; each architecture occurs once. Nothing changes it after it is made.

    Made by :meth:`read` or :meth:`from_frame`. Metrics are float64 in base units (counts; seconds or
    milliseconds as the column's name says); a missing measurement is NaN.
    """

    def __init__(
        self,
        archs: Sequence[Architecture],
        measured: Measured,
        space: SearchSpace,
        notes: Sequence[str] = (),
        source: str = "labels",
        ignored: Mapping[str, str] | None = None,
    ) -> None:
        self._frame = pd.DataFrame({"arch": [str(arch) for arch in archs], **measured.averaged()})
        self._archs = tuple(archs)
        self._measured = measured
        self._space = space
        self._notes = tuple(notes)
        self._source = source
        self._ignored = dict(ignored or {})

    @classmethod
    def read(
        cls, path_or_name: str | os.PathLike[str], space: SearchSpace, n: int | None = None, format: str = "auto"
    ) -> LabelledSet:
        """Read a table (CSV, TSV, Parquet, Feather, JSON, JSON Lines, Excel), a published form, or an embedded set.

        Args:
            path_or_name: A file with a column ``arch`` and metric columns (packed as ``.gz``, ``.bz2``, ``.xz`` or
                ``.zip``, too), the file or folder of a published data set (:mod:`autobuild.labels.importers`), or a
                name such as ``"tiny_mbconv"``.
            space: Every architecture is parsed by it, and stored in its canonical text.
            n: Read the first ``n`` rows of the file only (of an archive: members, sorted by name); rows after them are
                not even checked.
            format: ``"auto"`` tells a published form by its content; see ``importers.FORMATS``.

        Raises:
            LabelError: The file is missing, empty, unreadable or truncated; no column holds architectures, or none
                holds numbers; names of columns occur twice; ``n`` is out of range; or rows cannot be used: one error
                counts them and shows the first 20.
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
            found = check_table(table, space, n)
        except LabelError as error:
            if table.space is None or table.space == space.family:
                raise
            told = f"rows of this form belong to the space {table.space}, and {space.name} was given"
            raise LabelError(f"{error}\n{told}") from error
        labels = cls(found.archs, found.measured, space, found.notes, table.source, found.ignored)
        warn(labels.warnings)
        return labels

    @property
    def frame(self) -> pd.DataFrame:
        """A copy of the rows: ``arch`` (canonical text) and one float64 column a metric, index 0 to ``len - 1``.

        Its ``attrs`` hold ``notes`` and ``warnings``.
        """
        frame = self._frame.copy()
        frame.attrs = {"notes": self.notes, "warnings": self.warnings}
        return frame

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

    @cached_property
    def suspects(self) -> list[Suspect]:
        """Values that look like slips, see :mod:`autobuild.labels.suspects`; nothing is dropped because of them."""
        return find_suspects(self._measured, lambda row: self._space.key(self._archs[row]))

    @property
    def warnings(self) -> list[str]:
        """What looks wrong in the values, e.g. ``"acc: -1 (10 times) in lines 3, 8, ...: ..."``; see :meth:`drop`."""
        return [suspect.text for suspect in self.suspects]

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
        told = "".join(f"\n  warning: {text}" for text in self.warnings)
        return f"LabelledSet({name}: {len(self):,} architectures of {self._space.name}; {metrics}){told}"

    def _repr_html_(self) -> str:
        lines = [f"<b>{len(self):,}</b> labelled architectures of <b>{html.escape(self._space.name)}</b>"]
        lines += [html.escape(note) for note in self._notes]
        lines += [f"<b>warning:</b> {html.escape(text)}" for text in self.warnings]
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
        part = self._part(self._measured.of(taken), [self._archs[row] for row in taken])
        if "keys" in self.__dict__:
            part.__dict__["keys"] = tuple(self.keys[row] for row in taken)
        return part

    def drop(self, numbers: Collection[int | str]) -> LabelledSet:
        """The set without some rows of its file, named as messages name them: lines of a CSV, rows (from 1) of a frame.

        Where an architecture has other rows, it keeps their mean.

        Raises:
            LabelError: There is no such row, or none is left.
        """
        given = [numbers] if isinstance(numbers, int | str) else list(numbers)
        known = self._measured.numbers
        wrong = [number for number in given if number not in known]
        if wrong:
            near = nearest(wrong[0], known, limit=6)
            raise LabelError(f"{self._source}: no {self._measured.word} {wrong[0]!r} with labels: {near}")
        gone = set(given)
        kept = np.array([number not in gone for number in known], dtype=bool)
        return self._kept(kept, f"{len(gone):,} rows dropped by their numbers")

    def filter(self, keep: Callable[[Mapping[str, FloatArray]], npt.ArrayLike], note: str = "") -> LabelledSet:
        """The set without the rows of its file that ``keep`` gives False for, before equal architectures are averaged.

        >>> labels.filter(lambda metrics: metrics["acc"] > 0)

        Args:
            keep: Function of the metrics, each of shape ``(m,)``, to a boolean mask of that shape.
            note: What it does, for :attr:`notes`.

        Raises:
            LabelError: The mask has another shape, or no row is left.
        """
        kept = np.asarray(keep({name: values.copy() for name, values in self._measured.metrics.items()}))
        if kept.dtype != np.bool_ or kept.shape != (len(self._measured.numbers),):
            raise LabelError(
                f"filter: a boolean mask of shape ({len(self._measured.numbers)},) is needed, given: "
                f"{kept.dtype} of shape {kept.shape}"
            )
        return self._kept(kept, note or f"{int((~kept).sum()):,} of {len(kept):,} rows left out by a filter")

    def _kept(self, kept: npt.NDArray[np.bool_], note: str) -> LabelledSet:
        places = np.flatnonzero(kept)
        if not len(places):
            raise LabelError(f"{self._source}: {note}: no row is left")
        if len(places) == len(kept):
            return self
        rows, row = np.unique(self._measured.row[places], return_inverse=True)
        part = self._part(self._measured.take(places, row), [self._archs[old] for old in rows])
        part._notes = (*self._notes, note)
        return part

    def _part(self, measured: Measured, archs: Sequence[Architecture]) -> LabelledSet:
        return LabelledSet(archs, measured, self._space, self._notes, self._source, self._ignored)

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
            expression: E.g. ``"acc - 0.01*latency_gpu"``: see :class:`~autobuild.expressions.TargetExpression`, and
                :meth:`names` for what its names mean.
            costs: Name -> function from ``n`` architectures to their costs, shape ``(n,)``; called only if referenced.

        Raises:
            TargetError: The expression is not accepted, names something unknown or ambiguous, or is the same for all
                rows.
            LabelError: Fewer than 20 rows have a finite target.
        """
        costs = {} if costs is None else costs
        names = self.names(costs)
        # All names are looked up before the first cost is computed: a typing error should not wait for that.
        parsed = names.target(expression)
        found = {name: names.find(name, parsed.text) for name in parsed.names}
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
        used = {which for kind, which in found.values() if kind == "label"}
        told = tuple(suspect.text for suspect in self.suspects if suspect.metric in used or not suspect.metric)
        return TargetValues(self.subset(rows) if dropped else self, kept, dropped, note, rows, parsed, told)

    def names(self, costs: Mapping[str, Cost] | None = None, measured: Collection[str] | None = ()) -> Names:
        """What names in expressions over these labels stand for.

        Args:
            costs: Name -> function from ``n`` architectures to their costs, shape ``(n,)``; called only where a bare
                name is a column, too.
            measured: What an evaluator measures besides, see :class:`~autobuild.expressions.Names`.
        """
        known: Mapping[str, Cost] = {} if costs is None else costs
        repeats = cache(lambda column, cost: self._repeats(column, known[cost]))
        return Names(self.metrics, known, measured, repeats, self._ignored)

    def _repeats(self, column: str, cost: Cost) -> bool:
        """Whether a column is a cost that was written down; rows without a value do not count."""
        given = self._frame[column].to_numpy(dtype=np.float64)
        there = np.flatnonzero(np.isfinite(given))
        # A few rows tell most columns from a cost, which may take long.
        for rows in (there[:REPEATED], there) if len(there) else ():
            try:
                values = np.asarray(cost([self._archs[row] for row in rows]), dtype=np.float64)
            except CostError:
                return False
            if values.shape != rows.shape or not np.allclose(given[rows], values, rtol=1e-9, atol=0.0):
                return False
        return bool(len(there))

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


def warn(texts: Collection[str], stacklevel: int = 4) -> None:
    """Show what looks wrong in labels as one Python warning."""
    if texts:
        warnings.warn("\n  ".join(["these labels look wrong:", *texts]), LabelWarning, stacklevel=stacklevel)


def check_labels(given: object, key: str = "labels") -> LabelledSet:
    """Return what was given for ``key`` if it is a labelled set.

    Raises:
        ConfigError: It is something else, such as the path of a file.
    """
    if isinstance(given, LabelledSet):
        return given
    raise ConfigError(f"{key}={given!r}: a labelled set is accepted, such as LabelledSet.read gives")
