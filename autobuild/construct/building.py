"""Building: the best networks by score or by the full predictor, as a sequence of architectures."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, overload

import numpy as np

from autobuild._html import titled
from autobuild._typing import FloatArray
from autobuild._words import counted
from autobuild.construct._best_first import k_best
from autobuild.construct._evaluators import Evaluator, Predict, WithinLimits
from autobuild.construct.limits import Limited, NoNetworkError
from autobuild.construct.local_search import PROPOSALS, propose_and_climb, spread
from autobuild.errors import ConfigError
from autobuild.settings.option import integer
from autobuild.spaces import Architecture, SearchSpace

if TYPE_CHECKING:
    import pandas as pd

MOST_BUILT = 100_000


@dataclass(frozen=True)
class Built:
    """Built architectures, best first; a sequence of :class:`Architecture`.

    Attributes:
        archs: The architectures.
        scores: Sum of the base and their candidates' scores (scorers of the papers: mean of these). Shape
            ``(len(archs),)``.
        predicted: The full predictor's value of each, or NaN. Shape ``(len(archs),)``.
        lower, upper: Bounds of its interval, or NaN. Shapes ``(len(archs),)``.
        values: Limited metrics by name, each of shape ``(len(archs),)``.
        prices: For each limit, how much the best sum of scores gains if it is loosened; None without limits.
        target: The target that they were built for; empty if it is not known.
        where: The limits; empty without.
        best_labelled: The best labelled architecture that satisfies the limits, and its label; None where none does.
    """

    archs: tuple[Architecture, ...]
    scores: FloatArray
    predicted: FloatArray
    lower: FloatArray | None = None
    upper: FloatArray | None = None
    values: Mapping[str, FloatArray] = field(default_factory=dict)
    prices: pd.DataFrame | None = None
    target: str = ""
    where: str = ""
    best_labelled: tuple[str, float] | None = None

    def __repr__(self) -> str:
        best = f", the first {self.archs[0].text}, predicted {self.predicted[0]:.5g}" if self.archs else ""
        return f"Built({counted(len(self), 'architecture')}{best})"

    def __len__(self) -> int:
        return len(self.archs)

    def __iter__(self) -> Iterator[Architecture]:
        return iter(self.archs)

    @overload
    def __getitem__(self, item: int) -> Architecture: ...
    @overload
    def __getitem__(self, item: slice) -> tuple[Architecture, ...]: ...
    def __getitem__(self, item: int | slice) -> Architecture | tuple[Architecture, ...]:
        return self.archs[item]

    def _repr_html_(self) -> str:
        limits = f" under {self.where}" if self.where else ""
        return titled(f"{counted(len(self), 'network')} built for {self.target}{limits}", self.frame, 20)

    @property
    def frame(self) -> pd.DataFrame:
        """``rank, arch, score, predicted``, with ``lower, upper`` and limited metrics where there are any.

        A limited metric has its plain name (``latency_ms``: predicted, ``params``: exact). Where a limited label column
        and a limited cost have the same name, or one that is a column already, it is ``label.NAME`` or ``cost.NAME``.
        """
        import pandas as pd

        columns = {
            "rank": np.arange(1, len(self) + 1),
            "arch": [arch.text for arch in self.archs],
            "score": self.scores,
            "predicted": self.predicted,
        }
        if self.lower is not None and self.upper is not None:
            columns |= {"lower": self.lower, "upper": self.upper}
        plain = [name.partition(".")[2] for name in self.values]
        for name, short in zip(self.values, plain, strict=True):
            taken = plain.count(short) > 1 or short in columns or not name.startswith(("label.", "cost."))
            columns[name if taken else short] = self.values[name]
        return pd.DataFrame(columns)


def build_by_sum(
    space: SearchSpace,
    scores_by_unit: Mapping[str, FloatArray],
    top: int = 10,
    predict: Predict | None = None,
) -> Built:
    """Build the ``top`` best architectures by summed candidate scores; exact, whatever the size of the space.

    Networks that are equal once identity layers are removed are built once.

    Args:
        space: The space.
        scores_by_unit: Unit name -> scores of its candidates by index, shape ``(unit.size,)``.
        top: How many to build; fewer come back where the space holds fewer distinct networks.
        predict: Architectures -> predicted target, for the ``predicted`` column.

    Raises:
        ConfigError: If ``top`` is out of range, or a unit's scores are missing or not numbers.
    """
    top = check_top(top)
    chosen = list(itertools.islice(distinct(space, tables_of(space, scores_by_unit)), top))
    archs = tuple(arch for _, arch in chosen)
    predicted = predict(archs) if predict else np.full(len(archs), np.nan)
    return Built(archs, np.array([score for score, _ in chosen]), predicted)


def build_refined(
    space: SearchSpace,
    scores_by_unit: Mapping[str, FloatArray],
    evaluator: Evaluator,
    top: int = 10,
    *,
    limited: Limited | None = None,
    apart: int = 0,
    proposals: int = PROPOSALS,
) -> list[Architecture]:
    """Build the ``top`` best architectures by ``evaluator``: proposed by summed scores, re-ranked, and climbed from.

    Args:
        space: The space.
        scores_by_unit: Unit name -> additive scores of its candidates.
        evaluator: What is maximised: the full predictor, or a bound of it.
        top: How many to build.
        limited: Limits that every network has to satisfy.
        apart: In at least how many layers any two built networks differ.
        proposals: How many assemblies are proposed, the best by score.

    Raises:
        ConfigError: If ``top`` or ``apart`` is out of range, or scores are missing or not numbers.
        NoNetworkError: If no network satisfies the limits.
    """
    top, apart = check_top(top), integer("apart", apart, 0)
    tables = tables_of(space, scores_by_unit)
    source = limited.proposals() if limited else (arch for _, arch in distinct(space, tables))
    within = WithinLimits(evaluator, limited) if limited else evaluator
    told = space.executed() if limited else space  # of equal networks, one may satisfy a limit and another not
    pool = propose_and_climb(told, source, within, max(proposals, top))
    ranked = unequal(space, (pool.archs[key] for key in pool.ranked()))
    archs = spread(ranked, top, apart) if apart else list(itertools.islice(ranked, top))
    if not archs:
        raise limited.refuse() if limited else NoNetworkError("no network was found that has a value", None, None)
    return archs


def check_top(top: object) -> int:
    """Return a usable number of networks. Raises ConfigError."""
    return integer("build.top", top, most=MOST_BUILT)


def tables_of(space: SearchSpace, scores_by_unit: Mapping[str, FloatArray]) -> list[FloatArray]:
    """Scores in the order of the units, each shape ``(unit.size,)``. Raises ConfigError where some are missing."""
    for unit in space.units:
        if unit.name not in scores_by_unit or len(scores_by_unit[unit.name]) != unit.size:
            raise ConfigError(f"unit {unit.name!r} needs one score for each of its {unit.size:,} candidates")
    return [scores_by_unit[unit.name] for unit in space.units]


def unequal(space: SearchSpace, archs: Iterable[Architecture]) -> Iterator[Architecture]:
    """Architectures in the order given, of equal networks the first."""
    seen: set[str] = set()
    for arch in archs:
        if (key := space.key(arch)) not in seen:
            seen.add(key)
            yield arch


def distinct(space: SearchSpace, scores: list[FloatArray]) -> Iterator[tuple[float, Architecture]]:
    """Architectures in descending order of summed scores, equal networks once."""
    seen: set[str] = set()
    for score, indices in k_best(scores):
        arch = space.assemble(indices)
        if (key := space.key(arch)) not in seen:
            seen.add(key)
            yield score, arch
