from __future__ import annotations

import ast
import math
import time

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autobuild.errors import TargetError
from autobuild.expressions import Names, TargetExpression
from autobuild.expressions.parse import linear_form, split_terms, written

NAMES = ("acc", "lat", "params")

numbers = st.one_of(
    st.integers(0, 50).map(str), st.floats(0, 1e3, allow_nan=False).map(repr), st.sampled_from(["1e-3", ".5", "2."])
)
names = st.sampled_from(NAMES)


@st.composite
def trees(draw: st.DrawFn, operators: str, calls: dict[str, tuple[int, int]], depth: int = 4) -> str:
    """Text of a random expression; in parentheses only sometimes, so that precedence is tested as well."""
    form = draw(st.sampled_from(["leaf", "binary", "binary", "sign", "call"])) if depth else "leaf"
    inner = trees(operators, calls, depth - 1)
    if form == "leaf":
        return draw(st.one_of(numbers, names))
    if form == "sign":
        return draw(st.sampled_from("-+")) + draw(inner)
    if form == "call":
        name = draw(st.sampled_from(sorted(calls)))
        return f"{name}({', '.join(draw(st.lists(inner, min_size=calls[name][0], max_size=calls[name][1])))})"
    text = f"{draw(inner)} {draw(st.sampled_from(operators.split()))} {draw(inner)}"
    return f"({text})" if draw(st.booleans()) else text


def python_min(*args: float) -> float:
    return math.nan if any(math.isnan(a) for a in args) else min(args)


def python_max(*args: float) -> float:
    return math.nan if any(math.isnan(a) for a in args) else max(args)


EXACT = {
    "abs": abs,
    "sqrt": lambda x: math.sqrt(x) if x >= 0 else math.nan,
    "min": python_min,
    "max": python_max,
    "clip": lambda x, low, high: python_min(python_max(x, low), high),
}
columns = st.lists(st.floats(-1e3, 1e3, allow_nan=False), min_size=3, max_size=3)


@settings(max_examples=300, deadline=None)
@given(
    text=trees("+ - * /", {"abs": (1, 1), "sqrt": (1, 1), "min": (2, 4), "max": (2, 3), "clip": (3, 3)}),
    row=columns,
)
def test_correctly_rounded_operations_equal_pythons_own_evaluation_bit_for_bit(text: str, row: list[float]) -> None:
    # Integers become floats first: Python's are exact, a float64 column is not.
    tree = ast.parse(text, mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            node.value = float(node.value)
    try:
        expected = eval(compile(tree, "", "eval"), {"__builtins__": {}}, EXACT | dict(zip(NAMES, row, strict=True)))
    except (ZeroDivisionError, OverflowError):
        assume(False)
    given_values = dict(zip(NAMES, row, strict=True))
    result = TargetExpression.parse(text).evaluate(lambda name: np.array([given_values[name]] * 2))
    np.testing.assert_array_equal(np.broadcast_to(result, 2), expected)


@settings(max_examples=300, deadline=None)
@given(
    text=trees("+ - * / **", {"log": (1, 1), "log10": (1, 1), "exp": (1, 1)}),
    data=st.lists(columns, min_size=1, max_size=4),
)
def test_powers_and_logarithms_equal_evaluation_by_numpy(text: str, data: list[list[float]]) -> None:
    tree = ast.parse(text, mode="eval")

    class Wrap(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.expr:
            return ast.Call(ast.Name("number", ast.Load()), [node], [])

    functions = {"log": np.log, "log10": np.log10, "exp": np.exp, "number": np.float64}
    table = {name: np.array(column) for name, column in zip(NAMES, np.array(data).T, strict=True)}
    with np.errstate(all="ignore"):
        code = compile(ast.fix_missing_locations(Wrap().visit(tree)), "", "eval")
        expected = eval(code, {"__builtins__": {}}, functions | table)
    result = TargetExpression.parse(text).evaluate(table.__getitem__)
    # numpy's vector loops and scalar remainders differ in the last bit, and in (-inf)**0.5, which is finite in neither
    found, wanted = (np.where(np.isfinite(values), values, np.nan) for values in (result, expected))
    np.testing.assert_allclose(np.broadcast_to(found, len(data)), np.broadcast_to(wanted, len(data)), rtol=1e-9)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-acc**2", -4.0),
        ("2**-acc", 0.25),
        ("2**3**2", 512.0),
        ("100*log10(acc*50)", 200.0),
        ("min(acc, 1, 7)", 1.0),
        ("clip(acc, 3, 5)", 3.0),
        ("label.acc + cost.acc", 4.0),
        ("acc - -acc", 4.0),
        ("1_000*acc", 2000.0),
        ("(\n acc\n+ 1)", 3.0),
    ],
)
def test_values(text: str, value: float) -> None:
    assert TargetExpression.parse(text).evaluate(lambda name: np.array([2.0])) == value


