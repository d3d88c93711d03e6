"""The Gaussian process: against textbook formulas, its gradients, its warp and its calibration on planted truths."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import autobuild as ab
from autobuild.models import Describer
from autobuild.models.kernel import PART_OF, PARTS, PER_UNIT, PRIORS, Products, Scaling, covariance
from autobuild.models.process import JITTER, _Problem, fit_process
from autobuild.models.warp import Warp

SPACE = ab.space("mnasnet")


def planted(n, seed, noise=0.0):
    """A sum over blocks and a saturating term of the whole: no family of the model is this exactly."""
    archs = list(dict.fromkeys(SPACE.sample(n, seed, "depth")))
    rng = np.random.default_rng(0)
    worth = [rng.normal(size=unit.size) for unit in SPACE.units]
    sums = np.array([sum(w[i] for w, i in zip(worth, SPACE.indices(arch), strict=True)) for arch in archs])
    values = 3 * np.tanh(sums / 4) + noise * np.random.default_rng(seed + 1).normal(size=len(archs))
    return archs, values


@pytest.fixture(scope="module")
def fitted():
    archs, values = planted(150, 0, noise=0.1)
    description = Describer(SPACE)(archs)
    return fit_process(description, values, ("linear", "units", "joint", "whole"), iterations=25), archs, values


def test_predictions_are_those_of_the_textbook(fitted):
    """Rasmussen and Williams (2006), eqs. 2.23 and 2.24, with inverses written out."""
    process, _, values = fitted
    new = SPACE.sample(30, seed=9)
    description = Describer(SPACE)(new)
    scaling = Scaling(process.description)
    rows, others = scaling(process.description), scaling(description)
    parameters = {name: torch.from_numpy(np.asarray(value)) for name, value in process.parameters.items()}

    def k(a, b):
        return covariance(parameters, Products.of(a, b), process.parts).numpy()

    noise = float(np.exp(2 * process.parameters["noise"]))
    inverse = np.linalg.inv(k(rows, rows) + (noise + JITTER) * np.eye(len(values)))
    mean = k(others, rows) @ inverse @ process.warp.latent(values)
    variance = np.diag(k(others, others) - k(others, rows) @ inverse @ k(rows, others)) + noise
    found, sd = process.predict(description)
    np.testing.assert_allclose(found, mean, atol=1e-6)
    np.testing.assert_allclose(sd, variance**0.5, atol=1e-6)
    np.testing.assert_allclose(process.predict_mean(description), found, atol=1e-12)


def test_draws_have_the_mean_and_spread_of_predictions(fitted):
    process, *_ = fitted
    description = Describer(SPACE)(SPACE.sample(6, seed=3))
    draws = process.draw(description, 4000, np.random.default_rng(0))
    mean, sd = process.predict(description)
    noise = np.exp(2 * process.parameters["noise"])
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.05)
    np.testing.assert_allclose(draws.std(axis=0), (sd**2 - noise) ** 0.5, rtol=0.1)


@pytest.mark.parametrize("bend", [True, False])
def test_the_gradient_of_the_evidence_is_its_slope(bend):
    archs, values = planted(25, 2, noise=0.2)
    description = Describer(SPACE)(archs)
    warp = Warp(float(values.mean()), float(values.std()))
    problem = _Problem(description, warp, values, np.arange(len(values)), PARTS[:4], None, bend)
    unknown = [*problem.parameters.values(), *([problem.bend] if bend else [])]
    with torch.no_grad():
        for value in unknown:
            value += 0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1), dtype=value.dtype)
    problem.negative_evidence().backward()
    for value in unknown:
        flat, slope = value.detach().view(-1), value.grad.view(-1)
        for place in range(len(flat)):
            step = 1e-5
            sides = []
            for sign in (1, -1):
                with torch.no_grad():
                    flat[place] += sign * step
                    sides.append(float(problem.negative_evidence()))
                    flat[place] -= sign * step
            assert float(slope[place]) == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("parts", [("linear",), ("units",), ("joint",), ("whole",), PARTS])
def test_every_part_is_a_covariance(parts):
    space = ab.space("nas_bench_201")
    description = Describer(space)(space.sample(40, seed=1))
    scaled = Scaling(description)(description)
    parameters = {
        name: torch.full((len(space.stages),) if name in PER_UNIT else (), PRIORS[name][0], dtype=torch.float64)
        for part in parts
        for name in PART_OF[part]
    }
    matrix = covariance(parameters, Products.of(scaled, scaled), parts).numpy()
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-10)
    assert np.linalg.eigvalsh(matrix).min() > -1e-8


@given(
    st.floats(-1e3, 1e3),
    st.floats(1e-3, 1e3),
    st.floats(-1, 1),
    st.lists(st.floats(-3, 3), min_size=2, max_size=8),
)
def test_a_warp_is_monotone_and_inverts(mean, sd, bend, standard):
    warp = Warp(mean, sd, bend)
    labels = np.sort(np.array(standard)) * sd + mean
    latent = warp.latent(labels)
    assert (np.diff(latent) >= 0).all()
    np.testing.assert_allclose(warp.label(latent), labels, rtol=1e-6, atol=1e-6 * (abs(mean) + sd))


@pytest.mark.parametrize("bend", [-1.2, -0.3, 0.0, 0.3, 1.2])
def test_beyond_the_labels_a_warp_goes_on_in_small_steps(bend):
    """Its formula squeezes one end: latent values a little beyond it were one label, far away."""
    values = np.concatenate([np.random.default_rng(0).normal(82, 6, 300), [37.0, 120.0]])
    warp = Warp.of(values, bend)
    latent = np.linspace(*warp.latent([37.0 - 30, 120 + 30]), 4001)
    labels = warp.label(latent)
    assert (np.diff(labels) > 0).all()
    np.testing.assert_allclose(warp.latent(labels), latent, atol=1e-6)
    ends = warp.latent([37.0, 120.0])
    step = np.array([-0.5, 0.5])  # half a standard deviation of the latent values, about
    assert (np.abs(warp.label(ends + step) - [37.0, 120.0]) <= 0.51 * warp.sd).all()
    np.testing.assert_allclose(warp.label(ends), [37.0, 120.0])


def smooth(archs):
    """A sum over blocks of what their features are worth."""
    worth = {"expand": 0.5, "kernel": 0.4, "se": 0.3}

    def block(run):
        return len(run) ** 0.5 * sum(worth[name] * value for name, value in run[0].items())

    return np.array([sum(map(block, SPACE.layers(arch))) for arch in archs])


def test_the_warp_finds_what_bends_the_labels():
    """Logarithms of a sum over blocks are bent back, by about their standard deviation; the sums are left straight."""
    archs, _ = planted(250, 4)
    sums = smooth(archs) - 10
    description = Describer(SPACE, costs=False)(archs)
    bent = fit_process(description, 3 * np.log(sums), ("linear", "units"), iterations=40).warp
    straight = fit_process(description, sums, ("linear", "units"), iterations=40).warp
    assert bent.bend == pytest.approx(np.log(sums).std(), rel=0.25)
    assert abs(straight.bend) < abs(bent.bend) / 3


def test_labels_without_noise_are_fitted():
    archs, _ = planted(60, 6)
    values = smooth(archs)
    for parts in (("linear",), ("linear", "units", "joint", "whole")):
        process = fit_process(Describer(SPACE)(archs), values, parts)
        predicted, sd = process.predict(process.description)
        assert np.isfinite(sd).all()
        assert np.corrcoef(process.warp.label(predicted), values)[0, 1] > 0.97
