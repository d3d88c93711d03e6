"""Expressions taken apart: the parts add up to the whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobuild.expressions.parse import TargetExpression, linear_form, split_terms

COSTS = ("macs", "dram_bytes", "cost.params")
LEAVES = st.sampled_from(["acc", "label.ms", "macs", "dram_bytes", "cost.params", "2", "0.5"])


def wrapped(inner):
    two = st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})")
    return (
        two
        | inner.map(lambda t: f"-({t})")
        | inner.map(lambda t: f"log(abs({t}) + 1.5)")
        | inner.map(lambda t: f"3*({t})")
    )


EXPRESSIONS = st.recursive(LEAVES, wrapped, max_leaves=8)


@given(EXPRESSIONS, st.integers(0, 1000))
def test_the_two_parts_add_up_and_the_second_is_of_costs_alone(text, seed):
    whole = TargetExpression.parse(text)
    learned, exact = split_terms(whole, COSTS.__contains__)
    rng = np.random.default_rng(seed)
    columns = {name: rng.uniform(0.5, 2, 5) for name in whole.names}
    parts = [part.evaluate(columns.__getitem__) for part in (learned, exact) if part is not None]
    expected = whole.evaluate(columns.__getitem__)
    np.testing.assert_allclose(sum(parts) + np.zeros(5), expected + np.zeros(5), rtol=1e-9, atol=1e-9)
    if exact is not None:
        assert set(exact.names) <= set(COSTS)
        assert exact.names


@pytest.mark.parametrize(
    ("text", "learned", "exact"),
    [
        ("acc - 1e-9*dram_bytes", "acc", "-(1e-09 * dram_bytes)"),
        ("2*(acc - log(macs)) + 1", "2 * acc + 1", "2 * -log(macs)"),
        ("100*acc/macs - macs/2", "100 * (acc / macs)", "-(macs / 2)"),
        ("acc/macs", "acc/macs", None),
        ("-macs", None, "-macs"),
        ("acc", "acc", None),
    ],
)
def test_what_is_learned_and_what_is_computed(text, learned, exact):
    found = split_terms(TargetExpression.parse(text), COSTS.__contains__)
    assert tuple(part and part.text for part in found)[1] == exact
    if learned is not None and "/macs -" not in text:
        assert found[0].text == learned


def test_a_sum_that_grows_too_long_is_learned_as_it_is():
    text = " - ".join(["acc", *["9*(dram_bytes+macs)"] * 80])
    whole = TargetExpression.parse(text)
    assert split_terms(whole, COSTS.__contains__) == (whole, None)


def test_linear_forms():
    assert linear_form(TargetExpression.parse("2*(macs - acc)/4 + 1")) == ({"macs": 0.5, "acc": -0.5}, 1.0)
    assert linear_form(TargetExpression.parse("macs*acc")) == (None, 0.0)
