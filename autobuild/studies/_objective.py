"""Targets and limits of a search: expressions over measured metrics and exact costs."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from autobuild._typing import BoolArray, FloatArray
from autobuild.errors import ConfigError, EvaluationError, LabelError, TargetError
from autobuild.expressions import Limit, Names, TargetExpression
from autobuild.expressions.names import not_measured
from autobuild.expressions.parse import split_targets
from autobuild.labels import executed_names
from autobuild.spaces import Architecture

if TYPE_CHECKING:
    from autobuild.labels import LabelledSet

Cost = Callable[[Sequence[Architecture]], np.ndarray]  # n architectures -> shape (n,)
Metrics = Mapping[str, float]
# Name of a metric, n architectures -> predictions, shape (n,); None if the metric cannot be predicted.
Predict = Callable[[str, Sequence[Architecture]], FloatArray | None]

MAX_TARGETS = 4
MAXIMISED = "every target is maximised: to minimise a metric, put a minus before it, target='-latency_ms'"


@dataclass(frozen=True)
class Objective:
    """Parsed targets and limits.

    Attributes:
        targets: Expressions, each maximised.
        limits: Limits that a network must satisfy.
        costs: Cost name -> function of architectures.
        names: Meaning of names: columns of the prior labels, costs, and metrics that the evaluator measures.
        predict: Predicts a limited metric that an evaluation does not measure.
    """

    targets: tuple[TargetExpression, ...]
    limits: tuple[Limit, ...] = ()
    costs: Mapping[str, Cost] = field(default_factory=dict)
    names: Names = field(default_factory=lambda: Names(measured=None))
    predict: Predict = field(default=lambda name, archs: None)

    @classmethod
    def read(
        cls,
        target: str | Sequence[str],
        where: str | None = None,
        costs: Mapping[str, Cost] | None = None,
        names: Names | None = None,
        predict: Predict = lambda name, archs: None,
    ) -> Objective:
        """Parse targets and limits.

        Raises:
            ConfigError: No target, or more than four.
            TargetError: A text cannot be parsed, or a name is unknown or ambiguous.
        """
        costs = {} if costs is None else costs
        names = Names(costs=costs, measured=None) if names is None else names
        texts = split_targets(target, names.known)
        for text in texts:
            if isinstance(text, str) and re.match(r"\s*(min|max)imi[sz]e\b", text):
                raise TargetError(f"target={text!r}: {MAXIMISED}")
        if not 1 <= len(texts) <= MAX_TARGETS or not all(isinstance(text, str) for text in texts):
            raise ConfigError(f"target={target!r}: one to {MAX_TARGETS} expressions are accepted")
        parsed = tuple(names.target(text) for text in texts)
        if len({expression.text for expression in parsed}) < len(parsed):
            raise ConfigError(f"target={texts}: one of them is there twice")
        limits = names.limits(where) if where is not None else ()
        return cls(parsed, limits, costs, names, predict)

    @property
    def texts(self) -> tuple[str, ...]:
        """The targets as written."""
        return tuple(expression.text for expression in self.targets)

    @property
    def named_costs(self) -> dict[str, Cost]:
        """The costs that targets and limits name."""
        texts = [(target, target.text) for target in self.targets]
        texts += [(limit.expression, limit.text) for limit in self.limits]
        named = [self.names.find(name, text) for expression, text in texts for name in expression.names]
        return {bare: self.costs[bare] for kind, bare in named if kind == "cost"}

    def executed(self, prior: LabelledSet | None) -> bool:
        """Whether a target, or a limit on what is measured, is of what networks execute, not only of their function:
        by its names, or by what twins among prior labels say.
        """
        limited = self.names.metrics(*(limit.expression for limit in self.limits))
        if executed_names((*self.needs, *limited)) or self._costs_of(self.targets):
            return True
        if prior is None:
            return False
        with contextlib.suppress(LabelError, TargetError):  # too few labels, or none of a target
            return any(prior.target(text, self.costs).equality.of == "execution" for text in self.explicit)
        return False

    def _costs_of(self, expressions: Sequence[TargetExpression]) -> list[str]:
        found = [self.names.find(name, one.text) for one in expressions for name in one.names]
        return [bare for kind, bare in found if kind == "cost"]

    @property
    def needs(self) -> tuple[str, ...]:
        """Metrics that every evaluation must return."""
        return self.names.metrics(*self.targets)

    @property
    def explicit(self) -> tuple[str, ...]:
        """The targets with costs written as ``cost.NAME``, because labels may have a column of the same name."""
        return tuple(self.names.explicit(target).text for target in self.targets)

    def check_limits(self, given: Sequence[str] | None) -> None:
        """Check that every limited name is a cost, a label, or one of the metrics that the evaluator returns.

        Args:
            given: Those metrics; None if the evaluator does not declare them, so that nothing can be checked.

        Raises:
            EvaluationError: A limit could never be checked.
        """
        known = replace(self.names, measured=given)
        for limit in self.limits:
            for name in limit.expression.names:
                known.find(name, limit.text, "limit")

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
        """By how much an evaluated network breaks each limit, as a share of its bound; 0 or less if it satisfies it.

        Raises:
            EvaluationError: A limited metric is neither measured nor predicted, or is NaN.
        """
        return {limit.text: self._broken(limit, arch, metrics) for limit in self.limits}

    def _broken(self, limit: Limit, arch: Architecture, metrics: Metrics) -> float:
        value = self._value(limit.expression, limit.text, arch, metrics, predicted=True)
        if math.isnan(value):
            raise EvaluationError(f"limit {limit.text!r} of {arch} cannot be checked: the value is NaN")
        return float(limit.shares_beyond([value])[0])

    def known_excess(self, limit: Limit, labels: LabelledSet) -> FloatArray:
        """:meth:`constraints` of one limit for labelled networks; NaN if a limited metric is missing.

        Shape ``(len(labels),)``.
        """
        columns = {}
        for name in limit.expression.names:
            kind, bare = self.names.find(name, limit.text)
            if kind == "label" and bare not in labels.metrics:
                return np.full(len(labels), np.nan)
            columns[name] = self.costs[bare](labels.archs) if kind == "cost" else labels.frame[bare].to_numpy(float)
        return limit.shares_beyond(limit.evaluate(columns.__getitem__))

    @property
    def exact_limits(self) -> tuple[Limit, ...]:
        """Limits on costs alone, which are checked before an evaluation."""
        return tuple(
            limit
            for limit in self.limits
            if all(self.names.find(name, limit.text)[0] == "cost" for name in limit.expression.names)
        )

    def allows(self, archs: Sequence[Architecture]) -> BoolArray:
        """Which networks satisfy :attr:`exact_limits`. Shape ``(len(archs),)``."""
        allowed = np.ones(len(archs), dtype=bool)
        for limit in self.exact_limits if len(archs) else ():
            columns = {name: self.costs[self.names.find(name, limit.text)[1]](archs) for name in limit.expression.names}
            allowed &= limit.holds(limit.evaluate(columns.__getitem__))
        return allowed

    @property
    def measured_limits(self) -> tuple[Limit, ...]:
        """Limits on at least one measured metric, which are predicted before an evaluation."""
        exact = self.exact_limits
        return tuple(limit for limit in self.limits if limit not in exact)

    def exact_excess(self, arch: Architecture) -> dict[str, float]:
        """:meth:`constraints` of :attr:`exact_limits`."""
        return {limit.text: self._broken(limit, arch, {}) for limit in self.exact_limits}

    def _value(
        self, expression: TargetExpression, text: str, arch: Architecture, metrics: Metrics, *, predicted: bool
    ) -> float:
        return float(expression.evaluate(lambda name: self._column(name, text, arch, metrics, predicted))[0])

    def _column(self, name: str, text: str, arch: Architecture, metrics: Metrics, predicted: bool) -> list[float]:
        kind, bare = self.names.find(name, text)
        if kind == "cost":
            return [float(np.asarray(self.costs[bare]([arch]))[0])]
        if bare in metrics:
            return [float(metrics[bare])]
        values = self.predict(bare, [arch]) if predicted else None
        if values is None:
            raise not_measured(bare, text, [*metrics, *self.costs], "limit" if predicted else "target")
        return [float(values[0])]
