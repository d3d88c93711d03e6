"""LabelledSet: architectures with their measured metrics, checked against a search space."""

from __future__ import annotations

import hashlib
import html
import os
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from autobuild._typing import BoolArray, FloatArray, IntArray
from autobuild._words import counted
from autobuild.errors import ConfigError, CostError, LabelError, LabelWarning, TargetError, nearest
from autobuild.expressions import Names, TargetExpression
from autobuild.labels import _splits as splits
from autobuild.labels._anomalies import Anomaly, find_anomalies
from autobuild.labels._checks import Measured, check_table, row_count, row_indices
from autobuild.labels._equal_networks import KINDS, Equality, equality
from autobuild.labels._raw_table import RawTable, frame_table
from autobuild.labels.importers import read_any
from autobuild.labels.label_files import write_table
from autobuild.spaces import Architecture, SearchSpace, check_space

Cost = Callable[[list[Architecture]], npt.ArrayLike]

MIN_USABLE = 5
REPEATED = 32  # rows that are compared with a cost before all are
TINY, HUGE = 1e-100, 1e100  # range of standard deviations whose squares and inverses float64 can represent


@dataclass(frozen=True)
class _Repeats:
    """Whether a column repeats a cost: column name, cost name -> bool; each pair is compared once."""

    labels: LabelledSet
    costs: Mapping[str, Cost]
    _known: dict[tuple[str, str], bool] = field(default_factory=dict)

    def __call__(self, column: str, cost: str) -> bool:
        if (column, cost) not in self._known:
            self._known[column, cost] = self.labels._repeats(column, self.costs[cost])
        return self._known[column, cost]


@dataclass(frozen=True)
class TargetValues:
    """A target computed for the rows that have one.

    Attributes:
        labels: The labelled set without unusable rows, ``n`` rows.
        values: The target, to be maximised; float64, all finite, not constant. Shape ``(n,)``.
        dropped: Number of rows left out.
        note: How many rows were left out and why; empty if none were.
        rows: Indices in the original set of the rows kept, ascending. Shape ``(n,)``.
        expression: The parsed expression.
        equality: What equal networks share, and why. If it is the execution, they are told apart in ``labels``.
        warnings: Warnings about the metrics that the target names.
    """

    labels: LabelledSet
    values: FloatArray
    dropped: int
    note: str
    rows: IntArray
    expression: TargetExpression
    equality: Equality
    warnings: tuple[str, ...] = ()


