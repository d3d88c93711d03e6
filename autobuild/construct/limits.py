"""Networks under limits: proposed exactly on additive tables, then checked by the full predictor or the exact cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from autobuild._typing import BoolArray, FloatArray, IntArray
from autobuild.construct._infeasible import Infeasible
from autobuild.construct._relaxation import Constraint
from autobuild.construct.problem import MAX_WORK, Problem, SearchLimit
from autobuild.errors import AutobuildError
from autobuild.expressions.limits import Limit, find_metric, split_limits
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.additive import Additive, Bounds

if TYPE_CHECKING:
    import pandas as pd

SHARPENED = 4  # times at most that likely sums are fitted to what would be proposed
FEW = 24  # networks computed each time
UNLIKELY = 3  # deviations of a metric from its fitted sum
LOWER, UPPER = "@lower", "@upper"  # behind a metric's name: the sums that enclose it
Fit = Callable[[IntArray, FloatArray], tuple[Additive, float]]


@dataclass(frozen=True, eq=False)
class Metric:
    """A number that may be limited.

    Attributes:
        evaluate: Architectures -> its values, shape ``(n,)``: an exact cost, or a prediction.
        table: Its sum over units, or an approximation by one; None where there is none, so that it can only be checked.
        margin: Standard deviation of the value from the sum; 0 where the sum is exact.
        bounds: Sums over units that enclose the value, where it is not a sum itself.
        fit: How an approximation without bounds is fitted: candidates of known architectures ``(n, units)`` and their
            values ``(n,)`` -> the sum, and its margin.
        known: What it was fitted to.
        slow: Whether a value takes so long that only networks among the best are evaluated.
    """

    evaluate: Callable[[Sequence[Architecture]], FloatArray]
    table: Additive | None
    margin: float = 0.0
    bounds: Bounds | None = None
    fit: Fit | None = None
    known: tuple[IntArray, FloatArray] | None = None
    slow: bool = False

    @property
    def fitting(self) -> Fit | None:
        """How its sum is fitted; None where the sum is not one that was fitted."""
        return self.fit if self.bounds is None else self.bounds.likely

    @property
    def certain(self) -> bool:
        """Whether sums over units equal or enclose it."""
        return self.bounds is not None or (self.fit is None and self.table is not None and self.margin == 0)


class NoNetworkError(AutobuildError):
    """No network satisfies the limits; ``why`` says which limit by how much, ``nearest`` is the nearest network."""

    def __init__(self, message: str, why: Infeasible | None, nearest: Architecture | None) -> None:
        super().__init__(message)
        self.why, self.nearest = why, nearest


class Limited:
    """A space under limits.

    Args:
        space: The space.
        score: What is maximised, as a sum over units.
        limits: The limits.
        metrics: Name -> metric, for every name in the limits.
        time_limit_s: Seconds for each search, at most.
        max_work: Assemblies looked at in each search, at most (:class:`~autobuild.construct.problem.Problem`).

    Raises:
        ConfigError: A name in a limit that ``metrics`` lacks.
    """

    def __init__(
        self,
        space: SearchSpace,
        score: Additive,
        limits: Sequence[Limit],
        metrics: Mapping[str, Metric],
        time_limit_s: float = 60.0,
        max_work: int = MAX_WORK,
    ) -> None:
        self.space, self.limits, self.metrics = space, tuple(limits), dict(metrics)
        self.score, self.time_limit_s, self.max_work = score, time_limit_s, max_work
        self.names = {name: find_metric(name, metrics, lim.text) for lim in limits for name in lim.expression.names}
        self._pose()

    def _pose(self) -> None:
        """The problem on the tables of the metrics as they are."""
        tables = {name: metric.table for name, metric in self.metrics.items() if metric.table is not None}
        for name, metric in self.metrics.items():
            if metric.bounds is not None:
                tables |= {f"{name}{LOWER}": metric.bounds.lower, f"{name}{UPPER}": metric.bounds.upper}
        self.tables = tables
        self.solvable, self.only_verified = split_limits(self.limits, tables)
        self.problem = Problem(self.score, tables, time_limit_s=self.time_limit_s, max_work=self.max_work)

    def proposals(self) -> Iterator[Architecture]:
        """Architectures in descending order of their scores that satisfy the limits up to the metrics' margins.

        Where the sum of a metric is fitted, two such orders are interleaved: networks that certainly satisfy the limits
        (where sums enclose the metric), and networks that probably do. Others that may satisfy them come last.
        """
        if not self._fitted:
            yield from self._assembled([self._widened(limit) for limit in self.solvable])
            return
        self._sharpen()
        likely = self._assembled([self._widened(limit) for limit in self.solvable])
        certain = [self._at(limit, pessimistic=True) for limit in self.solvable]
        for pair in itertools.zip_longest(self._assembled(certain), likely):
            yield from (arch for arch in pair if arch is not None)
        yield from self._assembled([self._widened(self._widened(limit), fitted=True) for limit in self.solvable])

    @property
    def _fitted(self) -> list[str]:
        """Metrics in the limits whose sums are fitted."""
        used = dict.fromkeys(self.names[name] for limit in self.solvable for name in limit.expression.names)
        return [key for key in used if self.metrics[key].fitting is not None]

    def _sharpen(self) -> None:
        """Fit the approximate sums again, with some of the networks that would be proposed.

        A sum that fits networks in general may be wrong for the best ones near a limit; then all proposals break it.
        """
        for _ in range(SHARPENED):
            solution = self.problem.k_best([self._widened(limit) for limit in self.solvable], FEW**2)
            if not len(solution):
                return
            rows = solution.indices[np.unique(np.linspace(0, len(solution) - 1, FEW).astype(np.int64))]
            archs = [self.space.assemble(tuple(row)) for row in rows.tolist()]
            right = [self._refit(key, rows, archs) for key in self._fitted]
            self._pose()
            if all(right):
                return

    def _refit(self, key: str, rows: IntArray, archs: Sequence[Architecture]) -> bool:
        """Fit one approximate sum to the known networks and some more; whether it was right about those already."""
        metric = self.metrics[key]
        assert metric.fitting is not None
        assert metric.table is not None
        values = metric.evaluate(archs)
        off = values - metric.table.totals(rows)
        there = np.isfinite(off)
        indices, known = metric.known or (rows[:0], values[:0])
        indices, known = np.concatenate([indices, rows[there]]), np.concatenate([known, values[there]])
        table, margin = metric.fitting(indices, known)
        if there.any():  # the first proposals under a limit are those that the sum underestimates
            more = float((values[there] - table.totals(rows[there])).mean())
            table = Additive(table.constant + more, table.tables)
        self.metrics[key] = replace(metric, table=table, margin=margin, known=(indices, known))
        return bool(there.any() and abs(off[there].mean()) <= metric.margin / 2)

    def _assembled(self, limits: Sequence[Limit]) -> Iterator[Architecture]:
        try:
            for _, indices in self.problem.assemblies(limits, first=1024):
                yield self.space.assemble(indices)
        except SearchLimit:  # the proven ones have been proposed; climbing goes on from there
            return

    def possible(self) -> list[IntArray]:
        """For each unit the candidates that some network within the limits may have.

        A candidate is dropped where even with the least usages of all other units it breaks a limit: by any amount for
        exact costs, by more than two margins for predicted metrics, by more than three for fitted sums without bounds.
        Limits that are no sums drop nothing.

        Raises:
            NoNetworkError: A unit is left without a candidate.
        """
        kept = [np.arange(unit.size) for unit in self.space.units]
        rules = []
        for limit in self.limits:
            if self._sum(limit):
                wide = self._widened(self._widened(limit, 2.0), fitted=True, bounded=False)
                rules.append(Constraint.of(self._at(wide, pessimistic=False), self.tables))
        while True:
            before = [len(rows) for rows in kept]
            for rule in rules:
                tables = rule.usage.tables
                least = rule.usage.constant + sum(float(t[rows].min()) for t, rows in zip(tables, kept, strict=True))
                slack = 1e-9 * (abs(rule.bound) + abs(least) + 1.0)
                for unit, (table, rows) in enumerate(zip(tables, kept, strict=True)):
                    over = least - float(table[rows].min()) + table[rows] > rule.bound + slack
                    if over.all():
                        raise self.refuse()
                    kept[unit] = rows[~over]
            if [len(rows) for rows in kept] == before:
                return kept

    def _at(self, limit: Limit, *, pessimistic: bool) -> Limit:
        """The limit on the bounds of enclosed metrics: on those that make it hardest, or easiest, to satisfy."""
        if limit.linear is None:
            return limit
        sign = limit.sign if pessimistic else -limit.sign
        renamed = {}
        for name, weight in limit.linear.items():
            key = self.names[name]
            enclosed = self.metrics[key].bounds is not None
            renamed[key + (UPPER if sign * weight >= 0 else LOWER) if enclosed else name] = weight
        return replace(limit, linear=renamed)

    def decide(self, archs: Sequence[Architecture]) -> IntArray:
        """Which architectures satisfy all limits (1), have to be evaluated in full (0), or are excluded (-1).

        Excluded are those that cannot satisfy a limit, and those whose approximate sum breaks it by three deviations.
        """
        out = np.ones(len(archs), dtype=np.int64)
        quick: dict[str, FloatArray] = {}
        indices = None
        for limit in self.limits:
            keys = [self.names[name] for name in limit.expression.names]
            if not any(self.metrics[key].slow for key in keys):
                for key in keys:
                    if key not in quick:
                        quick[key] = np.asarray(self.metrics[key].evaluate(archs), dtype=np.float64)
                verdict = np.where(limit.holds(limit.evaluate(lambda name: quick[self.names[name]])), 1, -1)
            elif limit.linear is None or any(not self.metrics[key].certain and not self.metrics[key].fitting
                                             for key in keys):  # fmt: skip
                verdict = np.zeros(len(archs), dtype=np.int64)
            else:
                indices = np.array([self.space.indices(arch) for arch in archs]) if indices is None else indices
                verdict = self._by_sums(limit, indices, all(self.metrics[key].certain for key in keys))
            out = np.where((out < 0) | (verdict < 0), -1, np.minimum(out, verdict))
        return out

    def _by_sums(self, limit: Limit, indices: IntArray, certain: bool) -> IntArray:
        """The verdicts of :meth:`decide` by sums over units; ``certain``: whether all of them enclose."""
        slack = 1e-9 * abs(limit.bound)  # sums of floats are rounded

        def holds(limit: Limit, slack: float) -> BoolArray:
            constraint = Constraint.of(limit, self.tables)
            return constraint.holds(constraint.usage.totals(indices) + slack)

        possibly = holds(self._widened(limit, fitted=True), -slack)
        surely = np.zeros(len(indices), dtype=bool)
        if certain:
            surely = holds(self._at(limit, pessimistic=True), slack)
            possibly &= holds(self._at(limit, pessimistic=False), -slack)
        return np.where(surely, 1, np.where(possibly, 0, -1))

    def feasible(self, archs: Sequence[Architecture]) -> BoolArray:
        """Which architectures satisfy all limits by the full predictors and exact costs."""
        return self.satisfied(self.values(archs))

    def satisfied(self, values: Mapping[str, FloatArray]) -> BoolArray:
        """Which rows of some values, as :meth:`values` gives them, satisfy all limits. Shape ``(n,)``."""
        out = np.ones(len(next(iter(values.values()))), dtype=bool)
        for limit in self.limits:
            out &= limit.holds(limit.evaluate(lambda name: values[self.names[name]]))
        return out

    def values(self, archs: Sequence[Architecture]) -> dict[str, FloatArray]:
        """Every limited metric of some architectures, by name."""
        used = dict.fromkeys(self.names.values())
        return {name: np.asarray(self.metrics[name].evaluate(archs), dtype=np.float64) for name in used}

    def prices(self) -> pd.DataFrame | None:
        """What loosening each limit by a twentieth would buy on the additive scores; None where nothing can be solved.

        See :meth:`autobuild.construct.problem.Problem.prices`.
        """
        if not self.solvable or self.problem.best(self.solvable).best is None:
            return None
        priced = [limit for limit in self.solvable if limit.bound]
        return self.problem.prices(priced) if priced else None

    def refuse(self) -> NoNetworkError:
        """Why no network was found, as an error to raise."""
        proven = [limit for limit in self.solvable if not self._only_fitted(limit)]
        why = self.problem.why_infeasible([self._at(limit, pessimistic=False) for limit in proven]) if proven else None
        if why is not None:
            nearest = self.space.assemble(why.indices) if why.indices is not None else None
            shown = f"\nthat network is {nearest.text}" if nearest is not None else ""
            return NoNetworkError(why.message + shown, why, nearest)
        limits = self.only_verified or self.limits
        if self.only_verified:
            reason = (
                "only checked on the networks that score best, since it compares no sum; write it as one "
                "(log(x) <= 2 as x <= 7.39), or loosen it"
            )
        elif len(proven) < len(self.solvable):
            reason = f"{self._computed()}; loosen a limit a little"
        else:
            reason = (
                "sums over units allow some, the full predictions of those that were tried do not; loosen a limit a "
                "little"
            )
        text = " and ".join(limit.text for limit in limits)
        return NoNetworkError(f"no network was found that satisfies {text}: {reason}", None, None)

    def _only_fitted(self, limit: Limit) -> bool:
        """Whether a limit names a metric whose sum is fitted and that no sums enclose."""
        return any(self.metrics[self.names[name]].fitting and not self.metrics[self.names[name]].certain
                   for name in limit.expression.names)  # fmt: skip

    def _computed(self) -> str:
        """The computed values of metrics that have a fitted sum without bounds."""
        ranges = []
        for key in self._fitted:
            metric = self.metrics[key]
            if metric.bounds is None and metric.known is not None and len(metric.known[1]):
                values = metric.known[1]
                ranges.append(f"{key} of {len(values)} networks near it is {values.min():,.6g} to {values.max():,.6g}")
        return ", ".join(ranges)

    def _sum(self, limit: Limit) -> bool:
        """Whether a limit is a sum over units, or enclosed by such sums."""
        used = [self.metrics[self.names[name]] for name in limit.expression.names]
        return limit.linear is not None and all(metric.table or metric.bounds for metric in used)

    def _widened(self, limit: Limit, margins: float = 1.0, *, fitted: bool = False, bounded: bool = True) -> Limit:
        """The limit, moved by the margins of predictions; or of fitted metrics, ``bounded`` ones among them or not."""
        margin = 0.0
        for name, weight in (limit.linear or {}).items():
            metric = self.metrics[self.names[name]]
            if (metric.fitting is not None) == fitted and (bounded or metric.bounds is None):
                margin += abs(weight) * metric.margin * margins * (UNLIKELY if fitted else 1)
        return limit.moved(margin) if margin else limit
