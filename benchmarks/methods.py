"""The methods that are compared, by name. Each is given labelled rows, and predicts and builds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import autobuild as ab
from autobuild.spaces import Architecture
from benchmarks.baselines import Fitter, Predictor, boosted_trees, gaussian_process, ridge
from benchmarks.cells import COMPLETE, Problem
from benchmarks.searches import climb

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

STARTS = 2000  # architectures drawn to start climbing from, where a space is too large to be predicted as a whole
CLIMBERS = 10

# The toolkit's own method: options of ``ab.fit`` and ``explain``. Raise the revision when the model changes, so that
# results of the earlier one are not taken for its own.
OURS: dict[str, Any] = {"fit": {"model": "auto"}, "explain": {}, "revision": 3}
# The paper's scorer on the plain graph encoder.
HOPNORM: dict[str, Any] = {"fit": {"model": "graph"}, "explain": {"scorer": "hopnorm"}, "revision": 1}


class Fitted(Protocol):
    """A method that has learned from some rows."""

    def predict(self, archs: Sequence[Architecture]) -> Floats | None:
        """Predicted target, or a score that orders alike; None where the method predicts nothing. Shape ``(n,)``."""
        ...

    def build(self, top: int) -> Sequence[Architecture]:
        """Architectures expected to be the best, best first."""
        ...

    def interval(self, archs: Sequence[Architecture], level: float) -> tuple[Floats, Floats] | None:
        """Lower and upper bounds, or None where the method gives none. Shapes ``(n,)``."""
        ...


@dataclass(frozen=True)
class Method:
    """One column of the table.

    Attributes:
        fit: Problem, rows, seed -> what has learned from these rows.
        options: What the results depend on; a part of the name of a run.
    """

    fit: Callable[[Problem, Rows, int], Fitted]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """See :func:`fingerprint`."""
        return fingerprint(self.options)


def fingerprint(options: Mapping[str, Any]) -> str:
    """Eight hex digits that change with the options."""
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:8]


# --- baselines on columns -------------------------------------------------------------------------------------


@dataclass
class Baseline:
    """A predictor of columns."""

    problem: Problem
    predictor: Predictor
    knowledge: bool
    rows: Rows
    seed: int

    def predict(self, archs: Sequence[Architecture]) -> Floats:
        """See :class:`Fitted`."""
        columns = self.problem.columns
        return self.predictor(columns.knowledge(archs) if self.knowledge else columns.one_hot(archs))

    def build(self, top: int) -> Sequence[Architecture]:
        """The best of a whole small space; in a large one, where climbing from the best of many starts ends."""
        own = self.problem
        if own.data in COMPLETE:
            archs = [own.archs[row] for row in own.networks.values()]
            return [archs[i] for i in np.argsort(-self.predict(archs), kind="stable")[:top]]
        drawn = own.space.sample(STARTS, self.seed, "uniform")
        starts = [drawn[i] for i in np.argsort(-self.predict(drawn), kind="stable")[:CLIMBERS]]
        starts += [own.archs[row] for row in self.rows[np.argsort(-own.values[self.rows])[:CLIMBERS]]]
        return climb(own.space, self.predict, starts)[:top]

    def interval(self, archs: Sequence[Architecture], level: float) -> None:
        """None is given."""


def on_columns(*fitters: Fitter, knowledge: bool) -> Callable[[Problem, Rows, int], Fitted]:
    """A method out of a fitter of columns; of several, their predictions' mean."""

    def fit(problem: Problem, rows: Rows, seed: int) -> Fitted:
        fitted = [_predictor(fitter, problem, knowledge, tuple(rows.tolist()), seed) for fitter in fitters]
        return Baseline(problem, lambda x: np.mean([predict(x) for predict in fitted], axis=0), knowledge, rows, seed)

    return fit


