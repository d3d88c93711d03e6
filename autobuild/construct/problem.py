"""An additive score under limits on additive metrics: the best, the k best, what limits cost, why nothing fits."""

from __future__ import annotations

import itertools
import math
import numbers
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from autobuild._typing import FloatArray, IntArray
from autobuild.construct import _integer_program
from autobuild.construct._best_first import Assembly
from autobuild.construct._branch_and_bound import BranchAndBound
from autobuild.construct._infeasible import Infeasible, explain_infeasible
from autobuild.construct._relaxation import TOLERANCE, Relaxation, constraints_of, relax
from autobuild.errors import AutobuildError, ConfigError
from autobuild.expressions.limits import Limit
from autobuild.spaces.additive import Additive, same_sizes

if TYPE_CHECKING:
    import pandas as pd

OPTIMAL, TIME_LIMIT, INFEASIBLE = "optimal", "time limit", "infeasible"
MAX_WORK = 40_000_000  # some ten seconds of one core
SEARCH_SHARE = 0.3  # of the time; what is left goes to the integer program where the search did not end


class SearchLimit(AutobuildError, RuntimeError):
    """A search that reached its limit of time or work before it could go on; ``proven`` says how far it came."""

    def __init__(self, proven: int, message: str) -> None:
        super().__init__(message)
        self.proven = proven


@dataclass(frozen=True, eq=False)
class Solution:
    """The best feasible assemblies found, best first, and what is proven of them.

    Attributes:
        indices: Candidate of every unit, ``(n, units)``; fewer than asked for where fewer are feasible.
        scores: Their scores, correctly rounded, descending, ``(n,)``.
        proven: The first so many are certainly the best ones.
        complete: Whether all are; False where time or work ended first.
        bound: No feasible assembly that is missing scores more; minus infinity where none is missing.
        seconds: Wall time.
        dropped: Candidates left out because another of their unit is as good in score and in every limit.
        prices: Text of each limit -> its multiplier in the linear relaxation: what the score would gain, about, per
            unit by which the bound is loosened. Empty where the relaxation is infeasible.
    """

    indices: IntArray
    scores: FloatArray
    proven: int
    complete: bool
    bound: float
    seconds: float
    dropped: int = 0
    prices: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Assembly]:
        return ((score, tuple(row)) for score, row in zip(self.scores.tolist(), self.indices.tolist(), strict=True))

    @property
    def status(self) -> str:
        """``"optimal"`` (proven), ``"infeasible"`` (proven: no assembly satisfies the limits) or ``"time limit"``."""
        return TIME_LIMIT if not self.complete else OPTIMAL if len(self) else INFEASIBLE

    @property
    def best(self) -> tuple[int, ...] | None:
        """Candidate of every unit of the best assembly; None where none was found."""
        return tuple(self.indices[0].tolist()) if len(self) else None

    @property
    def score(self) -> float:
        """Score of the best assembly; NaN where none was found."""
        return float(self.scores[0]) if len(self) else math.nan

    @property
    def gap(self) -> float:
        """By how much a better assembly may exceed the best one found: 0 where that is proven best."""
        return (0.0 if self.proven else max(self.bound - self.score, 0.0)) if len(self) else math.inf

    def __str__(self) -> str:
        if self.status == OPTIMAL:
            return f"score {self.score:.6g}, proven best in {self.seconds:.2f} s"
        if self.status == INFEASIBLE:
            return f"no network satisfies the limits (proven in {self.seconds:.2f} s)"
        if not len(self):
            return f"no network found in {self.seconds:.1f} s; none scores more than {self.bound:.6g}"
        return (
            f"score {self.score:.6g} after {self.seconds:.1f} s, not proven best: none scores more than "
            f"{self.bound:.6g} (gap {self.gap:.3g})"
        )


