"""Solving under limits, again and again without refitting: the best, the k best, what a limit costs, why none fits."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from autobuild.construct.assemblies import Assembly
from autobuild.construct.bands import Bands
from autobuild.construct.infeasible import Infeasible, why_infeasible
from autobuild.construct.instance import TOLERANCE, IntArray, instance, rows_of
from autobuild.construct.programme import MAX_ROWS, OPTIMAL, Solution, check_time, solve
from autobuild.errors import AutobuildError, ConfigError
from autobuild.expressions.limits import Limit, find_metric
from autobuild.spaces.additive import Additive, FloatArray, same_sizes

if TYPE_CHECKING:
    import pandas as pd

Arch = TypeVar("Arch")


class SearchLimit(AutobuildError, RuntimeError):
    """A search that reached its limit of time or memory before it could go on; ``proven`` says how far it came."""

    def __init__(self, proven: int, message: str) -> None:
        super().__init__(message)
        self.proven = proven


@dataclass(frozen=True, eq=False)
class Assemblies:
    """The k best feasible assemblies, best first.

    Attributes:
        indices: Candidate of every unit, ``(n, units)``; fewer than k rows where fewer are feasible.
        scores: Their scores, correctly rounded, descending, ``(n,)``.
        proven: The first so many are certainly the best ones.
        complete: Whether all are; False where time or memory ended first.
        bound: No feasible assembly that is missing scores more (for a complete list: than its last one).
        seconds: Wall time.
    """

    indices: IntArray
    scores: FloatArray
    proven: int
    complete: bool
    bound: float
    seconds: float

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Assembly]:
        return ((score, tuple(row)) for score, row in zip(self.scores.tolist(), self.indices.tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class Constrained:
    """An additive score and additive metrics over the same units.

    Args:
        score: What is maximised.
        metrics: Name -> tables of whatever may be limited: predicted metrics, exact costs.
        time_limit: Seconds for each solution.
        max_rows: Partial assemblies held at once, which bounds the memory (about 100 bytes each).

    Raises:
        ConfigError: Tables for different units.
    """

    score: Additive
    metrics: Mapping[str, Additive] = field(default_factory=dict)
    time_limit: float = 10.0
    max_rows: int = MAX_ROWS

    def __post_init__(self) -> None:
        check_time(self.time_limit)
        same_sizes({"score": self.score, **self.metrics})

    def best(self, limits: Sequence[Limit] = ()) -> Solution:
        """The best feasible assembly, see :func:`autobuild.construct.programme.solve`."""
        return solve(self.score, limits, self.metrics, self.time_limit, self.max_rows)

    def k_best(self, limits: Sequence[Limit] = (), k: int = 10) -> Assemblies:
        """The k best feasible assemblies in descending order of their exact sums; ties by candidate indices.

        Whole bands of scores are searched, best first, each with bounds for what is unfinished
        (:mod:`autobuild.construct.bands`). Where over 100,000 assemblies tie with the k-th, some of them are taken.

        Raises:
            ConfigError: ``k`` below 1, or as :func:`autobuild.construct.programme.solve`.
        """
        started = time.monotonic()
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ConfigError(f"k={k!r}: a whole number from 1 is accepted")
        rows = rows_of(self.score, limits, self.metrics)
        problem = instance(self.score, rows, only_best=False)
        if problem is None:
            none = np.zeros((0, len(self.score.tables)), dtype=np.int64)
            return Assemblies(none, np.zeros(0), 0, True, -math.inf, time.monotonic() - started)
        found = Bands(problem, k, self.max_rows, started + self.time_limit).run()
        indices, scores = _ranked(self.score, problem.indices(found.places), k)
        bound = problem.bound - problem.scale * found.proven
        proven = len(scores)
        if found.complete:
            bound = float(scores[-1]) if len(scores) == k else -math.inf
        else:
            proven = int((scores >= bound - TOLERANCE * problem.scale).sum())
        return Assemblies(indices, scores, proven, found.complete, bound, time.monotonic() - started)

    def assemblies(self, limits: Sequence[Limit] = (), first: int = 64) -> Iterator[Assembly]:
        """Feasible assemblies, best first, lazily: (score, indices). Four times as many are searched for each time.

        Raises:
            SearchLimit: While iterating, where time or memory ends; ``proven`` assemblies came before.
            ConfigError: As :meth:`k_best`.
        """
        done = 0
        for k in (first * 4**power for power in itertools.count()):
            found = self.k_best(limits, k)
            yield from itertools.islice(found, done, found.proven)
            done = max(done, found.proven)
            if not found.complete:
                raise SearchLimit(
                    done,
                    f"{done:,} assemblies are proven the best ones, then time ({self.time_limit:g} s) or memory "
                    f"({self.max_rows:,} partial assemblies) ended; accepted: a larger time_limit or max_rows",
                )
            if len(found) < k:
                return

    def prices(self, limits: Sequence[Limit], step: float = 0.05) -> pd.DataFrame:
        """What loosening each limit alone would buy: solved again, not guessed.

        Args:
            limits: Limits that some assembly satisfies.
            step: Share of its bound by which each limit is loosened.

        Returns:
            A row for each limit: ``limit, bound, used, slack, relaxed_to, gain, gain_per_unit, local_price, proven``.
            ``used`` is the limited value of the best assembly, ``gain`` what the score gains under ``relaxed_to``,
            ``gain_per_unit`` that per unit of the metric, ``local_price`` the multiplier of the linear relaxation.
            ``proven`` tells whether both solutions are proven best; else the gain is that of the best ones found.

        Raises:
            ConfigError: No assembly satisfies the limits, or a limit with bound 0, of which no share can be taken.
        """
        import pandas as pd

        base = self.best(limits)
        if base.indices is None:
            raise ConfigError(
                f"no network to start from: {base}; accepted: limits that can be met (see why_infeasible)"
            )
        rows = []
        for number, limit in enumerate(limits):
            looser = limit.loosened(step)
            solved = self.best([*limits[:number], looser, *limits[number + 1 :]])
            used = float(limit.additive(self.metrics).totals([base.indices])[0])
            slack = limit.bound - used if limit.sense == "<=" else used - limit.bound
            gain = max(solved.score, base.score) - base.score  # the old assembly satisfies the looser limit, too
            per_unit = gain / abs(looser.bound - limit.bound)
            proven = base.status == solved.status == OPTIMAL
            local = base.prices[limit.text]
            rows.append((limit.text, limit.bound, used, slack, looser.bound, gain, per_unit, local, proven))
        names = ["limit", "bound", "used", "slack", "relaxed_to", "gain", "gain_per_unit", "local_price", "proven"]
        return pd.DataFrame(rows, columns=names)

    def why_infeasible(self, limits: Sequence[Limit]) -> Infeasible | None:
        """See :func:`autobuild.construct.infeasible.why_infeasible`."""
        return why_infeasible(self.score, limits, self.metrics, self.time_limit)


@dataclass(frozen=True)
class Verified(Generic[Arch]):
    """A proposed architecture that satisfies the limits by its own evaluation.

    Attributes:
        score: Its additive score.
        indices: Candidate of every unit.
        arch: The architecture.
        values: Name -> value, for every metric in the limits.
    """

    score: float
    indices: tuple[int, ...]
    arch: Arch
    values: Mapping[str, float]


def verified(
    assemblies: Iterable[Assembly],
    assemble: Callable[[tuple[int, ...]], Arch],
    evaluate: Mapping[str, Callable[[Sequence[Arch]], ArrayLike]],
    limits: Sequence[Limit],
    batch: int = 256,
) -> Iterator[Verified[Arch]]:
    """Those proposals that satisfy the limits by the full predictor or the exact cost, in the order proposed.

    Args:
        assemblies: (score, indices), as :meth:`Constrained.assemblies` gives them.
        assemble: Indices -> architecture (``space.assemble``).
        evaluate: Name in a limit -> function of architectures, values ``(n,)``. A missing value (NaN) satisfies none.
        limits: Limits, linear or not.
        batch: How many architectures are evaluated at once.

    Raises:
        ConfigError: At the call: a name in a limit that ``evaluate`` lacks.
    """
    keys = {name: find_metric(name, evaluate, limit.text) for limit in limits for name in limit.expression.names}
    return _verified(iter(assemblies), assemble, evaluate, limits, batch, keys)


def _verified(
    assemblies: Iterator[Assembly],
    assemble: Callable[[tuple[int, ...]], Arch],
    evaluate: Mapping[str, Callable[[Sequence[Arch]], ArrayLike]],
    limits: Sequence[Limit],
    batch: int,
    keys: Mapping[str, str],
) -> Iterator[Verified[Arch]]:
    while rows := list(itertools.islice(assemblies, batch)):
        archs = [assemble(indices) for _, indices in rows]
        found = {key: np.asarray(evaluate[key](archs), dtype=np.float64) for key in dict.fromkeys(keys.values())}
        columns = {name: found[key] for name, key in keys.items()}
        right = np.ones(len(rows), dtype=bool)
        for limit in limits:
            right &= limit.holds(limit.evaluate(columns.__getitem__))
        for row in np.flatnonzero(right):
            score, indices = rows[row]
            yield Verified(score, indices, archs[row], {name: float(column[row]) for name, column in columns.items()})


def _ranked(score: Additive, indices: IntArray, k: int) -> tuple[IntArray, FloatArray]:
    """The k best rows by exact sums, ties in order of indices."""
    totals = score.totals(indices)
    order = np.lexsort((*indices.T[::-1], -totals))
    indices, totals = indices[order], totals[order]
    same = np.flatnonzero(np.diff(totals) == 0)
    if same.size:  # sums that are rounded to the same number may differ all the same
        exact = {
            int(row): sum((Fraction(float(t[i])) for t, i in zip(score.tables, indices[row], strict=True)), Fraction(0))
            for row in np.unique([same, same + 1])
        }
        places = sorted(range(len(totals)), key=lambda row: (-totals[row], -exact.get(row, Fraction(0)), row))
        indices, totals = indices[places], totals[places]
    return indices[:k], totals[:k]