@lru_cache(maxsize=48)  # a cell's splits: what is fitted for a method of its own is there for the mean of two
def _predictor(fitter: Fitter, problem: Problem, knowledge: bool, rows: tuple[int, ...], seed: int) -> Predictor:
    x = problem.knowledge if knowledge else problem.one_hot
    return fitter(x[list(rows)], problem.values[list(rows)], seed)


@dataclass
class Drawn:
    """Networks drawn at random."""

    problem: Problem
    seed: int

    def predict(self, archs: Sequence[Architecture]) -> Floats:
        """See :class:`Fitted`."""
        return np.random.default_rng(self.seed).random(len(archs))

    def build(self, top: int) -> Sequence[Architecture]:
        """See :class:`Fitted`."""
        return self.problem.space.sample(top, self.seed, "uniform")

    def interval(self, archs: Sequence[Architecture], level: float) -> None:
        """None is given."""


@dataclass
class Seen:
    """Builds nothing new: the best networks among the labels."""

    problem: Problem
    rows: Rows

    def predict(self, archs: Sequence[Architecture]) -> None:
        """Nothing is predicted."""

    def build(self, top: int) -> Sequence[Architecture]:
        """See :class:`Fitted`."""
        best = self.rows[np.argsort(-self.problem.values[self.rows], kind="stable")]
        return [self.problem.archs[row] for row in best[:top]]

    def interval(self, archs: Sequence[Architecture], level: float) -> None:
        """None is given."""


# --- the toolkit's methods --------------------------------------------------------------------------------------


@dataclass
class Toolkit:
    """A fitted model of the toolkit, and the scores it explains itself by."""

    model: ab.FittedModel
    scores: ab.Scores
    additive: bool

    def predict(self, archs: Sequence[Architecture]) -> Floats:
        """The model's prediction; of the paper's scorer, the mean of the scores of an architecture's units."""
        if not self.additive:
            return self.model.predict_mean(archs)
        units = list(self.scores.unit_scores.values())
        indices = [self.scores.space.indices(arch) for arch in archs]
        return np.array([np.mean([unit[i] for unit, i in zip(units, own, strict=True)]) for own in indices])

    def build(self, top: int) -> Sequence[Architecture]:
        """See :class:`Fitted`."""
        return list(self.scores.build(top=top))

    def interval(self, archs: Sequence[Architecture], level: float) -> tuple[Floats, Floats] | None:
        """See :class:`Fitted`."""
        if self.additive:
            return None
        frame = self.model.predict(archs, level=level)
        return frame["lower"].to_numpy(float), frame["upper"].to_numpy(float)


def toolkit(options: Mapping[str, Any], *, additive: bool) -> Callable[[Problem, Rows, int], Fitted]:
    """A method of the toolkit with these options; it is given the labels of the rows and no others."""

    def fit(problem: Problem, rows: Rows, seed: int) -> Fitted:
        model = ab.fit(problem.labels.subset(rows), problem.target, seed=seed, **options["fit"])
        return Toolkit(model, model.explain(**options["explain"]), additive)

    return fit


def _baseline(*fitters: Fitter, knowledge: bool) -> Method:
    return Method(on_columns(*fitters, knowledge=knowledge), {"knowledge": knowledge, "revision": 1})


METHODS: dict[str, Method] = {
    "ours": Method(toolkit(OURS, additive=False), OURS),
    "random": Method(lambda problem, rows, seed: Drawn(problem, seed)),
    "best label seen": Method(lambda problem, rows, seed: Seen(problem, rows)),
    "ridge": _baseline(ridge, knowledge=False),
    "XGBoost": _baseline(boosted_trees, knowledge=False),
    "GP": _baseline(gaussian_process, knowledge=False),
    "XGBoost + knowledge": _baseline(boosted_trees, knowledge=True),
    "GP + knowledge": _baseline(gaussian_process, knowledge=True),
    "XGBoost & GP + knowledge": _baseline(boosted_trees, gaussian_process, knowledge=True),
    "hopnorm": Method(toolkit(HOPNORM, additive=True), HOPNORM),
}
