"""Limits on metrics and costs, parsed from text such as ``"latency_gpu <= 8 and params < 6e6"``; never ``eval``-ed."""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn

import numpy as np
from numpy.typing import ArrayLike

from autobuild._typing import BoolArray, FloatArray
from autobuild.errors import ConfigError, TargetError, nearest
from autobuild.expressions.parse import (
    MAX_LENGTH,
    TargetExpression,
    hide_quoted,
    linear_form,
    number_of,
    renamed,
    split_name,
)
from autobuild.spaces.additive import Additive, weighted_sum

_ACCEPTED = "accepted: limits such as 'latency <= 8 and 2e6 <= params < 6e6', with < <= > >= joined by 'and'"
_SENSES: dict[type[ast.cmpop], tuple[int, bool]] = {
    ast.Lt: (1, True),
    ast.LtE: (1, False),
    ast.Gt: (-1, True),
    ast.GtE: (-1, False),
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


@dataclass(frozen=True)
class Limit:
    """``sign * expression <= sign * bound``: what is limited from below is turned round, and all else is one sense.

    Attributes:
        expression: What is limited.
        sign: 1 where the expression is to be at most the bound, -1 where at least.
        bound: The bound, finite.
        strict: Whether the bound itself is excluded.
        text: The limit in one canonical form, as it was written, the bound on the right.
        linear: Name -> coefficient where the expression is ``offset + sum of coefficient * name``; None where it is
            not, so that it cannot be solved for, only verified.
        offset: The number added in the linear form.
    """

    expression: TargetExpression
    sign: int
    bound: float
    strict: bool
    text: str
    linear: Mapping[str, float] | None = field(default=None, compare=False)
    offset: float = field(default=0.0, compare=False)

    def __str__(self) -> str:
        return self.text

    def with_bound(self, bound: float) -> Limit:
        """The same limit with another bound."""
        return replace(self, bound=bound, text=_text(self.expression, self.sign, self.strict, bound))

    def moved(self, step: float) -> Limit:
        """The limit, looser by ``step``, in its own unit; tighter where that is negative."""
        return self.with_bound(self.bound + self.sign * step)

    def renamed(self, names: Mapping[str, str]) -> Limit:
        """The limit over other names (name -> new name), shown as before."""
        if not names:
            return self
        expression = renamed(self.expression, names)
        return replace(self, expression=expression, linear=linear_form(expression)[0])

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
        return self.moved(share * abs(self.bound))

    def holds(self, values: ArrayLike) -> BoolArray:
        """Which values satisfy the limit; a missing value (NaN) does not. Shapes: ``(n,) -> (n,)``."""
        usage, most = self.sign * np.asarray(values, dtype=np.float64), self.sign * self.bound
        return np.asarray(usage < most if self.strict else usage <= most)

    def excess(self, value: float) -> float:
        """By how much a value breaks the limit, in its own unit; 0 where it does not."""
        return max(0.0, self.sign * (value - self.bound))

    def shares_beyond(self, values: ArrayLike) -> FloatArray:
        """By how much values break the limit, in shares of its bound; 0 or less where they keep it. ``(n,) -> (n,)``.

        An infinite one counts as a thousand million bounds.
        """
        beyond = self.sign * (np.asarray(values, dtype=np.float64) - self.bound)
        if self.strict:
            beyond = np.where(beyond == 0, np.finfo(float).tiny, beyond)
        return np.where(np.isinf(beyond), np.copysign(1e9, beyond), beyond / (abs(self.bound) or 1.0))

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


def parse_where(text: str, columns: Collection[str] = (), what: str = "where") -> tuple[Limit, ...]:
    """Read limits such as ``"4 <= latency_gpu <= 8 and 2*macs + params < 6e8"``, in the order of the text.

    Both sides of a comparison are expressions as in a target; one that is exactly a name in ``columns`` means that.
    Limits on one metric are kept apart, however many. Messages call the text ``what``.

    Raises:
        TargetError: Not text, empty, too long, or anything but comparisons with ``< <= > >=`` joined by ``and``; a
            comparison without a metric, or with a bound that is no finite number.
    """
    reader = _Reader(text, columns, what)
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

    def __init__(self, text: str, columns: Collection[str], what: str) -> None:
        if not isinstance(text, str):
            raise TargetError(f"{what} {text!r}: limits are text ({_ACCEPTED})")
        self.text = text.strip()
        if not self.text:
            raise TargetError(f"{what} {text!r} is empty ({_ACCEPTED})")
        if len(self.text) > MAX_LENGTH:
            raise TargetError(f"{what} {self.text[:40]!r}...: {len(self.text):,} characters, at most {MAX_LENGTH:,}")
        self.columns, self.what = columns, what
        try:
            self.plain, self.words = hide_quoted(self.text)
        except ValueError:
            self.refuse("a name in backticks stands alone, between two of them, as in `top-1` >= 70")

    def refuse(self, problem: str) -> NoReturn:
        shown = self.text if len(self.text) <= 200 else self.text[:200] + "..."
        raise TargetError(f"{self.what} {shown!r}: {problem} ({_ACCEPTED})")

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
            raise TargetError(f"{self.what} {self.text!r}: {error}") from None

    def segment(self, node: ast.expr) -> str:
        """The text of a node, as it was written."""
        found = ast.get_source_segment(self.plain, node) or ""
        for word, name in self.words.items():
            found = found.replace(word, name)
        return found

    def limit(self, left: TargetExpression, sign: int, strict: bool, right: TargetExpression) -> Limit:
        if not left.names and not right.names:
            self.refuse(f"'{left} {_operator(sign, strict)} {right}' names no metric")
        if left.names and right.names:
            expression = TargetExpression.parse(f"({left}) - ({right})")
            bound = 0.0
        elif left.names:
            expression, bound = left, number_of(right)
        else:
            expression, bound, sign = right, number_of(left), -sign
        if not math.isfinite(bound):
            self.refuse(f"the bound of '{expression}' is {bound}")
        linear, offset = linear_form(expression)
        text = _text(expression, sign, strict, bound)
        return Limit(expression, sign, bound, strict, text, linear, offset)


def _assigns(text: str) -> bool:
    plain = text
    for operator in ("<=", ">=", "==", "!="):
        plain = plain.replace(operator, "")
    return "=" in plain


def _text(expression: TargetExpression, sign: int, strict: bool, bound: float) -> str:
    return f"{expression} {_operator(sign, strict)} {bound:.12g}"


def _operator(sign: int, strict: bool) -> str:
    return ("<" if sign > 0 else ">") + ("" if strict else "=")
