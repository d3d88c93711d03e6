"""What a search maximises, and the limits it keeps: expressions over measured metrics and exact costs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from autobuild.errors import ConfigError, EvaluationError, TargetError, nearest
from autobuild.expressions.limits import Limit, parse_where
from autobuild.expressions.parse import TargetExpression, find_name, split_name
from autobuild.spaces import Architecture

if TYPE_CHECKING:
    from autobuild.labels import LabelledSet

Cost = Callable[[Sequence[Architecture]], np.ndarray]  # n architectures -> shape (n,)
Metrics = Mapping[str, float]
# A metric and n architectures -> its predictions, shape (n,); None where nothing predicts it.
Predict = Callable[[str, Sequence[Architecture]], np.ndarray | None]

MAX_TARGETS = 4
MAXIMISED = "every target is maximised: to minimise a metric, put a minus before it, target='-latency_ms'"


@dataclass(frozen=True)
class Objective:
    """Targets and limits, read once.

    A name means a cost of the space where there is one of that name, unless ``labelled`` has it as a column too (then
    ``label.NAME`` or ``cost.NAME`` says which); every other name is a metric that the evaluator gives.

    Attributes:
        targets: Expressions, each maximised.
        limits: What every network is to satisfy.
        costs: Cost name -> function of architectures.
        labelled: Metric columns of the prior labels.
        predict: Predicts a limited metric that an evaluation does not measure.
    """

    targets: tuple[TargetExpression, ...]
    limits: tuple[Limit, ...] = ()
    costs: Mapping[str, Cost] = field(default_factory=dict)
    labelled: tuple[str, ...] = ()
    predict: Predict = field(default=lambda name, archs: None)

    @classmethod
    def read(
        cls,
        target: str | Sequence[str],
        where: str | None = None,
        costs: Mapping[str, Cost] | None = None,
        labelled: Sequence[str] = (),
        predict: Predict = lambda name, archs: None,
    ) -> Objective:
        """Parse the texts.

        Raises:
            ConfigError: No target, or more than four.
            TargetError: A text that cannot be read, or a name that is a label column and a cost.
        """
        texts = [target] if isinstance(target, str) else list(target) if isinstance(target, Sequence) else []
        for text in texts:
            if isinstance(text, str) and re.match(r"\s*(min|max)imi[sz]e\b", text):
                raise TargetError(f"target={text!r}: {MAXIMISED}")
        if not 1 <= len(texts) <= MAX_TARGETS or not all(isinstance(text, str) for text in texts):
            raise ConfigError(f"target={target!r}: one to {MAX_TARGETS} expressions are accepted")
        known = [*labelled, *(costs or {})]
        parsed = tuple(TargetExpression.parse(text, known) for text in texts)
        for expression in parsed:
            if not expression.names:
                raise TargetError(f"target {expression.text!r} names no metric, so every network is as good")
        if len({expression.text for expression in parsed}) < len(parsed):
            raise ConfigError(f"target={texts}: one of them is there twice")
        limits = parse_where(where, known) if where is not None else ()
        objective = cls(parsed, limits, dict(costs or {}), tuple(labelled), predict)
        for expression in (*parsed, *(limit.expression for limit in limits)):
            for name in expression.names:
                objective.source(name, expression.text)
        return objective

    @property
    def texts(self) -> tuple[str, ...]:
        """The targets as written."""
        return tuple(expression.text for expression in self.targets)

    @property
    def named_costs(self) -> dict[str, Cost]:
        """The costs that targets and limits name."""
        texts = [(target, target.text) for target in self.targets]
        texts += [(limit.expression, limit.text) for limit in self.limits]
        named = [self.source(name, text) for expression, text in texts for name in expression.names]
        return {bare: self.costs[bare] for kind, bare in named if kind == "cost"}

    @property
    def needs(self) -> tuple[str, ...]:
        """Metrics that every evaluation has to give."""
        named = [self.source(name, target.text) for target in self.targets for name in target.names]
        return tuple(dict.fromkeys(name for kind, name in named if kind == "label"))

    def check_limits(self, given: Sequence[str] | None) -> None:
        """Refuse limits over what is no cost, in no label and not among the metrics ``given`` by every evaluation.

        Where ``given`` is None the evaluator does not say, and its evaluations are judged one by one.

        Raises:
            EvaluationError: No evaluation could ever keep such a limit.
        """
        if given is None:
            return
        for limit in self.limits:
            for name in limit.expression.names:
                kind, bare = self.source(name, limit.text)
                if kind == "label" and bare not in (*given, *self.labelled):
                    raise EvaluationError(_unknown("limit", limit.text, bare, (*given, *self.costs)))

    def source(self, name: str, text: str) -> tuple[str, str]:
        """``("cost", name)`` or ``("label", name)``.

        Raises:
            TargetError: It is both, or ``cost.NAME`` names no cost.
        """
        base, bare = split_name(name)
        if base == "cost" or (not base and bare in self.costs):
            return find_name(name, [column for column in self.labelled if column == bare], self.costs, text)
        return ("label", bare)

    def values(self, arch: Architecture, metrics: Metrics) -> list[float]:
        """The targets of an evaluated network.

        Raises:
            EvaluationError: A metric is missing, or a target is not finite.
        """
        values = []
        for target in self.targets:
            value = self._value(target, target.text, arch, metrics, predicted=False)
            if not math.isfinite(value):
                raise EvaluationError(f"target {target.text!r} of {arch} is {value}")
            values.append(value)
        return values

    def constraints(self, arch: Architecture, metrics: Metrics) -> dict[str, float]:
        """By how much each limit is broken, in shares of its bound; 0 or less where it is kept. Keys: the limits.

        Raises:
            EvaluationError: A limited metric is neither measured nor predicted, or is NaN.
        """
        return {limit.text: self._broken(limit, arch, metrics) for limit in self.limits}

    def _broken(self, limit: Limit, arch: Architecture, metrics: Metrics) -> float:
        value = self._value(limit.expression, limit.text, arch, metrics, predicted=True)
        if math.isnan(value):
            raise EvaluationError(f"limit {limit.text!r} of {arch} cannot be checked: the value is NaN")
        return float(excess(limit, np.array([value]))[0])

    def known_excess(self, limit: Limit, labels: LabelledSet) -> np.ndarray:
        """:meth:`constraints` of one limit for labelled networks, NaN where a label lacks what it names.

        Shape ``(len(labels),)``.
        """
        columns = {}
        for name in limit.expression.names:
            kind, bare = self.source(name, limit.text)
            if kind == "label" and bare not in labels.metrics:
                return np.full(len(labels), np.nan)
            columns[name] = self.costs[bare](labels.archs) if kind == "cost" else labels.frame[bare].to_numpy(float)
        return excess(limit, limit.evaluate(columns.__getitem__))

    @property
    def exact_limits(self) -> tuple[Limit, ...]:
        """Limits over costs alone: known before anything is evaluated."""
        return tuple(
            limit
            for limit in self.limits
            if all(self.source(name, limit.text)[0] == "cost" for name in limit.expression.names)
        )

    def allows(self, archs: Sequence[Architecture]) -> np.ndarray:
        """Which networks keep the limits that are known beforehand. Shape ``(len(archs),)``."""
        allowed = np.ones(len(archs), dtype=bool)
        for limit in self.exact_limits if len(archs) else ():
            columns = {name: self.costs[self.source(name, limit.text)[1]](archs) for name in limit.expression.names}
            allowed &= limit.holds(limit.evaluate(columns.__getitem__))
        return allowed

    @property
    def measured_limits(self) -> tuple[Limit, ...]:
        """Limits that name a measured metric: known only where that was measured, and predicted elsewhere."""
        exact = self.exact_limits
        return tuple(limit for limit in self.limits if limit not in exact)

    def exact_excess(self, arch: Architecture) -> dict[str, float]:
        """:meth:`constraints` of the limits over costs alone."""
        return {limit.text: self._broken(limit, arch, {}) for limit in self.exact_limits}

    def _value(
        self, expression: TargetExpression, text: str, arch: Architecture, metrics: Metrics, *, predicted: bool
    ) -> float:
        return float(expression.evaluate(lambda name: self._column(name, text, arch, metrics, predicted))[0])

    def _column(self, name: str, text: str, arch: Architecture, metrics: Metrics, predicted: bool) -> list[float]:
        kind, bare = self.source(name, text)
        if kind == "cost":
            return [float(np.asarray(self.costs[bare]([arch]))[0])]
        if bare in metrics:
            return [float(metrics[bare])]
        values = self.predict(bare, [arch]) if predicted else None
        if values is None:
            known: Collection[str] = [*metrics, *self.costs]
            raise EvaluationError(_unknown("limit" if predicted else "target", text, bare, known))
        return [float(values[0])]


def excess(limit: Limit, values: np.ndarray) -> np.ndarray:
    """By how much values break a limit, in shares of its bound; 0 or less where they keep it. Shapes: (n,) -> (n,)."""
    beyond = values - limit.bound if limit.sense == "<=" else limit.bound - values
    if limit.strict:
        beyond = np.where(beyond == 0, np.finfo(float).tiny, beyond)
    return np.where(np.isinf(beyond), np.copysign(1e9, beyond), beyond / (abs(limit.bound) or 1.0))


def _unknown(what: str, text: str, name: str, known: Collection[str]) -> str:
    return f"{what} {text!r}: {name!r} is neither measured by the evaluation nor a cost: {nearest(name, known)}"