class LabelledSet:
    """Labelled architectures of one search space; each architecture occurs once. Immutable.

    Made by :meth:`read` or :meth:`from_frame`, which average repeated measurements of one architecture. Metrics are
    float64, in the units of the file; a missing measurement is NaN.

    >>> space = ab.space("tiny_mbconv")
    >>> labels = ab.LabelledSet.read("tiny_mbconv", space)  # ships with the package; a path of a CSV file works, too
    >>> labels
    LabelledSet(tiny_mbconv.csv: 406 architectures of tiny_mbconv; acc, latency_ms, params, macs, train_seconds)
    >>> labels.frame[["arch", "acc"]].head(1)
                                     arch    acc
    0  e2k5s1-e2k3s1-e1k5s0|e1k1s0|e1k1s0  76.65
    >>> fast = labels.filter(lambda metrics: metrics["latency_ms"] < 1.0)
    >>> values = labels.target("acc - 2*latency_ms").values
    >>> values.shape
    (406,)

    Args:
        archs: One architecture per row, each once. Length ``(n,)``.
        measured: All measurements of the rows; several of one architecture are averaged.
        space: The space that the architectures belong to.
        notes: What was done while the rows were read, for :attr:`notes`.
        source: The file that the rows came from, named in messages.
        ignored: Column of the file that is not a metric -> the reason, named in errors.
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
        cls,
        path_or_name: str | os.PathLike[str] | pd.DataFrame,
        space: SearchSpace,
        n: int | None = None,
        format: str = "auto",
    ) -> LabelledSet:
        """Read a table (CSV, TSV, Parquet, Feather, JSON, JSON Lines, Excel), a published data set, or a bundled one.

        Args:
            path_or_name: A file with a column ``arch`` and metric columns (``.gz``, ``.bz2``, ``.xz`` and ``.zip`` are
                unpacked), a frame of that form, the file or folder of a published data set
                (:mod:`autobuild.labels.importers`), or the name of a set that ships with the package, such as
                ``"tiny_mbconv"``.
            space: The space whose architectures the rows are; texts are stored in its canonical form.
            n: Read only the first ``n`` rows of the file (of an archive: its first ``n`` members, sorted by name). Rows
                after them are not checked.
            format: Format of the file; ``"auto"`` detects it from the content. See ``importers.FORMATS``.

        Returns:
            The set: one row per architecture, repeated measurements averaged.

        Raises:
            LabelError: The file is missing, empty, unreadable or truncated; no column holds architectures, or none
                holds numbers; names of columns occur twice; ``n`` is out of range; or rows cannot be used: one error
                counts them and shows the first 20.
        """
        if isinstance(path_or_name, pd.DataFrame):
            return cls.from_frame(path_or_name.head(row_count(n, len(path_or_name), "labels")), space)
        return cls.from_table(read_any(path_or_name, format), space, n)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, space: SearchSpace, *, source: str = "labels") -> LabelledSet:
        """Make a labelled set from a pandas frame.

        Args:
            frame: Column ``arch`` (texts or architectures) and numeric metric columns; an index
                is read only if it is named ``arch``.
            space: The space that the architectures belong to.
            source: Name of the frame in messages.

        Returns:
            The set: one row per architecture, repeated measurements averaged.

        Raises:
            LabelError: As for :meth:`read`, or ``frame`` is not a pandas frame.
        """
        if not isinstance(frame, pd.DataFrame):
            raise LabelError(f"{source}: given a {type(frame).__name__}, accepted: a pandas frame; read takes a file")
        table = frame_table(frame, source)
        if not len(frame):
            raise LabelError(f"{source}: the frame has no rows")
        return cls.from_table(table, space)

    @classmethod
    def from_table(cls, table: RawTable, space: SearchSpace, n: int | None = None) -> LabelledSet:
        """Make a labelled set from an unchecked table of texts, as the readers of ``autobuild.labels`` return it.

        Args:
            table: The table.
            space: The space that the architectures belong to.
            n: Use only the first ``n`` rows; None uses all.

        Returns:
            The set: one row per architecture, repeated measurements averaged.

        Raises:
            LabelError: As for :meth:`read`. The message says so if the table's format belongs to another space.
        """
        check_space(space)
        try:
            checked = check_table(table, space, n)
        except LabelError as error:
            if table.space is None or table.space == space.family:
                raise
            hint = f"rows of this form belong to the space {table.space}, and {space.name} was given"
            raise LabelError(f"{error}\n{hint}") from error
        labels = cls(checked.archs, checked.measured, space, checked.notes, table.source, checked.ignored)
        warn(labels.warnings)
        return labels

    @property
    def frame(self) -> pd.DataFrame:
        """A copy of the rows: ``arch`` (canonical text) and one float64 column per metric. Shape ``(n, 1 + metrics)``.

        The index runs from 0; ``attrs`` holds :attr:`notes` and :attr:`warnings`.
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
        """The architecture of every row. Length ``(n,)``."""
        return list(self._archs)

    @property
    def metrics(self) -> list[str]:
        """Names of the metric columns, in file order."""
        return [str(name) for name in self._frame.columns if name != "arch"]

    @property
    def notes(self) -> list[str]:
        """What was done while the rows were read, e.g. ``"2 rows averaged: 1 architecture occurs more than once"``."""
        return list(self._notes)

    @cached_property
    def anomalies(self) -> list[Anomaly]:
        """Values that look wrong: failed measurements, mixed units, far outliers, copies. No row is dropped."""
        return find_anomalies(self._measured, lambda row: self._space.key(self._archs[row]))

    @property
    def suspects(self) -> list[Anomaly]:
        """The former name of :attr:`anomalies`."""
        warnings.warn("suspects is now called anomalies", DeprecationWarning, stacklevel=2)
        return self.anomalies

    @property
    def warnings(self) -> list[str]:
        """The :attr:`anomalies` as text, e.g. ``"acc: -1 (10 times) in lines 3, 8, ...: ..."``; see :meth:`drop`."""
        return [anomaly.text for anomaly in self.anomalies]

    @property
    def source(self) -> str:
        """The file that the rows came from."""
        return self._source

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """``space.key`` of every row, length ``(n,)``: equal for rows of equal networks."""
        return tuple(self._space.key(arch) for arch in self._archs)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 (hex) of the rows in order; it does not depend on the file format or on the order of the metrics."""
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
        warned = "".join(f"\n  warning: {text}" for text in self.warnings)
        return f"LabelledSet({name}: {counted(len(self), 'architecture')} of {self._space.name}; {metrics}){warned}"

    def _repr_html_(self) -> str:
        lines = [f"<b>{len(self):,}</b> labelled architectures of <b>{html.escape(self._space.name)}</b>"]
        lines += [html.escape(note) for note in self._notes]
        lines += [f"<b>warning:</b> {html.escape(text)}" for text in self.warnings]
        tables = [self._frame.head(5).to_html(index=False), self.describe().to_html(index=False)]
        return f"<p>{'<br>'.join(lines)}</p>{''.join(tables)}"

    def head(self, n: int) -> LabelledSet:
        """Keep the first rows.

        Args:
            n: Number of rows to keep, from 1 to ``len(labels)``.

        Returns:
            The smaller set, ``n`` rows.

        Raises:
            LabelError: ``n`` is out of range.
        """
        return self.subset(np.arange(row_count(n, len(self), self._source)))

    def subset(self, rows: Sequence[int] | npt.NDArray[Any]) -> LabelledSet:
        """Keep some of the rows, in the order given.

        Args:
            rows: Distinct row indices from 0, shape ``(m,)``, or a boolean mask, shape ``(n,)``.

        Returns:
            The smaller set.

        Raises:
            LabelError: A row does not exist or is given twice.
        """
        taken = row_indices(rows, len(self))
        part = self._part(self._measured.of(taken), [self._archs[row] for row in taken])
        if "keys" in self.__dict__:
            part.__dict__["keys"] = tuple(self.keys[row] for row in taken)
        return part

    def drop(self, numbers: Collection[int | str]) -> LabelledSet:
        """Leave out some rows of the file; an architecture with other rows keeps their mean.

        Args:
            numbers: Row numbers as warnings give them: lines of a CSV file, rows (from 1) of a frame, or one of them.

        Returns:
            The smaller set; :attr:`notes` says how many rows were dropped.

        Raises:
            LabelError: There is no such row, or no row is left.
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
        """Keep the rows of the file for which ``keep`` is true; repeated measurements are averaged after that.

        >>> labels.filter(lambda metrics: metrics["acc"] > 0)

        Args:
            keep: Function from the metrics of all ``m`` rows of the file (name -> array of shape ``(m,)``) to a boolean
                mask of shape ``(m,)``.
            note: Description of the filter, for :attr:`notes`.

        Returns:
            The smaller set.

        Raises:
            LabelError: The mask is not boolean or has another shape, or no row is left.
        """
        kept = np.asarray(keep({name: values.copy() for name, values in self._measured.metrics.items()}))
        if kept.dtype != np.bool_ or kept.shape != (len(self._measured.numbers),):
            raise LabelError(
                f"filter: a boolean mask of shape ({len(self._measured.numbers)},) is needed, given: "
                f"{kept.dtype} of shape {kept.shape}"
            )
        return self._kept(kept, note or f"{int((~kept).sum()):,} of {len(kept):,} rows left out by a filter")

    def _kept(self, kept: BoolArray, note: str) -> LabelledSet:
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
        """Statistics of the finite values, one row per metric.

        Columns: ``metric, count, missing, mean, std, min, p05, median, p95, max``; ``p05`` and ``p95`` are percentiles.
        """
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
        """Write :attr:`frame` to a file; numbers read back exactly.

        The file is written under another name and then renamed, so a failure leaves no half-written file.

        Args:
            path: The file; its suffix decides the format: ``.csv``, ``.tsv``, ``.parquet`` or ``.jsonl``.

        Raises:
            LabelError: The suffix is unknown, or the file cannot be written.
        """
        write_table(self._frame, path)

    def target(
        self, expression: str | TargetExpression, costs: Mapping[str, Cost] | None = None, equal: str = "auto"
    ) -> TargetValues:
        """Compute a target expression for every row, and leave out the rows where it is missing or not finite.

        Args:
            expression: Such as ``"acc - 0.01*latency_gpu"``, see :class:`~autobuild.expressions.TargetExpression`;
                :meth:`names` says what its names mean.
            costs: Name -> function from ``n`` architectures to their costs, shape ``(n,)``. Only costs that the
                expression names are computed.
            equal: What equal networks share. ``"function"``: they have the same value, as of accuracies.
                ``"execution"``: they need not, as of latencies, because operations that do not affect the output are
                executed. ``"auto"``: twins among the rows tell, or names such as ``latency_ms``.

        Returns:
            The values, shape ``(m,)``, with the ``m`` rows that have one.

        Raises:
            ConfigError: ``equal`` is unknown.
            TargetError: The expression is not accepted, names something unknown or ambiguous, or is the same for all
                rows.
            LabelError: Fewer than 5 rows have a finite target.
        """
        costs = {} if costs is None else costs
        if equal not in KINDS:
            raise ConfigError(f"equal={equal!r}: {nearest(equal, KINDS)}")
        names = self.names(costs)
        # Look up all names before computing the first cost, which may take long: a misspelt name must fail at once.
        parsed = names.target(expression)
        meanings = {name: names.find(name, parsed.text) for name in parsed.names}
        computed: dict[str, FloatArray] = {}

        def column(name: str) -> FloatArray:
            kind, which = meanings[name]
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
        used = {which for kind, which in meanings.values() if kind == "label"}
        warned = tuple(one.text for one in self.anomalies if one.metric in used or not one.metric)
        labels = (self.subset(rows) if dropped else self)._on(self._space.function())
        costed = [which for kind, which in meanings.values() if kind == "cost"]
        found = equality(sorted(used), costed, kept, labels._space, labels._archs, labels.keys, equal)
        labels = labels._on(self._space.executed()) if found.of == "execution" else labels
        return TargetValues(labels, kept, dropped, note, rows, parsed, found, warned)

    def _on(self, space: SearchSpace) -> LabelledSet:
        """The same rows, in the same space with another rule for equal networks."""
        if space is self._space:
            return self
        return LabelledSet(self._archs, self._measured, space, self._notes, self._source, self._ignored)

    def names(self, costs: Mapping[str, Cost] | None = None, measured: Collection[str] | None = ()) -> Names:
        """What names in expressions over these labels stand for.

        Args:
            costs: Name -> function from ``n`` architectures to their costs, shape ``(n,)``; called only where a bare
                name is a column, too.
            measured: What an evaluator measures besides, see :class:`~autobuild.expressions.Names`.

        Returns:
            The resolver of names.
        """
        known: Mapping[str, Cost] = {} if costs is None else costs
        return Names(self.metrics, known, measured, _Repeats(self, known), self._ignored)

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

    def split(self, holdout: float | int = 0.1, seed: int = 0) -> tuple[IntArray, IntArray]:
        """Divide the rows at random into training and held-out rows; equal networks (:attr:`keys`) stay together.

        Args:
            holdout: Held-out part: a fraction between 0 and 1, or a number of rows from 1 to ``n - 1``.
            seed: Seed of the split.

        Returns:
            ``(train_rows, test_rows)``: ascending row indices, shapes ``(n - m,)`` and ``(m,)``.

        Raises:
            ConfigError: ``holdout`` is out of range.
            LabelError: There are fewer than two distinct networks.
        """
        return splits.split(self.keys, holdout, seed)

    def folds(self, k: int, seed: int = 0) -> list[tuple[IntArray, IntArray]]:
        """Divide the rows at random into folds for cross-validation; equal networks (:attr:`keys`) stay together.

        Args:
            k: Number of folds, from 2 to the number of distinct networks.
            seed: Seed of the folds.

        Returns:
            ``k`` pairs ``(train_rows, test_rows)`` of ascending row indices, shapes ``(n - m,)`` and ``(m,)``. Every
            row is in exactly one ``test_rows``.

        Raises:
            ConfigError: ``k`` is out of range.
        """
        return splits.folds(self.keys, k, seed)

    def _cost(self, name: str, cost: Cost) -> FloatArray:
        values = np.asarray(cost(self.archs), dtype=np.float64)
        if values.shape != (len(self),):
            raise TargetError(f"cost {name!r} gave an array of shape {values.shape} for {len(self):,} architectures")
        return values


def _refuse_constant(expression: TargetExpression, values: FloatArray) -> None:
    """Refuse a target that is the same for all rows, up to rounding errors."""
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
            f"target {expression.text!r} runs from {low:.6g} to {high:.6g}: its spread is too {size} for "
            "computations; multiply it by a number, or take its logarithm"
        )


def warn(texts: Collection[str], stacklevel: int = 4) -> None:
    """Issue one Python warning with everything that looks wrong in labels."""
    if texts:
        warnings.warn("\n  ".join(["these labels look wrong:", *texts]), LabelWarning, stacklevel=stacklevel)


def check_labels(given: object, key: str = "labels") -> LabelledSet:
    """Return ``given`` if it is a labelled set; ``key`` names the argument in the error.

    Raises:
        ConfigError: It is something else, such as the path of a file.
    """
    if isinstance(given, LabelledSet):
        return given
    raise ConfigError(f"{key}={given!r}: a labelled set is accepted, such as the result of LabelledSet.read(...)")
