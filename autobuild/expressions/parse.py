"""Target expressions: arithmetic over label columns and costs, parsed into a checked tree and never ``eval``-ed.

:func:`linear_form` and :func:`split_terms` take such a tree apart.
"""

from __future__ import annotations

import ast
import copy
import keyword
import math
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from autobuild._typing import FloatArray
from autobuild.errors import TargetError, nearest

Resolver = Callable[[str], npt.ArrayLike]

MAX_LENGTH = 2_000
MAX_DEPTH = 200
BASES = ("label", "cost")
_NO_NUMBERS = ("nan", "inf", "infinity")

_ACCEPTED = (
    "accepted: names, label.NAME, cost.NAME (a NAME that is not an identifier in backticks: `top-1`), numbers, "
    "+ - * / **, parentheses and log log10 exp sqrt abs min max clip"
)
_QUOTED = re.compile("`((?:[^`]|``)+)`")
_TOO_DEEP = f"nested too deep (at most {MAX_DEPTH} levels; every term of a sum is one)"
_OPERATORS: dict[type[ast.AST], Callable[[FloatArray, FloatArray], FloatArray]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
}
# Name -> least and greatest number of arguments (None: no limit) and the function of that many arrays.
# `np.minimum` and `np.maximum` propagate NaN, so that a row with a missing value is dropped.
_FUNCTIONS: dict[str, tuple[int, int | None, Callable[..., FloatArray]]] = {
    "log": (1, 1, np.log),
    "log10": (1, 1, np.log10),
    "exp": (1, 1, np.exp),
    "sqrt": (1, 1, np.sqrt),
    "abs": (1, 1, np.abs),
    "min": (2, None, lambda *args: reduce(np.minimum, args)),
    "max": (2, None, lambda *args: reduce(np.maximum, args)),
    "clip": (3, 3, lambda x, low, high: np.minimum(np.maximum(x, low), high)),
}
_FORMS: dict[type[ast.AST], str] = {
    ast.Compare: "a comparison",
    ast.BoolOp: "and/or",
    ast.IfExp: "if/else",
    ast.Lambda: "lambda",
    ast.Subscript: "indexing with [ ]",
    ast.List: "a list",
    ast.Tuple: "a comma outside a call",
    ast.Dict: "a dictionary",
    ast.Set: "a set",
    ast.JoinedStr: "text",
    ast.NamedExpr: "an assignment",
    ast.Starred: "a starred argument",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
}
_WRONG_OPERATORS: dict[type[ast.AST], str] = {
    ast.BitXor: "^ (a power is written **)",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.MatMult: "@",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.Not: "not",
    ast.Invert: "~",
}


@dataclass(frozen=True)
class TargetExpression:
    """A checked arithmetic expression over named columns. Everything that uses a target *maximises* it.

    Made by :meth:`parse`. Accepted are ``+ - * / **``, unary signs, numbers, ``log`` (natural), ``log10 exp sqrt abs``,
    element-wise ``min`` and ``max`` of two or more arguments, and ``clip(x, low, high)``; nothing else. As in Python,
    ``**`` binds tighter than a unary minus on its left: ``-x**2`` is ``-(x**2)``. A name that is not an identifier must
    be written in backticks, as in pandas: ``100*`cifar10-test` - label.`top 1```. A backtick in a name is doubled.
    """

    text: str
    names: tuple[str, ...]
    _tree: ast.expr = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, columns: Collection[str] = ()) -> TargetExpression:
        """Read an expression such as ``"100*acc - 0.5*log(latency_gpu)"``.

        Args:
            text: The expression. A text that is exactly one of ``columns``, with or without ``label.`` or ``cost.``
                before it, means that column, whatever characters it contains.
            columns: Names of columns and costs that such a text may be.

        Returns:
            The expression. Its ``names`` are the names that occur, in the order of their first appearance, such as
            ``"acc"``, ``"label.acc"`` or ``"cost.params"``.

        Raises:
            TargetError: The text is empty, longer than 2,000 characters, nested more than 200 deep, or not of the
                accepted forms. The message names the expression, the position (from 1) and what is accepted.
        """
        if not isinstance(text, str):
            raise TargetError(f"target {text!r}: an expression is text such as 'acc - 0.01*latency' ({_ACCEPTED})")
        stripped = text.strip()
        if not stripped:
            raise TargetError(f"target {text!r} is empty: give a label column or an expression ({_ACCEPTED})")
        if len(stripped) > MAX_LENGTH:
            raise TargetError(
                f"target {stripped[:40]!r}...: {len(stripped):,} characters, at most {MAX_LENGTH:,} are accepted"
            )
        base, bare = split_name(stripped)
        if stripped in columns:
            stripped = written(stripped)
        elif base and bare in columns:
            stripped = f"{base}.{written(bare)}"
        checker = _Checker(stripped)
        tree = checker.read()
        return cls(stripped, tuple(checker.names), tree)

    def evaluate(self, resolve: Resolver) -> FloatArray:
        """Compute the expression for all rows at once, in float64.

        Args:
            resolve: Function from a name in ``names`` to its column, shape ``(n,)``; called once per name.

        Returns:
            Values of shape ``(n,)``, or ``()`` if the expression has no names. Undefined results (the logarithm of a
            negative number, 0/0) are NaN; overflow and division by zero give infinity. No warning is issued.
        """
        columns = {name: np.asarray(resolve(name), dtype=np.float64) for name in self.names}
        with np.errstate(all="ignore"):
            return _evaluate(self._tree, columns)

    def __str__(self) -> str:
        return self.text

    @property
    def tree(self) -> ast.expr:
        """The checked syntax tree. Names keep their backticks, so that ``ast.unparse`` gives a valid expression."""
        return self._tree