def test_names_are_listed_once_in_order_and_each_is_resolved_once() -> None:
    expression = TargetExpression.parse("b + label.a*b - cost.c/log(b)")
    asked: list[str] = []
    expression.evaluate(lambda name: asked.append(name) or np.ones(3))
    assert expression.names == ("b", "label.a", "cost.c") == tuple(asked)


def test_undefined_results_are_silent_and_not_finite() -> None:
    column = np.array([-1.0, 0.0, np.nan])
    with np.errstate(all="raise"):
        assert np.isnan(TargetExpression.parse("log(x)").evaluate(lambda _: column)[[0, 2]]).all()
        assert TargetExpression.parse("1/x").evaluate(lambda _: column)[1] == np.inf
        assert np.isnan(
            TargetExpression.parse("min(x, 3)").evaluate(lambda _: column)[2]
        )  # a missing value stays missing
        assert TargetExpression.parse("2**9999999").evaluate(lambda _: column) == np.inf


REFUSED = {
    "": "empty",
    "  \n": "empty",
    "acc +": "position 5: not an expression",
    "acc acc": "position 5",
    "é + acc.x": "position 5: attribute access .x",
    "(acc": "position 1",
    "acc.real": "only as label.NAME or cost.NAME",
    "label.acc.real": "attribute access .real",
    "foo.acc": "attribute access .acc",
    "label.__class__": "__class__",
    "__import__": "__import__",
    "__import__('os').system('true')": "only the listed functions",
    "().__class__": "attribute access",
    "log2(acc)": "did you mean 'log' or 'log10'",
    "eval(acc)": "unknown function 'eval'",
    "label.log(acc)": "only the listed functions",
    "(log)(acc)(acc)": "only the listed functions",
    "log()": "log() takes 1 argument, 0 given",
    "log(acc, 2)": "log() takes 1 argument, 2 given",
    "min(acc)": "2 or more arguments, 1 given",
    "max()": "2 or more",
    "clip(acc, 1)": "clip(x, low, high)",
    "log(x=acc)": "keyword",
    "log(**acc)": "keyword",
    "min(*acc)": "starred",
    "acc < 3": "a comparison",
    "acc if acc else 2": "if/else",
    "acc and 1": "and/or",
    "not acc": "operator not",
    "~acc": "operator ~",
    "acc ^ 2": "a power is written **",
    "acc // 2": "operator //",
    "acc % 2": "operator %",
    "acc[0]": "indexing",
    "[acc]": "a list",
    "acc, 1": "comma",
    "lambda: 1": "lambda",
    "(a := 3)": "assignment",
    "[x for x in y]": "comprehension",
    "f'{acc}'": "text",
    "'acc'": "not a real number",
    "True": "True is not a real number",
    "None": "not a real number",
    "...": "not a real number",
    "2j*acc": "not a real number",
    "1e999": "too large",
    "9" * 1500: "too large",
    "acc # 0": "'#'",
    "acc; acc": "position 4",
    "acc = 3": "position",
    "a\x00b": "null",
    "a" * 2001: "2,001 characters",
    "-" * 1999 + "a": "nested too deep",
    "(" * 900 + "a" + ")" * 900: "position",
    "abs(" * 390 + "a" + ")" * 390: "position",
    "+".join("a" * 900): "nested too deep",
    "**".join("9" * 600): "nested too deep",
    "await acc": "position",
    "yield": "position",
}


@pytest.mark.parametrize("text", REFUSED, ids=[repr(text[:24]) for text in REFUSED])
def test_what_is_not_in_the_list_is_refused_with_the_reason(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(TargetError) as raised:
        TargetExpression.parse(text)
    assert REFUSED[text] in str(raised.value)
    assert "accepted" in str(raised.value)
    assert repr(text.strip()[:30])[:-1] in str(raised.value)
    assert time.perf_counter() - start < 1


pieces = st.sampled_from([*["acc", "label", "log", "lambda", "if", "1", "'a'", "__"], *".()[]{},=:*/+-<@~"])


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(pieces).map("".join), trees("+ * **", {"log": (1, 2), "f": (0, 1)})))
def test_any_text_is_an_expression_of_listed_forms_or_a_target_error(text: str) -> None:
    try:
        expression = TargetExpression.parse(text)
    except TargetError:
        return
    allowed = ast.Constant | ast.Name | ast.Attribute | ast.UnaryOp | ast.BinOp | ast.Call | ast.Load
    allowed |= ast.USub | ast.UAdd | ast.Add | ast.Sub | ast.Mult | ast.Div | ast.Pow | ast.Expression
    for node in ast.walk(ast.parse(text.strip(), mode="eval")):
        assert isinstance(node, allowed), node
        if isinstance(node, ast.Attribute):
            assert isinstance(node.value, ast.Name)
            assert node.value.id in ("label", "cost")
            assert f"{node.value.id}.{node.attr}" in expression.names
        if isinstance(node, ast.Call):
            assert isinstance(node.func, ast.Name)
            assert node.func.id in {"log", "log10", "exp", "sqrt", "abs", "min", "max", "clip"}
    assert not any(name.endswith("__") and name.rpartition(".")[2].startswith("__") for name in expression.names)


