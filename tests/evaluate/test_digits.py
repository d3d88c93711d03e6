from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from autobuild.evaluate import DigitTask, digit_pictures

SMALL = DigitTask(n_train=300, n_test=200, clutter=2)


def fingerprint(task):
    train, test = digit_pictures(task)
    return hashlib.sha256(train.images.tobytes() + test.images.tobytes()).hexdigest()


def test_shapes_and_classes():
    train, test = digit_pictures(SMALL)
    assert train.images.shape == (300, 1, 20, 20)
    assert test.images.shape == (200, 1, 20, 20)
    assert train.images.dtype == np.float32
    target = load_digits().target
    for part in (train, test):
        assert np.array_equal(part.classes, target[part.digits])
        assert len(set(part.classes)) == 10
        assert part.fragments.shape == (len(part.classes), 2)


def test_test_pictures_show_held_out_digits_only():
    train, test = digit_pictures()
    seen_in_training = set(train.digits) | set(train.fragments.ravel())
    seen_in_test = set(test.digits) | set(test.fragments.ravel())
    assert not seen_in_training & seen_in_test
    assert len(set(test.digits)) == 597  # every held-out digit is shown
    assert len(set(train.digits)) == 1200


def test_the_default_pictures_are_the_ones_the_labels_were_made_with():
    train, test = digit_pictures()
    assert (len(train.images), len(test.images)) == (4800, 3000)
    # Standardised: the constants in the module belong to these pictures.
    assert abs(train.images.mean()) < 0.05
    assert abs(train.images.std() - 1) < 0.05
    assert train.images.mean() == pytest.approx(0.018918, abs=2e-5)
    assert train.images.std() == pytest.approx(0.980263, abs=2e-5)


def test_the_same_pictures_in_every_process():
    code = (
        "import sys, hashlib; from autobuild.evaluate import DigitTask, digit_pictures;"
        "a, b = digit_pictures(DigitTask(n_train=300, n_test=200, clutter=2));"
        "print(hashlib.sha256(a.images.tobytes() + b.images.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert other == fingerprint(SMALL)


def test_the_seed_and_the_noise_matter():
    assert fingerprint(SMALL) != fingerprint(DigitTask(n_train=300, n_test=200, clutter=2, seed=1))
    assert fingerprint(SMALL) != fingerprint(DigitTask(n_train=300, n_test=200, clutter=2, noise=0.06))


def test_pictures_are_remembered_and_cannot_be_changed():
    train, _ = digit_pictures(SMALL)
    assert digit_pictures(SMALL)[0] is train
    with pytest.raises(ValueError, match="read-only"):
        train.images[0, 0, 0, 0] = 1.0


def test_an_unmoved_digit_is_the_original():
    """With nothing random but the place, ink is conserved, and magnification 2 doubles the side."""
    plain = DigitTask(
        canvas=24, n_train=50, n_test=10, scale=(2.0, 2.0), rotation=0, shear=0, noise=0, clutter=0, seed=3
    )
    train, _ = digit_pictures(plain)
    glyphs = load_digits().images / 16
    images = train.images[:, 0] * 0.21 + 0.23
    brightness = images.min(axis=(1, 2))
    ink = (images - brightness[:, None, None]).sum(axis=(1, 2))
    full = 4 * glyphs[train.digits].sum(axis=(1, 2))
    contrast = ink / full
    assert contrast.min() > 0.48
    assert contrast.max() < 1.02
    assert brightness.min() >= -1e-6
    assert brightness.max() <= 0.3 + 1e-6
