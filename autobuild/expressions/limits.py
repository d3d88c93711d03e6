"""Limits on metrics and costs, parsed from text such as ``"latency_gpu <= 8 and params < 6e6"``; never ``eval``-ed."""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autobuild.errors import ConfigError, TargetError, nearest
from autobuild.expressions.parse import MAX_LENGTH, TargetExpression, hide_quoted, split_name
from autobuild.expressions.terms import linear_form, number_of
from autobuild.spaces.additive import Additive, FloatArray, weighted_sum

_ACCEPTED = "accepted: limits such as 'latency <= 8 and 2e6 <= params < 6e6', with < <= > >= joined by 'and'"
_SENSES: dict[type[ast.cmpop], tuple[str, bool]] = {
    ast.Lt: ("<=", True),
    ast.LtE: ("<=", False),
    ast.Gt: (">=", True),
    ast.GtE: (">=", False),
}
_REFUSED: dict[type[ast.AST], str] = {
    ast.Eq: "'==' is not accepted: measured numbers are hardly ever equal; write a range: 7.9 <= latency <= 8.1",
    ast.NotEq: "'!=' is not accepted: nearly every network satisfies it",
    ast.In: "'in' is not accepted: write a range, as in 4 <= latency <= 8",
    ast.NotIn: "'not in' is not accepted",
    ast.Is: "'is' is not accepted",
    ast.IsNot: "'is not' is not accepted",
    ast.Or: "'or' is not accepted: solve for each alternative on its own",
    ast.Not: "'not' is not accepted: turn the comparison round",
}
_FLIPPED = {"<=": ">=", ">=": "<="}


@dataclass(frozen=True)
class Limit:
    """``expression <= bound`` or ``expression >= bound``.

    Attributes:
        expression: What is limited.
        sense: ``"<="`` or ``">="``.
        bound: The bound, finite.
        strict: Whether the bound itself is excluded.
        text: The limit in one canonical form, the bound on the right.
        linear: Name -> coefficient where the expression is ``offset + sum of coefficient * name``; None where it is
            not, so that it cannot be solved for, only verified.
        offset: The number added in the linear form.
    """

    expression: TargetExpression
    sense: str
    bound: float
    strict: bool
    text: str
    linear: Mapping[str, float] | None = field(default=None, compare=False)
    offset: float = field(default=0.0, compare=False)

    def __str__(self) -> str:
        return self.text

    def with_bound(self, bound: float) -> Limit:
        """The same limit with another bound."""
        return replace(self, bound=bound, text=_text(self.expression, self.sense, self.strict, bound))

    def loosened(self, share: float) -> Limit:
        """The limit with a bound that is larger (for ``>=``, smaller) by this share of its size.

        Raises:
            ConfigError: The share is not above 0, or the bound is 0, of which no share can be taken.
        """
        if not share > 0 or not math.isfinite(share):
            raise ConfigError(f"limit {self.text!r}: loosened by {share!r}, accepted: a share above 0, such as 0.05")
        if self.bound == 0:
            raise ConfigError(
                f"limit {self.text!r}: a bound of 0 has no {share:.0%} of its own; give the step as a number"
            )
        step = share * abs(self.bound)
        return self.with_bound(self.bound + step if self.sense == "<=" else self.bound - step)

    def holds(self, values: ArrayLike) -> NDArray[np.bool_]:
        """Which values satisfy the limit; a missing value (NaN) does not. Shapes: ``(n,) -> (n,)``."""
        given = np.asarray(values, dtype=np.float64)
        if self.sense == "<=":
            found = given < self.bound if self.strict else given <= self.bound
        else:
            found = given > self.bound if self.strict else given >= self.bound
        return np.asarray(found)

    def excess(self, value: float) -> float:
        """By how much a value breaks the limit, in its own unit; 0 where it does not."""
        return max(0.0, value - self.bound if self.sense == "<=" else self.bound - value)

    def evaluate(self, resolve: Callable[[str], ArrayLike]) -> FloatArray:
        """Value of the expression for columns by name, see :meth:`TargetExpression.evaluate`."""
        return self.expression.evaluate(resolve)

    def additive(self, metrics: Mapping[str, Additive]) -> Additive:
        """The limited expression as a sum over units.

        Raises:
            ConfigError: It is not linear, or a metric in it has no additive table.
        """
        if self.linear is None:
            raise ConfigError(
                f"limit {self.text!r} is not linear in its metrics: it can be verified, but not solved for "
                "(accepted: sums of numbers times metrics)"
            )
        terms = [(weight, metrics[find_metric(name, metrics, self.text)]) for name, weight in self.linear.items()]
        return weighted_sum(terms, self.offset)


def find_metric(name: str, metrics: Mapping[str, object], limit: str) -> str:
    """Key of a named metric: as written, or with or without ``label.`` or ``cost.`` in front.

    Raises:
        ConfigError: There is none, or a bare name stands for two.
    """
    if name in metrics:
        return name
    base, bare = split_name(name)
    hits = [bare] if base and bare in metrics else [k for k in (f"label.{name}", f"cost.{name}") if k in metrics]
    if len(hits) == 1:
        return hits[0]
    if hits:
        raise ConfigError(f"limit {limit!r}: {name!r} is a label and a cost: write {' or '.join(hits)}")
    raise ConfigError(f"limit {limit!r}: no additive table of {name!r}: {nearest(name, metrics)}")


