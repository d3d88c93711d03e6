"""What a name in an expression stands for: one set of rules for targets, limits and filters, wherever they are used."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from autobuild.errors import EvaluationError, TargetError, nearest
from autobuild.expressions.limits import Limit, parse_where
from autobuild.expressions.parse import TargetExpression, renamed, split_name, written

Repeats = Callable[[str, str], bool]


@dataclass(frozen=True)
class Names:
    """The names that expressions may have, and what each means.

    ``label.x`` is a label column, or a metric that an evaluator measures; ``cost.x`` is a cost. A bare ``x`` is
    whichever there is. Where ``x`` is a label column and a cost, it is the cost if the column repeats its values;
    if they differ, the name is ambiguous. Where an evaluator measures ``x`` and it is a cost, it is the cost.

    Attributes:
        columns: Label columns.
        costs: Costs. Where there are none because a space has none, ``costs.lacking`` may say why.
        measured: What an evaluator measures; empty without an evaluator, None where it does not say.
        repeats: A label column and a cost -> whether the column holds that cost, written down.
        ignored: Column of the label file that is no metric -> why.
    """

    columns: Collection[str] = ()
    costs: Collection[str] = ()
    measured: Collection[str] | None = ()
    repeats: Repeats = field(default=lambda column, cost: False, repr=False)
    ignored: Mapping[str, str] = field(default_factory=dict)

    @property
    def known(self) -> list[str]:
        """All names without a base; a text that is exactly one of them means it, whatever characters it has."""
        return [*self.columns, *self.costs, *(self.measured or ()), *self.ignored]

    def target(self, text: str | TargetExpression) -> TargetExpression:
        """Read a target, and look all of its names up.

        Raises:
            TargetError: It cannot be read, names no metric, or as :meth:`find`.
            EvaluationError: As :meth:`find`.
        """
        expression = text if isinstance(text, TargetExpression) else TargetExpression.parse(text, self.known)
        if not expression.names:
            raise TargetError(f"target {expression.text!r} names no metric, so it is the same for all networks; {self}")
        for name in expression.names:
            self.find(name, expression.text)
        return expression

    def limits(self, text: str, what: str = "limit") -> tuple[Limit, ...]:
        """Read limits, and look all of their names up. Bare names that another room could take for something else say
        in the result where they come from; ``text`` of a limit stays as it was written.

        Args:
            text: Such as ``"latency_gpu <= 8 and params < 6e6"``.
            what: What messages call it.

        Raises:
            TargetError: It cannot be read, or as :meth:`find`.
            EvaluationError: As :meth:`find`.
        """
        limits = parse_where(text, self.known, "where" if what == "limit" else what)
        for limit in limits:
            for name in limit.expression.names:
                self.find(name, limit.text, what)
        return tuple(limit.renamed(self._explicit(limit.expression)) for limit in limits)

    def metrics(self, *expressions: TargetExpression) -> tuple[str, ...]:
        """What has to be measured for some expressions that were read with these names, each once."""
        found = [self.find(name, one.text) for one in expressions for name in one.names]
        return tuple(dict.fromkeys(bare for kind, bare in found if kind == "label"))

    def explicit(self, expression: TargetExpression) -> TargetExpression:
        """An expression that was read with these names, whose bare names still mean the same where more is measured:
        those that are costs here say so.
        """
        names = self._explicit(expression)
        return renamed(expression, names) if names else expression

    def _explicit(self, expression: TargetExpression) -> dict[str, str]:
        """Bare name of a cost that is, or may be, measured as well -> the same with its base."""
        found = {}
        for name in expression.names:
            kind, bare = self.find(name, expression.text)
            if kind == "cost" and not split_name(name)[0] and (self.measured is None or self._column(bare) is not None):
                found[name] = f"cost.{bare}"
        return found

    def find(self, name: str, text: str, what: str = "target") -> tuple[str, str]:
        """``("label", x)`` of a name that is a label column or measured, ``("cost", x)`` of a cost.

        Args:
            name: As in ``names`` of an expression: ``x``, ``label.x`` or ``cost.x``.
            text: The expression, for messages.
            what: What messages call it.

        Raises:
            TargetError: The name is nothing known (the nearest ones are offered), or a bare name is ambiguous.
            EvaluationError: As much, and an evaluator says that it does not measure it.
        """
        base, bare = split_name(name)
        column = self._column(bare) if base != "cost" else None
        cost = _same(bare, self.costs) if base != "label" else None
        if column is not None and cost is not None:
            if column in self.columns and not self.repeats(column, cost):
                ways = f"write label.{written(bare)} or cost.{written(bare)}"
                raise TargetError(
                    f"{what} {text!r}: {bare!r} is a label column and a cost, and their values differ: {ways}"
                )
            return ("cost", cost)
        if column is not None:
            return ("label", column)
        if cost is not None:
            return ("cost", cost)
        if base != "cost" and self.measured is None:
            return ("label", bare)
        self._refuse(name, text, what)

    def _column(self, name: str) -> str | None:
        found = _same(name, self.columns)
        return found if found is not None else _same(name, self.measured or ())

    def _refuse(self, name: str, text: str, what: str) -> NoReturn:
        base, bare = split_name(name)
        if base != "cost" and bare in self.ignored:
            raise TargetError(f"{what} {text!r}: the column {bare!r} is not a metric: {self.ignored[bare]}")
        metrics = list(dict.fromkeys([*self.columns, *(self.measured or ())]))
        known = [*metrics, *self.costs] if not base else metrics if base == "label" else list(self.costs)
        # Names that only backticks keep together, and that the text has without them: acc-1 is acc less 1.
        split_cost_terms = [column for column in known if written(column) != column and column in text]
        ordered = dict.fromkeys((*split_cost_terms, *known))
        accepted = list(dict.fromkeys(f"{base}.{written(one)}" if base else written(one) for one in ordered))
        why = getattr(self.costs, "lacking", "")
        lacking = f"; there are no costs: {why}" if why and base != "label" else ""
        told = f"write {' or '.join(accepted[: len(split_cost_terms)])}; " if split_cost_terms else ""
        told += f"{nearest(name, accepted)}{lacking}"
        if self.measured and base != "cost":
            raise not_measured(name, text, accepted, what)
        kind = {"label": "label column", "cost": "cost", "": "name (neither a label column nor a cost)"}[base]
        raise TargetError(f"{what} {text!r}: unknown {kind} {name!r}: {told}")

    def __str__(self) -> str:
        return f"label columns: {', '.join(self.columns) or 'none'}; costs: {', '.join(self.costs) or 'none'}"


def not_measured(name: str, text: str, accepted: Collection[str], what: str = "target") -> EvaluationError:
    """The error to raise where an expression names what an evaluator does not measure."""
    told = nearest(name, accepted)
    return EvaluationError(f"{what} {text!r}: {name!r} is neither measured by the evaluator nor a cost: {told}")


def _same(name: str, columns: Collection[str]) -> str | None:
    """Find the column of a name; Python's parser has normalised the name (NFKC), the column may not be."""
    if name in columns:
        return name
    return next((column for column in columns if unicodedata.normalize("NFKC", column) == name), None)