@dataclass(frozen=True, eq=False)
class Problem:
    """An additive score and additive metrics over the same units.

    Args:
        score: What is maximised.
        metrics: Name -> tables of whatever may be limited: predicted metrics, exact costs.
        time_limit_s: Seconds for each solution.
        max_work: Assemblies, partial ones included, that are looked at for each solution, at most. As it ends a search
            on every machine at the same place, results depend on the machine only where ``time_limit_s`` comes first.

    Raises:
        ConfigError: Tables for different units, or a time limit that is not above 0.
    """

    score: Additive
    metrics: Mapping[str, Additive] = field(default_factory=dict)
    time_limit_s: float = 10.0
    max_work: int = MAX_WORK

    def __post_init__(self) -> None:
        if not isinstance(self.time_limit_s, numbers.Real) or not self.time_limit_s > 0:
            raise ConfigError(f"time_limit_s={self.time_limit_s!r}: seconds above 0 are accepted")
        same_sizes({"score": self.score, **self.metrics})

    def best(self, limits: Sequence[Limit] = ()) -> Solution:
        """The best feasible assembly; of equally good ones any, the same one every time.

        Dominated candidates are dropped, then branch and bound searches. Where that does not end in its share of the
        time, HiGHS gets the rest, and the better assembly and bound are returned. Whatever comes back satisfies every
        limit in correctly rounded sums.

        Args:
            limits: Limits, all linear.

        Raises:
            ConfigError: A limit that is not linear, a metric without tables, or tables for other units.
        """
        return self._solve(limits, 1, only_best=True)

    def k_best(self, limits: Sequence[Limit] = (), k: int = 10) -> Solution:
        """The k best feasible assemblies in descending order of their exact sums; ties by candidate indices.

        Where over 100,000 assemblies tie with the k-th, some of them are taken.

        Raises:
            ConfigError: ``k`` below 1, or as :meth:`best`.
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ConfigError(f"k={k!r}: a whole number from 1 is accepted")
        return self._solve(limits, k, only_best=False)

    def _solve(self, limits: Sequence[Limit], k: int, only_best: bool) -> Solution:
        started = time.monotonic()
        problem = relax(self.score, constraints_of(self.score, limits, self.metrics), only_best)
        if problem is None:
            none = np.zeros((0, len(self.score.tables)), dtype=np.int64)
            return Solution(none, np.zeros(0), 0, True, -math.inf, time.monotonic() - started)
        share = SEARCH_SHARE if only_best else 1.0
        search = BranchAndBound(problem, k, self.max_work, started + share * self.time_limit_s)
        indices, complete = problem.indices(search.places), search.complete
        bound = problem.bound - problem.scale * search.proven
        if only_best and not complete:
            indices, bound, complete = self._by_integer_program(problem, search, bound, started + self.time_limit_s)
        indices, scores = _ranked(self.score, indices, k)
        proven = len(scores)
        if complete:
            bound = float(scores[-1]) if proven == k else -math.inf
        else:
            proven = int((scores >= bound - TOLERANCE * problem.scale).sum())
        prices = {limit.text: 0.0 for limit in limits} | problem.unit_prices()
        return Solution(indices, scores, proven, complete, bound, time.monotonic() - started, problem.dropped, prices)

    def _by_integer_program(
        self, problem: Relaxation, search: BranchAndBound, bound: float, deadline: float
    ) -> tuple[IntArray, float, bool]:
        """HiGHS on the candidates whose loss alone does not rule them out: assemblies, bound, proven best."""
        best, seconds = problem.indices(search.places), deadline - time.monotonic()
        if seconds < 0.05:
            return best, bound, False
        most = float(search.gaps[0]) + TOLERANCE if search.gaps.size else math.inf
        core = [np.flatnonzero(loss <= most) for loss in problem.losses]
        usages = [usage[:, places] for usage, places in zip(problem.usages, core, strict=True)]
        # a gap is the sum of these costs and prices . room
        costs = [loss[c] - problem.prices @ u for loss, u, c in zip(problem.losses, usages, core, strict=True)]
        choice = _integer_program.choose(costs, usages, problem.room, seconds)
        if choice.status == _integer_program.INFEASIBLE:  # nothing better than the assembly known, if there is one
            return best, bound, True
        offset = float(problem.prices @ problem.room)
        bound = min(bound, problem.bound - problem.scale * (choice.bound + offset))
        if choice.places is None:
            return best, bound, False
        indices = problem.indices(np.array([[c[place] for c, place in zip(core, choice.places, strict=True)]]))
        feasible = bool(problem.feasible(indices)[0])
        proven = choice.status == _integer_program.OPTIMAL and feasible
        return np.concatenate([indices, best]) if feasible else best, bound, proven

    def assemblies(self, limits: Sequence[Limit] = (), first: int = 64) -> Iterator[Assembly]:
        """Feasible assemblies, best first, lazily: (score, indices). Four times as many are searched for each time.

        Raises:
            SearchLimit: While iterating, where time or work ends; ``proven`` assemblies came before.
            ConfigError: As :meth:`k_best`.
        """
        done = 0
        for k in (first * 4**power for power in itertools.count()):
            solution = self.k_best(limits, k)
            yield from itertools.islice(solution, done, solution.proven)
            done = max(done, solution.proven)
            if not solution.complete:
                raise SearchLimit(
                    done,
                    f"{done:,} assemblies are proven the best ones, then time ({self.time_limit_s:g} s) or work "
                    f"({self.max_work:,} assemblies looked at) ended; accepted: a larger time_limit_s or max_work",
                )
            if len(solution) < k:
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
        if base.best is None:
            raise ConfigError(
                f"no network to start from: {base}; accepted: limits that can be met (see why_infeasible)"
            )
        rows = []
        for number, limit in enumerate(limits):
            looser = limit.loosened(step)
            solved = self.best([*limits[:number], looser, *limits[number + 1 :]])
            used = float(limit.additive(self.metrics).totals([base.best])[0])
            slack = limit.sign * (limit.bound - used)
            gain = max(solved.score, base.score) - base.score  # the old assembly satisfies the looser limit, too
            per_unit = gain / abs(looser.bound - limit.bound)
            proven = base.status == solved.status == OPTIMAL
            local = base.prices[limit.text]
            rows.append((limit.text, limit.bound, used, slack, looser.bound, gain, per_unit, local, proven))
        names = ["limit", "bound", "used", "slack", "relaxed_to", "gain", "gain_per_unit", "local_price", "proven"]
        return pd.DataFrame(rows, columns=names)

    def why_infeasible(self, limits: Sequence[Limit]) -> Infeasible | None:
        """Explain limits that no assembly satisfies: which one, by how much, and the nearest assembly.

        Returns:
            The explanation; None where some assembly satisfies the limits.

        Raises:
            ConfigError: As :meth:`best`.
        """
        constraints = constraints_of(self.score, limits, self.metrics)
        if self.best(limits).best is not None:
            return None
        return explain_infeasible(self.score, constraints, lambda relaxed: self.best(relaxed).best, self.time_limit_s)


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