def split_targets(given: str | Sequence[str], columns: Collection[str] = ()) -> list[str]:
    """Several targets as a list: one text whose targets ``;`` parts, or a list already; empty for anything else.

    A ``;`` in backticks parts nothing, nor does one in a name of ``columns`` that stands as it is.
    """
    if not isinstance(given, str):
        return list(given) if isinstance(given, Sequence) else []
    try:
        plain = hide_quoted(given)[0]
    except ValueError:  # the parser says what is wrong
        plain = given
    ends = [place for place, letter in enumerate(plain) if letter == ";"] + [len(given)]
    found: list[str] = []
    start = 0
    while ends:
        # The longest name, else all up to the next semicolon.
        whole = (end for end in reversed(ends) if split_name(given[start:end].strip())[1] in columns)
        end = next(whole, ends[0])
        found.append(given[start:end].strip())
        ends = [later for later in ends if later > end]
        start = end + 1
    return [text for text in found if text] or [given]


def split_name(name: str) -> tuple[str, str]:
    """Split ``"label.acc"`` into ``("label", "acc")``; a name without a base (``"top.1"``) into ``("", name)``."""
    base, dot, rest = name.partition(".")
    return (base, rest) if dot and base in BASES else ("", name)


def written(column: str) -> str:
    """A column name as it must be written in an expression: in backticks unless it is an identifier."""
    dunder = column.startswith("__") and column.endswith("__")
    plain = column.isidentifier() and not keyword.iskeyword(column) and not dunder and column.lower() not in _NO_NUMBERS
    return column if plain else "`" + column.replace("`", "``") + "`"


def name_of(node: ast.Name | ast.Attribute) -> str:
    """The entry of ``names`` for a name or attribute node of :attr:`TargetExpression.tree`."""
    if isinstance(node, ast.Attribute):
        assert isinstance(node.value, ast.Name)
        return f"{node.value.id}.{_unquoted(node.attr)}"
    name = _unquoted(node.id)
    return f"label.{name}" if split_name(name)[0] else name  # a column whose own name is label.x


def _unquoted(text: str) -> str:
    return text[1:-1].replace("``", "`") if text.startswith("`") else text


