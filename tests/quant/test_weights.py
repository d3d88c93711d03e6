"""Quantised weights: errors against brute force, packed bits, and what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autobuild.errors import QuantisationError
from autobuild.quant import Choice, quantise_weight
from autobuild.quant.weights import pack, stored_bits, unpack

CHOICES = [f"{method}{bits}" for method in ("uaq", "uaqt", "kmc", "kma") for bits in (2, 4, 8)]


def weight(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 8), st.lists(st.integers(0, 255), min_size=1, max_size=70))
def test_packing_is_reversible_and_tight(bits, codes):
    given_codes = torch.tensor(codes, dtype=torch.uint8) & (2**bits - 1)
    packed = pack(given_codes, bits)
    assert packed.numel() == -(-len(codes) * bits // 8)
    assert torch.equal(unpack(packed, bits, len(codes)), given_codes)


@pytest.mark.parametrize("choice", CHOICES)
def test_error_and_bits_are_those_of_what_is_stored(choice):
    given_weight = weight(5, 301)
    quantised = quantise_weight(given_weight, choice)
    error = float((quantised.dequantised() - given_weight).double().square().sum())
    assert quantised.error == pytest.approx(error, rel=1e-9)
    assert quantised.stored_bits == 8 * sum(t.nbytes for t in quantised.tensors.values())
    assert quantised.stored_bits == stored_bits((5, 301), Choice.of(choice))
    assert quantised.payload_bits == quantised.choice.bits * 5 * 301
    levels = [len(row.unique()) for row in quantised.dequantised()]
    assert max(levels) <= 2**quantised.choice.bits


@pytest.mark.parametrize("bits", [2, 3])
def test_uniform_is_near_the_best_of_a_fine_grid(bits):
    for seed in range(4):
        row = weight(1, 24, seed=seed) + (seed - 1)
        values, last = row.numpy()[0].astype(float), 2**bits - 1
        scale = np.linspace(0.02, 2.5, 1500)[:, None, None]
        zero = np.arange(last + 1)[:, None]
        codes = np.clip(np.round(values / scale) + zero, 0, last)
        best = ((scale * (codes - zero) - values) ** 2).sum(axis=-1).min()
        assert quantise_weight(row, ("uaq", bits)).error <= 1.06 * best


def test_methods_are_ordered_as_their_freedom():
    given_weight = weight(8, 400) * torch.linspace(0.2, 3, 8)[:, None]
    error = {
        name: quantise_weight(given_weight, f"{name}3", exact=True).error for name in ("uaq", "uaqt", "kmc", "kma")
    }
    assert error["kmc"] < error["uaq"] < error["uaqt"]
    assert error["kmc"] < error["kma"] < error["uaqt"]


def test_more_bits_never_hurt():
    given_weight = weight(6, 3, 5, 5)
    for method in ("uaq", "kma"):
        errors = [quantise_weight(given_weight, (method, bits)).error for bits in range(2, 9)]
        assert errors == sorted(errors, reverse=True)


def test_few_distinct_values_are_kept_exactly():
    given_weight = torch.tensor([[-1.0, 0.0, 0.5, 2.0] * 5] * 3)
    assert quantise_weight(given_weight, "kmc2").error == 0
    assert quantise_weight(torch.zeros(3, 9), "uaq2").error == 0


def test_numbers_that_16_bits_cannot_hold_are_stored_in_32():
    tiny = weight(3, 40) * 1e-9
    quantised = quantise_weight(tiny, "kmc3")
    assert quantised.tensors["codebook"].dtype == torch.float32
    assert quantised.error < 0.1 * float(tiny.double().square().sum())


@pytest.mark.parametrize(
    ("given_weight", "choice", "message"),
    [
        (weight(2, 30), "uaq9", "bits=9 .* 2 to 8"),
        (weight(2, 30), "uaq1", "bits=1"),
        (weight(2, 30), "kmd4", "quantisation method 'kmd'"),
        (weight(2, 16), "kmc4", "stores 16 numbers for each channel"),
        (weight(2, 8), "kma4", "stores 16 numbers for all"),
        (torch.full((2, 30), float("nan")), "uaq4", "60 of 60 weights are NaN"),
        (torch.zeros(30), "uaq4", "shape \\(30,\\)"),
        (torch.zeros(3, 30, dtype=torch.int8), "uaq4", "torch.int8"),
    ],
)
def test_refused(given_weight, choice, message):
    with pytest.raises(QuantisationError, match=message):
        quantise_weight(given_weight, choice)