def test_the_deepest_accepted_expression_is_evaluated() -> None:
    assert TargetExpression.parse("+".join("a" * 200)).evaluate(lambda _: np.ones(1)) == 200
    assert TargetExpression.parse("-" * 198 + "a").evaluate(lambda _: np.ones(1)) == 1


def test_not_text_is_refused() -> None:
    with pytest.raises(TargetError, match="an expression is text"):
        TargetExpression.parse(3)  # type: ignore[arg-type]


HARD = [
    "cifar10-test",
    "top 1",
    "top.1",
    "5th",
    "0.5",
    "µs",
    "精度",
    "max",
    "log",
    "lambda",
    "label",
    "label.acc",
    "cost.x",
]
HARD += ["__init__", "a`b", "acc (%)", "a;b", "x'y", 'x"y', "#1", "True", "-", "acc<3", "a and b"]


@pytest.mark.parametrize("name", HARD)
def test_any_column_is_a_target_as_it_stands_and_in_backticks(name: str) -> None:
    columns = {name: np.array([1.0, 2.0]), "acc": np.array([10.0, 20.0])}

    def value(text: str) -> np.ndarray:
        expression = TargetExpression.parse(text, columns)
        again = TargetExpression.parse(expression.text)  # what is stored is read without the columns
        assert again.names == expression.names
        found = {one: Names(columns).find(one, text) for one in expression.names}
        return again.evaluate(lambda one: columns[found[one][1]])

    np.testing.assert_array_equal(value(name), [1, 2])
    np.testing.assert_array_equal(value(f"label.{written(name)}"), [1, 2])
    np.testing.assert_array_equal(value(f"2*{written(name)} + label.acc*log({written(name)})"), 2 * columns[name] +
                                  columns["acc"] * np.log(columns[name]))  # fmt: skip
    quoted = "`" + name.replace("`", "``") + "`"
    np.testing.assert_array_equal(value(f"-{quoted}**2"), [-1, -4])
    learned, exact = split_terms(TargetExpression.parse(f"acc - 3*{quoted}"), lambda one: one != "acc")
    assert learned is not None
    assert exact is not None
    assert learned.text == "acc"
    assert exact.names == TargetExpression.parse(quoted).names
    form, offset = linear_form(TargetExpression.parse(f"2*({quoted} - 4)"))
    assert (form, offset) == ({exact.names[0]: 2.0}, -8.0)


columns_of_text = st.lists(
    st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1, max_size=8)
    .map(str.strip)
    .filter(bool),
    min_size=1,
    max_size=5,
    unique=True,
)


@settings(max_examples=200, deadline=None)
@given(columns=columns_of_text, typed=st.sampled_from(["acc", "a-b", "log", "x.y", "top"]))
def test_what_an_error_suggests_is_accepted(columns: list[str], typed: str) -> None:
    assume(typed not in columns)
    try:
        expression = TargetExpression.parse(typed, columns)
        missing = next(name for name in expression.names if name not in columns)
        with pytest.raises(TargetError) as raised:
            Names(columns).find(missing, typed)
    except (TargetError, StopIteration):
        return
    for column in columns:
        assert written(column) in str(raised.value)
        (name,) = TargetExpression.parse(written(column)).names
        assert Names(columns).find(name, written(column)) == ("label", column)


def test_a_name_that_was_taken_apart_is_suggested_first() -> None:
    with pytest.raises(
        TargetError, match=r"unknown name .* 'cifar10': write `cifar10-test`; did you mean `cifar10-test`"
    ):
        Names(["acc", "cifar10-test"]).find("cifar10", "100*cifar10-test")


@pytest.mark.parametrize(
    ("text", "position"),
    [("`acc", 1), ("2`acc`", 2), ("a + `b`c", 5), ("``", 1), ("`a` `b", 5), ("acc + `top 1`(acc)", 7)],
)
def test_backticks_that_part_nothing_are_refused(text: str, position: int) -> None:
    with pytest.raises(TargetError, match=f"position {position}: "):
        TargetExpression.parse(text)