def hide_quoted(text: str) -> tuple[str, dict[str, str]]:
    """Replace every name in backticks by an identifier of the same length, so that Python's parser accepts the text.

    Returns:
        The new text, and a mapping identifier -> name in backticks.

    Raises:
        ValueError: A backtick is not closed, or touches another name; ``args[0]`` is the position (from 0).
    """
    # An identifier that begins with a letter which the text does not contain cannot clash with a name in it.
    letter = next(chr(code) for code in range(0x4E00, 0x9FA0) if chr(code) not in text)
    words: dict[str, str] = {}
    parts: list[str] = []
    end = 0
    for place, found in enumerate(_QUOTED.finditer(text)):
        before, after = text[: found.start()][-1:], text[found.end() :][:1]
        if before.isidentifier() or after.isidentifier() or before.isdigit() or after.isdigit():
            raise ValueError(found.start())
        digits = chr(0x61 + place // 676 % 26) + chr(0x61 + place // 26 % 26) + chr(0x61 + place % 26)
        word = (letter + (digits[1:] if found.end() - found.start() == 3 else digits)).ljust(len(found[0]), "_")
        words[word] = found[0]
        parts += [text[end : found.start()], word]
        end = found.end()
    plain = "".join([*parts, text[end:]])
    if "`" in plain:
        raise ValueError(plain.index("`"))
    return plain, words


class _Checker:
    """Walks a parsed expression once, refuses everything that is not explicitly accepted, and collects the names."""

    def __init__(self, text: str) -> None:
        self.text = self.plain = text
        self.words: dict[str, str] = {}
        self.names: dict[str, None] = {}

    def read(self) -> ast.expr:
        """Parse and check the text; nothing in it is compiled or executed."""
        try:
            self.plain, self.words = hide_quoted(self.text)
        except ValueError as error:
            self.refuse(
                error.args[0] + 1,
                "a name in backticks stands alone, not next to another name, as in 2*`top-1`",
            )
        if "#" in self.plain:  # Python would ignore the rest as a comment
            self.refuse(self.plain.index("#") + 1, "'#' is not accepted")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(self.plain, mode="eval").body
        except SyntaxError as error:
            lines = self.plain.splitlines(keepends=True)[: max((error.lineno or 1) - 1, 0)]
            # Without an offset, the text ended where more was expected.
            position = min(sum(map(len, lines)) + error.offset, len(self.text)) if error.offset else len(self.text)
            self.refuse(position, f"not an expression ({error.msg})")
        except (RecursionError, MemoryError):
            self.refuse(1, _TOO_DEEP)
        except ValueError as error:  # null characters, numbers of thousands of digits
            self.refuse(1, f"not an expression ({error})")
        self.check(tree, 1)
        return tree

    def refuse(self, where: ast.expr | int, problem: str) -> NoReturn:
        """Raise the error for a problem at a node or a position (from 1)."""
        position = where if isinstance(where, int) else self.position(where)
        shown = self.text if len(self.text) <= 200 else self.text[:200] + "..."
        raise TargetError(f"target {shown!r}, position {position}: {problem}; {_ACCEPTED}")

    def position(self, node: ast.expr) -> int:
        """Count characters from 1; the parser counts UTF-8 bytes within a line."""
        lines = self.plain.split("\n")
        before = sum(len(line) + 1 for line in lines[: node.lineno - 1])
        return before + len(lines[node.lineno - 1].encode()[: node.col_offset].decode(errors="ignore")) + 1

    def check(self, node: ast.expr, depth: int) -> None:
        """Raise TargetError if the node or one of its parts is not accepted."""
        if depth > MAX_DEPTH:
            self.refuse(node, _TOO_DEEP)
        match node:
            case ast.Constant():
                self.check_number(node)
            case ast.Name():
                node.id = self.words.get(node.id, node.id)
                self.add_name(node, name_of(node))
            case ast.Attribute():
                self.check_attribute(node)
            case ast.UnaryOp():
                if not isinstance(node.op, ast.USub | ast.UAdd):
                    self.refuse(node, f"operator {_WRONG_OPERATORS.get(type(node.op), '?')} is not accepted")
                self.check(node.operand, depth + 1)
            case ast.BinOp():
                if type(node.op) not in _OPERATORS:
                    self.refuse(node, f"operator {_WRONG_OPERATORS.get(type(node.op), '?')} is not accepted")
                self.check(node.left, depth + 1)
                self.check(node.right, depth + 1)
            case ast.Call():
                self.check_call(node, depth)
            case _:
                self.refuse(node, f"{_FORMS.get(type(node), 'this form')} is not accepted")

    def check_number(self, node: ast.Constant) -> None:
        """Accept finite real numbers only; True, text, ``...`` and 2j are constants in Python as well."""
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            hint = "; write a name without quotes, or in backticks" if isinstance(value, str) else ""
            self.refuse(node, f"{value!r} is not a real number{hint}")
        try:
            finite = bool(np.isfinite(float(value)))
        except OverflowError:
            finite = False
        if not finite:
            self.refuse(node, "the number is too large for float64")

    def check_attribute(self, node: ast.Attribute) -> None:
        if not (isinstance(node.value, ast.Name) and node.value.id in BASES):
            self.refuse(node, f"attribute access .{node.attr} is accepted only as label.NAME or cost.NAME")
        node.attr = self.words.get(node.attr, node.attr)
        self.add_name(node, name_of(node))

    def add_name(self, node: ast.Name | ast.Attribute, name: str) -> None:
        """Record a name. A name such as ``__class__`` without backticks is refused before any lookup."""
        last = node.id if isinstance(node, ast.Name) else node.attr
        if last.startswith("__") and last.endswith("__"):
            self.refuse(node, f"name {name!r} is not accepted")
        if last.lower() in _NO_NUMBERS:
            self.refuse(node, f"{last} is no finite number; a column of this name is written `{last}`")
        self.names.setdefault(name)

    def check_call(self, node: ast.Call, depth: int) -> None:
        if not isinstance(node.func, ast.Name):
            self.refuse(node, "only the listed functions can be called")
        name = self.words.get(node.func.id, node.func.id)
        if name not in _FUNCTIONS:
            self.refuse(node, f"unknown function {name!r}: {nearest(name, _FUNCTIONS)}")
        if node.keywords:
            self.refuse(node, f"{name}() takes no keyword arguments")
        if any(isinstance(argument, ast.Starred) for argument in node.args):
            self.refuse(node, f"{name}() takes no starred arguments")
        least, most, _ = _FUNCTIONS[name]
        if len(node.args) < least or (most is not None and len(node.args) > most):
            count = f"{least} or more" if most is None else str(least)
            plural = "" if count == "1" else "s"
            usage = " (low and high: clip(x, low, high))" if name == "clip" else ""
            self.refuse(node, f"{name}() takes {count} argument{plural}, {len(node.args)} given{usage}")
        for argument in node.args:
            self.check(argument, depth + 1)


def _evaluate(node: ast.expr, columns: dict[str, FloatArray]) -> FloatArray:
    """Compute a checked node: an array of shape ``(n,)``, or ``()`` if it contains no names."""
    match node:
        case ast.Constant():
            assert isinstance(node.value, int | float)
            return np.asarray(float(node.value))
        case ast.Name() | ast.Attribute():
            return columns[name_of(node)]
        case ast.UnaryOp():
            value = _evaluate(node.operand, columns)
            return np.asarray(-value if isinstance(node.op, ast.USub) else value)
        case ast.BinOp():
            operator = _OPERATORS[type(node.op)]
            return np.asarray(operator(_evaluate(node.left, columns), _evaluate(node.right, columns)))
        case ast.Call(func=ast.Name(id=name)):
            function = _FUNCTIONS[name][2]
            return np.asarray(function(*(_evaluate(argument, columns) for argument in node.args)))
    raise AssertionError(f"unchecked node {type(node).__name__}")  # the checker refuses every other form


def split_terms(
    expression: TargetExpression, exact: Callable[[str], bool]
) -> tuple[TargetExpression | None, TargetExpression | None]:
    """Split a sum into two expressions, which add up to it except for rounding.

    >>> split_terms(TargetExpression.parse("2*(acc - log(macs)) + 1"), {"macs"}.__contains__)
    (TargetExpression(text='2*acc + 1', ...), TargetExpression(text='2*-log(macs)', ...))

    Numeric factors are multiplied into sums. A term is exact if it has names and all of them are exact; terms without
    names, and terms that mix both kinds, such as ``acc/macs``, are other terms.

    Args:
        expression: The expression.
        exact: Function that says whether a name, as in ``expression.names``, is exact.

    Returns:
        The sum of the other terms and the sum of the exact terms; None for a sum without terms.
    """
    parts: tuple[list[str], list[str]] = ([], [])
    for text, names in _terms(expression.tree, lambda text: text):
        parts[bool(names) and all(map(exact, names))].append(text)
    if not parts[1]:
        return expression, None
    try:
        mixed, alone = (TargetExpression.parse(" + ".join(part)) if part else None for part in parts)
    except TargetError:  # the split expression is too long or nested too deep
        return expression, None
    return mixed, alone


def _terms(node: ast.expr, within: Callable[[str], str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the terms of a checked expression, each as text, with its names."""
    match node:
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            yield from _terms(left, within)
            yield from _terms(right, within)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            yield from _terms(left, within)
            yield from _terms(right, lambda text: within(f"-({text})"))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield from _terms(operand, lambda text: within(f"-({text})"))
        case ast.BinOp(left=left, op=ast.Mult(), right=right) if not _names(left):
            yield from _terms(right, lambda text: within(f"({ast.unparse(left)})*({text})"))
        case ast.BinOp(left=left, op=ast.Mult() | ast.Div() as op, right=right) if not _names(right):
            sign = "*" if isinstance(op, ast.Mult) else "/"
            yield from _terms(left, lambda text: within(f"({text}){sign}({ast.unparse(right)})"))
        case _:
            text = within(ast.unparse(node))
            yield ast.unparse(TargetExpression.parse(text).tree), _names(node)


def _names(node: ast.expr) -> list[str]:
    return list(TargetExpression.parse(ast.unparse(node)).names)


def renamed(expression: TargetExpression, names: Mapping[str, str]) -> TargetExpression:
    """The expression with other names: name, as in ``expression.names`` -> new name."""
    tree = _Renaming(names).visit(copy.deepcopy(expression.tree))
    found = tuple(dict.fromkeys(names.get(name, name) for name in expression.names))
    return TargetExpression(ast.unparse(tree), found, tree)


class _Renaming(ast.NodeTransformer):
    """Puts other names into a checked tree."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def visit_Call(self, node: ast.Call) -> ast.Call:
        node.args = [self.visit(argument) for argument in node.args]  # a function may be called as a column is
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._other(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return self._other(node)

    def _other(self, node: ast.Name | ast.Attribute) -> ast.expr:
        if name_of(node) not in self.names:
            return node
        base, bare = split_name(self.names[name_of(node)])
        word = written(bare)
        return ast.Attribute(ast.Name(base), word) if base else ast.Name(word)


def number_of(expression: TargetExpression) -> float:
    """Value of an expression without names; NaN if it has names."""
    return float(expression.evaluate(lambda name: math.nan))


def linear_form(expression: TargetExpression) -> tuple[dict[str, float] | None, float]:
    """Coefficients by name, and the constant; ``(None, 0.0)`` if the expression is not linear or not finite."""
    form = _form(expression.tree)
    if form is None or not all(map(math.isfinite, form.values())):
        return None, 0.0
    offset = form.pop("", 0.0)
    return (form, offset) if any(form.values()) else (None, 0.0)


def _form(node: ast.expr) -> dict[str, float] | None:
    """Linear form of a checked expression: name -> coefficient, with the constant under the empty name."""
    match node:
        case ast.Name() | ast.Attribute():
            return {name_of(node): 1.0}
        case ast.UnaryOp():
            form = _form(node.operand)
            return _times(form, -1.0 if isinstance(node.op, ast.USub) else 1.0)
        case ast.BinOp(op=ast.Add() | ast.Sub()):
            left, right = _form(node.left), _form(node.right)
            right = _times(right, -1.0 if isinstance(node.op, ast.Sub) else 1.0)
            if left is None or right is None:
                return None
            return {name: left.get(name, 0.0) + right.get(name, 0.0) for name in (*left, *right)}
        case ast.BinOp(op=ast.Mult() | ast.Div()):
            left, right = _form(node.left), _form(node.right)
            if isinstance(node.op, ast.Mult) and _constant(left) is not None:
                return _times(right, _constant(left) or 0.0)
            factor = _constant(right)
            if factor is None or (factor == 0 and isinstance(node.op, ast.Div)):
                return None
            # do not multiply by 1/factor: that would round differently
            if isinstance(node.op, ast.Div):
                return None if left is None else {name: value / factor for name, value in left.items()}
            return _times(left, factor)
    value = _number_of(node)
    return None if value is None else {"": value}


def _times(form: dict[str, float] | None, factor: float) -> dict[str, float] | None:
    return None if form is None else {name: factor * value for name, value in form.items()}


def _constant(form: dict[str, float] | None) -> float | None:
    return form[""] if form is not None and set(form) == {""} else None


def _number_of(node: ast.expr) -> float | None:
    """Value of a part without names (a number, a power, a call), or None."""
    if any(isinstance(part, ast.Name) and not _called(part, node) for part in ast.walk(node)):
        return None
    return number_of(TargetExpression.parse(ast.unparse(node)))


def _called(name: ast.Name, within: ast.expr) -> bool:
    return any(isinstance(part, ast.Call) and part.func is name for part in ast.walk(within))
