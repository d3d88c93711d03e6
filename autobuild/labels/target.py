"""Target expressions: arithmetic over label columns and costs, parsed into a checked tree and never ``eval``-ed."""

from __future__ import annotations

import ast
import unicodedata
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import reduce
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from autobuild.errors import TargetError, nearest

FloatArray = npt.NDArray[np.float64]
Resolver = Callable[[str], npt.ArrayLike]

MAX_LENGTH = 2_000
MAX_DEPTH = 200
BASES = ("label", "cost")

_ACCEPTED = (
    "accepted: names, label.NAME, cost.NAME, numbers, + - * / **, parentheses and log log10 exp sqrt abs min max clip"
)
_TOO_DEEP = f"nested too deep (at most {MAX_DEPTH} levels; every term of a sum is one)"
_OPERATORS: dict[type[ast.AST], Callable[[FloatArray, FloatArray], FloatArray]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
}
# Name -> least and greatest number of arguments (None: no limit) and the function of that many arrays.
# `minimum` and `maximum` pass a missing value on, so that a row with one is dropped rather than half-measured.
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
    """A checked arithmetic expression over named columns; it is *maximised* by everything that uses it.

    Made by :meth:`parse`. ``+ - * / **``, unary signs, numbers, ``log log10 exp sqrt abs`` (``log`` is natural),
    element-wise ``min`` and ``max`` of two or more arguments and ``clip(x, low, high)`` are accepted, nothing else.
    ``**`` binds tighter than the unary minus on its left, as in Python: ``-x**2`` is ``-(x**2)``.
    """

    text: str
    names: tuple[str, ...]
    _tree: ast.expr = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> TargetExpression:
        """Read an expression such as ``"100*acc - 0.5*log(latency_gpu)"``.

        ``names`` of the result are the referenced names in the order of their first appearance, ``"label.acc"`` and
        ``"cost.params"`` for the forms that say where the number comes from.

        Raises:
            TargetError: Not text, empty, over 2,000 characters, nested over 200 deep, or anything outside the accepted
                forms; the message names the expression, the position (from 1) and what is accepted.
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
        checker = _Checker(stripped)
        tree = checker.read()
        return cls(stripped, tuple(checker.names), tree)

    def evaluate(self, resolve: Resolver) -> FloatArray:
        """Compute the expression for all rows at once, in float64.

        Args:
            resolve: Gives the column of a name in ``names``, shape ``(n,)``; called once a name.

        Returns:
            Values of shape ``(n,)``, or ``()`` where the expression has no names. Undefined results (the logarithm of a
            negative number, 0/0) are NaN, overflow and division by zero are infinite; no warning is given.
        """
        columns = {name: np.asarray(resolve(name), dtype=np.float64) for name in self.names}
        with np.errstate(all="ignore"):
            return _evaluate(self._tree, columns)

    def __str__(self) -> str:
        return self.text


def find_name(name: str, labels: Collection[str], costs: Collection[str], expression: str) -> tuple[str, str]:
    """Say where a referenced name comes from: ``("label", column)`` or ``("cost", cost)``.

    A bare name is a label column, else a cost; ``label.x`` and ``cost.x`` say it outright.

    Where there are no costs because a space has none, ``costs.lacking`` may say why, and the message repeats it.

    Raises:
        TargetError: The name is neither (the nearest ones are offered), or a bare name is both.
    """
    base, _, rest = name.rpartition(".")
    found = [(kind, _same(rest, names)) for kind, names in (("label", labels), ("cost", costs)) if base in ("", kind)]
    hits = [(kind, column) for kind, column in found if column is not None]
    if len(hits) == 2:
        raise TargetError(
            f"target {expression!r}: {rest!r} is a label column and a cost: write label.{rest} or cost.{rest}"
        )
    if hits:
        return hits[0]
    accepted = [f"{base}.{known}" for known in (labels if base == "label" else costs)] if base else [*labels, *costs]
    what = {"label": "label column", "cost": "cost", "": "name (neither a label column nor a cost)"}[base]
    why = getattr(costs, "lacking", "")
    lacking = f"; there are no costs: {why}" if why and base != "label" else ""
    raise TargetError(f"target {expression!r}: unknown {what} {name!r}: {nearest(name, accepted)}{lacking}")


def _same(name: str, columns: Collection[str]) -> str | None:
    """Find the column of a name; Python's parser has normalised the name (NFKC), the column may not be."""
    if name in columns:
        return name
    return next((column for column in columns if unicodedata.normalize("NFKC", column) == name), None)


class _Checker:
    """Walks a parsed expression once, refuses whatever is not in the white list, and collects the names."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: dict[str, None] = {}

    def read(self) -> ast.expr:
        """Parse and check the text; nothing in it is ever compiled or run."""
        if "#" in self.text:  # Python would take the rest for a comment and quietly forget it
            self.refuse(self.text.index("#") + 1, "'#' is not accepted")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(self.text, mode="eval").body
        except SyntaxError as error:
            lines = self.text.splitlines(keepends=True)[: max((error.lineno or 1) - 1, 0)]
            # No offset means that the text ended where more was expected.
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
        lines = self.text.split("\n")
        before = sum(len(line) + 1 for line in lines[: node.lineno - 1])
        return before + len(lines[node.lineno - 1].encode()[: node.col_offset].decode(errors="ignore")) + 1

    def check(self, node: ast.expr, depth: int) -> None:
        """Refuse the node or its parts, or return."""
        if depth > MAX_DEPTH:
            self.refuse(node, _TOO_DEEP)
        match node:
            case ast.Constant():
                self.check_number(node)
            case ast.Name():
                self.add_name(node, node.id)
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
        """Take finite real numbers only: True, text, ``...`` and 2j are constants to Python as well."""
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(node, f"{value!r} is not a real number")
        try:
            finite = bool(np.isfinite(float(value)))
        except OverflowError:
            finite = False
        if not finite:
            self.refuse(node, "the number is too large for float64")

    def check_attribute(self, node: ast.Attribute) -> None:
        if not (isinstance(node.value, ast.Name) and node.value.id in BASES):
            self.refuse(node, f"attribute access .{node.attr} is accepted only as label.NAME or cost.NAME")
        self.add_name(node, f"{node.value.id}.{node.attr}")

    def add_name(self, node: ast.expr, name: str) -> None:
        """Note a name; a dunder is never a metric, so it is refused before any lookup."""
        last = name.rpartition(".")[2]
        if last.startswith("__") and last.endswith("__"):
            self.refuse(node, f"name {name!r} is not accepted")
        self.names.setdefault(name)

    def check_call(self, node: ast.Call, depth: int) -> None:
        if not isinstance(node.func, ast.Name):
            self.refuse(node, "only the listed functions can be called")
        name = node.func.id
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
    """Compute a checked node; arrays of shape ``(n,)``, or ``()`` for what holds numbers only."""
    match node:
        case ast.Constant():
            assert isinstance(node.value, int | float)
            return np.asarray(float(node.value))
        case ast.Name():
            return columns[node.id]
        case ast.Attribute(value=ast.Name(id=base)):
            return columns[f"{base}.{node.attr}"]
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