def parse_where(text: str, columns: Collection[str] = ()) -> tuple[Limit, ...]:
    """Read limits such as ``"4 <= latency_gpu <= 8 and 2*macs + params < 6e8"``, in the order of the text.

    Both sides of a comparison are expressions as in a target; one that is exactly a name in ``columns`` means that.
    Limits on one metric are kept apart, however many.

    Raises:
        TargetError: Not text, empty, too long, or anything but comparisons with ``< <= > >=`` joined by ``and``; a
            comparison without a metric, or with a bound that is no finite number.
    """
    reader = _Reader(text, columns)
    return tuple(limit for comparison in reader.comparisons() for limit in reader.limits(comparison))


def split_limits(limits: Iterable[Limit], metrics: Mapping[str, object]) -> tuple[tuple[Limit, ...], tuple[Limit, ...]]:
    """Those limits that can be solved for (linear, every metric has tables), and those that can only be verified."""
    solved: list[Limit] = []
    rest: list[Limit] = []
    for limit in limits:
        known = limit.linear is not None and all(_known(name, metrics) for name in limit.linear)
        (solved if known else rest).append(limit)
    return tuple(solved), tuple(rest)


def _known(name: str, metrics: Mapping[str, object]) -> bool:
    try:
        find_metric(name, metrics, name)
    except ConfigError:
        return False
    return True


class _Reader:
    """Splits a text into comparisons and hands each side to the parser of target expressions."""

    def __init__(self, text: str, columns: Collection[str]) -> None:
        if not isinstance(text, str):
            raise TargetError(f"where {text!r}: limits are text ({_ACCEPTED})")
        self.text = text.strip()
        if not self.text:
            raise TargetError(f"where {text!r} is empty ({_ACCEPTED})")
        if len(self.text) > MAX_LENGTH:
            raise TargetError(f"where {self.text[:40]!r}...: {len(self.text):,} characters, at most {MAX_LENGTH:,}")
        self.columns = columns
        try:
            self.plain, self.words = hide_quoted(self.text)
        except ValueError:
            self.refuse("a name in backticks stands alone, between two of them, as in `top-1` >= 70")

    def refuse(self, problem: str) -> NoReturn:
        shown = self.text if len(self.text) <= 200 else self.text[:200] + "..."
        raise TargetError(f"where {shown!r}: {problem} ({_ACCEPTED})")

    def comparisons(self) -> list[ast.Compare]:
        """The comparisons that ``and`` joins."""
        if "#" in self.plain:  # the parser would take the rest for a comment
            self.refuse("'#' is not accepted")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(self.plain, mode="eval").body
        except SyntaxError as error:
            self.refuse(
                "one '=' is no comparison: write <= or >=" if _assigns(self.plain) else f"not limits ({error.msg})"
            )
        except (RecursionError, MemoryError, ValueError):
            self.refuse("not limits, or nested too deep")
        found: list[ast.Compare] = []
        waiting = [tree]
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
                waiting += reversed(node.values)
            elif isinstance(node, ast.Compare):
                found.append(node)
            elif isinstance(node, ast.BoolOp | ast.UnaryOp) and type(node.op) in _REFUSED:
                self.refuse(_REFUSED[type(node.op)])
            elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
                self.refuse("'&' and '|' are not accepted: join limits by 'and'")
            else:
                self.refuse(f"{self.segment(node)!r} compares nothing")
        return found

    def limits(self, comparison: ast.Compare) -> list[Limit]:
        """One limit for each operator of a (chained) comparison."""
        for operator in comparison.ops:
            if type(operator) not in _SENSES:
                self.refuse(_REFUSED[type(operator)])
        sides = [self.side(node) for node in (comparison.left, *comparison.comparators)]
        out = []
        for left, operator, right in zip(sides, comparison.ops, sides[1:], strict=False):
            out.append(self.limit(left, *_SENSES[type(operator)], right))
        return out

    def side(self, node: ast.expr) -> TargetExpression:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
            self.refuse("'&' and '|' are not accepted: join limits by 'and'")
        try:
            return TargetExpression.parse(self.segment(node), self.columns)
        except TargetError as error:
            raise TargetError(f"where {self.text!r}: {error}") from None

    def segment(self, node: ast.expr) -> str:
        """The text of a node, as it was written."""
        found = ast.get_source_segment(self.plain, node) or ""
        for word, name in self.words.items():
            found = found.replace(word, name)
        return found

    def limit(self, left: TargetExpression, sense: str, strict: bool, right: TargetExpression) -> Limit:
        if not left.names and not right.names:
            self.refuse(f"'{left} {sense} {right}' names no metric")
        if left.names and right.names:
            expression = TargetExpression.parse(f"({left}) - ({right})")
            bound = 0.0
        elif left.names:
            expression, bound = left, number_of(right)
        else:
            expression, bound, sense = right, number_of(left), _FLIPPED[sense]
        if not math.isfinite(bound):
            self.refuse(f"the bound of '{expression}' is {bound}")
        linear, offset = linear_form(expression)
        text = _text(expression, sense, strict, bound)
        return Limit(expression, sense, bound, strict, text, linear, offset)


def _assigns(text: str) -> bool:
    plain = text
    for operator in ("<=", ">=", "==", "!="):
        plain = plain.replace(operator, "")
    return "=" in plain


def _text(expression: TargetExpression, sense: str, strict: bool, bound: float) -> str:
    return f"{expression} {sense[0] if strict else sense} {bound:.12g}"
