"""Fits on more rows than an exact process can take: members learn from a part of the rows, and the report says so."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from autobuild._typing import FloatArray, IntArray
from autobuild.labels import LabelledSet
from autobuild.models.gp_family import ProcessMember
from autobuild.models.members import Inputs, Member, Settings
from autobuild.models.memory import free_bytes
from autobuild.models.warp import Warp
from autobuild.rank import srcc
from autobuild.registry import FAMILIES

EXACT_ROWS = 6_000  # with more, a process takes minutes and gigabytes; time grows with the third power of the rows
PEAK_BYTES = 35  # of a process, for each entry of its covariance: in the fit, its folds and the explanation
MEMORY_SHARE = 0.5  # of the free memory, which a process may take
LEAST_ROWS = 500
MOST_ROWS = {"linear": 50_000, "trees": None}  # of other families; None: all
OTHERS_ROWS = 50_000
JUDGED_ROWS = 10_000  # held out to judge the members, at most a fifth of the rows


def exact_rows() -> int:
    """Largest number of rows for which a process is exact: it depends on the memory that is free."""
    return max(LEAST_ROWS, min(EXACT_ROWS, int((MEMORY_SHARE * free_bytes() / PEAK_BYTES) ** 0.5)))


def judged_parts(labels: LabelledSet, folds: int | None, seed: int) -> list[tuple[IntArray, IntArray]]:
    """The folds asked for, or else one part of rows to learn from and one to judge by."""
    if folds:
        return labels.folds(folds, seed)
    return [labels.split(min(JUDGED_ROWS, len(labels) // 5), seed)]


class ManyRows:
    """The fits of one ensemble on many rows, with their times and progress.

    A member is fitted once and judged on the held-out rows; nothing is fitted again on all rows, as the held-out ones
    are few. If folds were asked for, it is fitted in every fold, and then on all rows.

    Args:
        inputs: All n architectures.
        values: Their labels. Shape ``(n,)``.
        settings: Settings of the members.
        parts: Rows to learn from and rows to judge by.
        exact: Largest number of rows of a process.
        say: Called with ``(phase, pieces done, pieces in all)``.

    Attributes:
        rows: Member -> rows that it learned from, if those are a part of the labels.
        halves: Process -> what it predicts for the judged rows if it learns from half as many.
    """

    def __init__(
        self,
        inputs: Inputs,
        values: FloatArray,
        settings: Settings,
        parts: Sequence[tuple[IntArray, IntArray]],
        exact: int,
        say: Callable[[str, int, int], None] | None,
    ) -> None:
        self.inputs, self.values, self.settings, self.parts, self.exact = inputs, values, settings, parts, exact
        self.say = say or (lambda phase, done, total: None)
        self.warp = Warp(0.0, 1.0)
        self.seconds: dict[str, float] = {}
        self.dropped: dict[str, str] = {}
        self.rows: dict[str, IntArray] = {}
        self.halves: dict[str, FloatArray] = {}
        self.fitted: dict[str, Member] = {}
        self._order = np.random.default_rng(settings.seed).permutation(len(values))

    def process(self, kind: str, warp: Warp | None = None) -> ProcessMember:
        """Fit a process on a part of the rows that are not judged; without a warp it learns one."""
        known = self.parts[0][0] if len(self.parts) == 1 else np.arange(len(self.values))
        self.rows[kind] = self._some(kind, known)
        member = self._fit(kind, self.rows[kind], warp)
        assert isinstance(member, ProcessMember)
        return member

    def cross_validate(
        self, kinds: Sequence[str], folds: object, processes: Mapping[str, ProcessMember]
    ) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        """Held-out latent predictions of every kind, NaN in rows not judged, and standard deviations of processes."""
        self.fitted |= processes
        out = {kind: np.full(len(self.values), np.nan) for kind in kinds if kind != "graph" or kinds == ["graph"]}
        sds = {kind: np.full(len(self.values), np.nan) for kind in processes}
        if "graph" in kinds and "graph" not in out:
            self.dropped["graph"] = f"not tried with more than {self.exact:,} rows"
        for kind, predicted in out.items():
            for train, test in self.parts:
                rows = self._some(kind, train)
                member = self.fitted.get(kind) if len(self.parts) == 1 else None
                if member is None:
                    member = self._fit(kind, rows, self.warp)
                    if len(self.parts) == 1:
                        self.fitted[kind] = member
                        self.rows[kind] = rows
                judged, before = self.inputs.take(test), time.perf_counter()
                if isinstance(member, ProcessMember):
                    predicted[test], sds[kind][test] = member.process.predict(judged.description)
                else:
                    predicted[test] = member.predict(judged)
                self.seconds[kind] += time.perf_counter() - before
                if len(self.parts) == 1 and len(rows) == self.exact < len(train) and kind in processes:
                    self.halves[kind] = np.full(len(self.values), np.nan)
                    self.halves[kind][test] = self._fit(kind, self._some(kind, train, 0.5), self.warp).predict(judged)
        return out, sds

    def final(self, kind: str) -> Member:
        """The member that was judged; if folds were asked for, one that is fitted on all rows."""
        if kind not in self.fitted:
            self.rows[kind] = self._some(kind, np.arange(len(self.values)))
            self.fitted[kind] = self._fit(kind, self.rows[kind], self.warp)
        return self.fitted[kind]

    def approximations(
        self, predicted: Mapping[str, FloatArray], latent: FloatArray, judged: IntArray
    ) -> list[dict[str, Any]]:
        """What every member learned from, and what more rows may bring.

        Returns:
            For each member with fewer rows than there are: ``member``, ``rows``, ``of``; for a process also its
            ``srcc`` on the judged rows, and ``srcc_of_half`` with half as many rows.
        """
        out = []
        for kind, own in predicted.items():
            rows = len(self.rows.get(kind, self.values))
            if rows >= len(self.values) - len(judged):
                continue
            entry: dict[str, Any] = {"member": kind, "rows": rows, "of": len(self.values)}
            if kind in self.halves:
                entry |= {"srcc": srcc(own, latent), "srcc_of_half": srcc(self.halves[kind][judged], latent)}
            out.append(entry)
        return out

    def _some(self, kind: str, rows: IntArray, share: float = 1.0) -> IntArray:
        """A random part of the rows, as many as a family takes; parts of one fit contain one another."""
        linear = kind in MOST_ROWS or not issubclass(FAMILIES[kind], ProcessMember)
        most = MOST_ROWS.get(kind, OTHERS_ROWS) if linear else self.exact
        if most is None or len(rows) <= most * share:
            return rows
        chosen = np.zeros(len(self.values), dtype=bool)
        chosen[rows] = True
        return np.sort(self._order[chosen[self._order]][: int(most * share)])

    def _fit(self, kind: str, rows: IntArray, warp: Warp | None) -> Member:
        phase = f"fitting {kind} on {len(rows):,} rows"
        settings = replace(self.settings, on_epoch=lambda done, total: self.say(phase, done, total), phase=kind)
        self.say(phase, 0, 1)
        before = time.perf_counter()
        member: Member = FAMILIES[kind].fit(self.inputs.take(rows), self.values[rows], warp, settings)
        self.seconds[kind] = self.seconds.get(kind, 0.0) + time.perf_counter() - before
        return member


def said(approximations: Sequence[Mapping[str, Any]]) -> str:
    """The approximations as text that follows a sentence; empty if there are none."""
    parts = []
    for entry in approximations:
        text = f"{entry['member']} learned from {entry['rows']:,} of {entry['of']:,} rows"
        if "srcc" in entry:
            text += f" (held-out SRCC {entry['srcc']:.4f}, from half of them {entry['srcc_of_half']:.4f})"
        parts.append(text)
    return "".join(f"; {part}" for part in parts)
