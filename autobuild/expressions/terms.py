"""Decompose target expressions: linear forms, and sums split into exact and other terms."""

from __future__ import annotations

import ast
import copy
import math
from collections.abc import Callable, Iterator, Mapping

from autobuild.errors import TargetError
from autobuild.expressions.parse import TargetExpression, name_of, split_name, written


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
