from __future__ import annotations

import math

import numpy as np
import pytest

from autobuild.errors import ConfigError, TargetError
from autobuild.expressions import parse_where, split_limits
from autobuild.expressions.limits import find_metric
from autobuild.spaces.additive import Additive

METRICS = {
    "latency": Additive(1.0, (np.array([1.0, 2.0]), np.array([0.5, 4.0]))),
    "params": Additive(100.0, (np.array([10.0, 20.0]), np.array([5.0, 40.0]))),
}


def test_every_operator_and_side():
    found = parse_where("latency <= 8 and params < 6e6 and 2 < acc and acc >= -1")
    assert [(str(x.expression), x.sign, x.bound, x.strict) for x in found] == [
        ("latency", 1, 8, False),
        ("params", 1, 6e6, True),
        ("acc", -1, 2, True),
        ("acc", -1, -1, False),
    ]
    assert [x.text for x in found] == ["latency <= 8", "params < 6000000", "acc > 2", "acc >= -1"]


def test_chains_parentheses_and_both_sides():
    low, high = parse_where("(4 <= latency_gpu < 2**3)")
    assert (low.text, high.text) == ("latency_gpu >= 4", "latency_gpu < 8")
    (both,) = parse_where("2*latency_gpu <= 1e-6*cost.params + 9")
    assert (both.linear, both.offset, both.bound) == ({"latency_gpu": 2, "cost.params": -1e-6}, -9, 0)
    first, second, third = parse_where("a < b < c and (d + 1)*2 >= 3")
    assert (first.linear, second.linear) == ({"a": 1, "b": -1}, {"b": 1, "c": -1})
    assert (third.linear, third.offset, third.bound) == ({"d": 2}, 2, 3)


@pytest.mark.parametrize(
    ("text", "linear", "offset"),
    [
        ("2*x + y/4 - -z", {"x": 2, "y": 0.25, "z": 1}, 0),
        ("x*sqrt(4) + log(1)", {"x": 2}, 0),
        ("-(x - 3)/2", {"x": -0.5}, 1.5),
        ("x + x - y", {"x": 2, "y": -1}, 0),
        ("x*y", None, 0),
        ("x/y", None, 0),
        ("log(x)", None, 0),
        ("x**2", None, 0),
        ("max(x, 2)", None, 0),
        ("x - x", None, 0),
        ("x/0", None, 0),
    ],
)
def test_linear_forms(text, linear, offset):
    (limit,) = parse_where(f"{text} <= 5")
    assert limit.linear == linear
    assert limit.offset == offset
    if linear is not None:  # the form equals the expression
        at = {name: np.array([0.7, -2.0, 13.0]) * (1 + number) for number, name in enumerate(linear)}
        assert limit.evaluate(at.__getitem__) == pytest.approx(sum(w * at[n] for n, w in linear.items()) + offset)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("latency == 8", "'==' is not accepted"),
        ("latency != 8", "'!=' is not accepted"),
        ("latency <= 8 or params < 1", "'or' is not accepted"),
        ("not latency <= 8", "'not' is not accepted"),
        ("latency in (1, 2)", "'in' is not accepted"),
        ("latency <= 8 & params < 6", "join limits by 'and'"),
        ("latency", "'latency' compares nothing"),
        ("latency = 8", "write <= or >="),
        ("3 <= 8", "names no metric"),
        ("latency <= 1/0", "bound of 'latency' is inf"),
        ("latency <= log(-1)", "bound of 'latency' is nan"),
        ("latency <=", "not limits"),
        ("  ", "is empty"),
        ("latency <= 8 # and params < 3", "'#' is not accepted"),
        ("__import__('os') <= 3", "unknown function"),
        ("x.y <= 3", "attribute access"),
        ("x" * 3000 + " <= 3", "at most 2,000"),
        ("(" * 500 + "x" + ")" * 500 + " <= 3", "nested"),
        (3, "limits are text"),
    ],
)
def test_what_is_refused_by_name(text, said):
    with pytest.raises(TargetError, match="where") as error:
        parse_where(text)
    assert said in str(error.value)


def test_values_at_the_bound_and_missing_ones():
    closed, opened = parse_where("x <= 2 and x > 2")
    assert closed.holds([1, 2, 3, math.nan]).tolist() == [True, True, False, False]
    assert opened.holds([1, 2, 3, math.nan]).tolist() == [False, False, True, False]
    assert (closed.excess(5), closed.excess(1), opened.excess(0.5)) == (3, 0, 1.5)


def test_loosening_goes_outward():
    low, high, negative, zero = parse_where("x >= 4 and x <= 8 and x >= -4 and x <= 0")
    assert (low.loosened(0.05).bound, high.loosened(0.05).bound) == (pytest.approx(3.8), pytest.approx(8.4))
    assert negative.loosened(0.05).bound == pytest.approx(-4.2)
    assert high.loosened(0.05).text == "x <= 8.4"
    with pytest.raises(ConfigError, match="bound of 0"):
        zero.loosened(0.05)


def test_additive_tables_of_a_limit():
    (limit,) = parse_where("2*latency + 0.1*cost.params - 1 <= 9")
    tables = limit.additive({"latency": METRICS["latency"], "params": METRICS["params"]})
    for indices in ((0, 0), (1, 0), (0, 1), (1, 1)):
        own = {name: item.totals([indices]) for name, item in METRICS.items()}
        expected = 2 * own["latency"] + 0.1 * own["params"] - 1
        assert tables.totals([indices]) == pytest.approx(expected)
    with pytest.raises(ConfigError, match=r"no additive table of 'latencyy': did you mean 'latency'"):
        parse_where("latencyy <= 3")[0].additive(METRICS)
    with pytest.raises(ConfigError, match="not linear"):
        parse_where("log(latency) <= 3")[0].additive(METRICS)
    with pytest.raises(ConfigError, match="is a label and a cost"):
        parse_where("macs <= 3")[0].additive({f"{b}.macs": METRICS["latency"] for b in ("label", "cost")})


def test_names_in_backticks_and_exact_names():
    first, second = parse_where("`cifar10-test` >= 90 and 4 <= 2*label.`top 1`")
    assert first.linear == {"cifar10-test": 1.0}
    assert second.linear == {"label.top 1": 2.0}
    assert [limit.text for limit in (first, second)] == ["`cifar10-test` >= 90", "2*label.`top 1` >= 4"]
    assert parse_where(f"{first} and {second}") == (first, second)
    assert parse_where("cifar10-test >= 90", ["cifar10-test"]) == (first,)
    assert parse_where("`a<b and c` <= 3")[0].linear == {"a<b and c": 1.0}
    assert find_metric("top.1", {"label.top.1": 0}, "") == "label.top.1"
    assert find_metric("cost.top.1", {"top.1": 0}, "") == "top.1"
    for text in ("`a <= 3", "2`a` <= 3"):
        with pytest.raises(TargetError, match="a name in backticks stands alone"):
            parse_where(text)


def test_what_can_only_be_verified_is_set_apart():
    limits = parse_where("latency <= 3 and log(latency) <= 1 and energy < 3")
    solved, rest = split_limits(limits, METRICS)
    assert [x.text for x in solved] == ["latency <= 3"]
    assert [x.text for x in rest] == ["log(latency) <= 1", "energy < 3"]
