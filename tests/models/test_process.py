"""The Gaussian process: against textbook formulas, its gradients, its warp and its calibration on planted truths."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import autobuild as ab
from autobuild.models import Describer
from autobuild.models import process as process_module
from autobuild.models.conditioned import conditioned
from autobuild.models.evidence import ALIKE, BEND_PRIOR, JITTER, NOISE_PRIOR, Evidence, LinearEvidence, minimise
from autobuild.models.kernel import PART_OF, PARTS, PER_UNIT, PRIORS, Kernel, Scaling
from autobuild.models.process import fit_process
from autobuild.models.warp import Warp
from autobuild.rank import srcc

SPACE = ab.space("mnasnet")


def planted(n, seed, noise=0.0):
    """A sum over blocks and a saturating term of the whole: no family of the model is this exactly."""
    archs = list(dict.fromkeys(SPACE.sample(n, seed, "depth")))
    rng = np.random.default_rng(0)
    worth = [rng.normal(size=unit.size) for unit in SPACE.units]
    sums = np.array([sum(w[i] for w, i in zip(worth, SPACE.indices(arch), strict=True)) for arch in archs])
    values = 3 * np.tanh(sums / 4) + noise * np.random.default_rng(seed + 1).normal(size=len(archs))
    return archs, values


def plain(parameters, a, b, parts):
    """The covariance of the formula, one pair of rows after another, in plain numpy."""
    p = {name: np.exp(np.asarray(value, dtype=float)) for name, value in parameters.items()}

    def apart(x, y):
        return ((x - y) ** 2).sum() / max(1, len(x))

    def inner(x, y):
        return x @ y / max(1, len(x))

    def pair(i, j):
        choices = [(x[i].numpy(), y[j].numpy()) for x, y in zip(a.choices, b.choices, strict=True)]
        amounts = [(x[i].numpy(), y[j].numpy()) for x, y in zip(a.amounts, b.amounts, strict=True)]
        total = 1.0
        if "linear" in parts:
            total += p["a_linear"] ** 2 * inner(*(np.concatenate(side) for side in zip(*choices, strict=True)))
        for part in ("units", "joint"):
            if part in parts:
                lengths = zip(p[f"l_{part}_choices"], p[f"l_{part}_amounts"], strict=True)
                each = [
                    np.exp(-(apart(*c) / lc**2 + apart(*m) / lm**2) / 2)
                    for c, m, (lc, lm) in zip(choices, amounts, lengths, strict=True)
                ]
                total += (p["a_units"] ** 2 * each).sum() if part == "units" else p["a_joint"] ** 2 * np.prod(each)
        for part in ("whole", "walks", "known"):
            if part in parts:
                x, y = getattr(a, part)[i].numpy(), getattr(b, part)[j].numpy()
                total += p[f"a_{part}"] ** 2 * np.exp(-apart(x, y) / p[f"l_{part}"] ** 2 / 2)
                total += p[f"a_{part}_linear"] ** 2 * inner(x, y)
        return total

    return np.array([[pair(i, j) for j in range(len(b))] for i in range(len(a))])


def drawn_parameters(space, parts, seed=0):
    """Parameters drawn from about their priors."""
    rng = np.random.default_rng(seed)
    priors = {name: PRIORS[name] for part in parts for name in PART_OF[part]}
    return {
        name: torch.as_tensor(rng.normal(centre, 0.3, size=len(space.stages) if name in PER_UNIT else ()))
        for name, (centre, _) in priors.items()
    }


@pytest.fixture
def small_tiles(monkeypatch):
    """Few rows are several tiles."""
    monkeypatch.setattr("autobuild.models.kernel.TILE", 32)


@pytest.fixture(scope="module")
def fitted():
    archs, values = planted(70, 0, noise=0.1)  # few, as the textbook's loops are slow
    description = Describer(SPACE)(archs)
    return fit_process(description, values, ("linear", "units", "joint", "whole"), iterations=25), archs, values


def test_predictions_are_those_of_the_textbook(fitted):
    """Rasmussen and Williams (2006), eqs. 2.23 and 2.24, with inverses written out."""
    process, _, values = fitted
    new = SPACE.sample(30, seed=9)
    description = Describer(SPACE)(new)
    scaling = Scaling(process.description)
    rows, others = scaling(process.description), scaling(description)

    def k(a, b):
        return plain(
            {name: value for name, value in process.parameters.items() if name != "noise"}, a, b, process.parts
        )

    noise = float(np.exp(2 * process.parameters["noise"]))
    inverse = np.linalg.inv(k(rows, rows) + (noise + JITTER) * np.eye(len(values)))
    mean = k(others, rows) @ inverse @ process.warp.latent(values)
    variance = np.diag(k(others, others) - k(others, rows) @ inverse @ k(rows, others)) + noise
    found, sd = process.predict(description)
    np.testing.assert_allclose(found, mean, atol=1e-6)
    np.testing.assert_allclose(sd, variance**0.5, atol=1e-6)
    np.testing.assert_allclose(process.predict_mean(description), found, atol=1e-12)


def test_draws_have_the_spread_of_predictions(fitted):
    process, *_ = fitted
    description = Describer(SPACE)(SPACE.sample(6, seed=3))
    draws = process.deviations(description, 4000, np.random.default_rng(0))
    _, sd = process.predict(description)
    noise = np.exp(2 * process.parameters["noise"])
    np.testing.assert_allclose(draws.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(draws.std(axis=0), (sd**2 - noise) ** 0.5, rtol=0.1)


@pytest.mark.parametrize("parts", [("linear",), ("units",), ("joint",), ("whole",), ("walks",), PARTS])
def test_tiles_give_the_covariance_of_the_formula(parts, small_tiles):
    space = ab.space("nas_bench_201")
    describer = Describer(space)
    description = describer(space.sample(70, seed=1))
    scaling = Scaling(description)
    scaled, others = scaling(description), scaling(describer(space.sample(7, seed=2)))
    parameters = drawn_parameters(space, parts)
    kernel = Kernel(parameters, parts)
    found = kernel.matrix(scaled, others).numpy()
    np.testing.assert_allclose(found, plain(parameters, scaled, others, parts), rtol=1e-10)
    square = kernel.matrix(scaled).numpy()
    np.testing.assert_allclose(square, kernel.matrix(scaled, scaled), rtol=1e-12)
    np.testing.assert_allclose(kernel.variances(scaled), square.diagonal(), rtol=1e-10)
    assert np.linalg.eigvalsh(square).min() > -1e-8


@pytest.mark.parametrize("bend", [True, False])
@pytest.mark.parametrize("parts", [("linear",), PARTS])
def test_the_evidence_is_that_of_the_textbook_and_its_gradient_the_slope(parts, bend, small_tiles):
    """Rasmussen and Williams (2006), eq. 2.30, with priors, and the log derivative of the bend."""
    space = ab.space("nas_bench_201")
    archs = space.sample(60, seed=3)
    values = np.random.default_rng(0).normal(size=len(archs))
    description = Describer(space)(archs)
    scaled, warp = Scaling(description)(description), Warp.of(values)
    standard, fixed = Warp(warp.mean, warp.sd).latent(values), Warp.of(values, 0.3).latent(values)
    problem = Evidence(scaled, parts, standard, None if bend else fixed)
    vector = problem.centre + 0.2 * np.random.default_rng(1).normal(size=len(problem.centre))
    value, gradient = problem(vector)

    parameters, b = problem.parameters(vector), problem.bend(vector)
    assert (b is not None) == bend
    latent = np.expm1(b * standard) / b if bend else fixed
    noise = np.exp(2 * parameters.pop("noise")) + JITTER
    covariance = plain(parameters, scaled, scaled, parts) + noise * np.eye(len(values))
    expected = latent @ np.linalg.solve(covariance, latent) / 2 + np.linalg.slogdet(covariance)[1] / 2
    priors = {**PRIORS, "noise": NOISE_PRIOR, "bend": BEND_PRIOR}
    for name, place in problem.places.items():
        away = (vector[place] - problem.centre[place]) / priors[name][1]
        together = ALIKE if name in PER_UNIT else 0.0
        correlation = together + (1 - together) * np.eye(len(away))
        expected += away @ np.linalg.solve(correlation, away) / 2
    assert value == pytest.approx(expected - (b * standard.sum() if bend else 0), rel=1e-7)

    for place in range(len(vector)):
        step = np.zeros(len(vector))
        step[place] = 1e-5
        slope = (problem(vector + step)[0] - problem(vector - step)[0]) / 2e-5
        assert gradient[place] == pytest.approx(slope, rel=1e-4, abs=1e-4)

    if parts == ("linear",):
        other_value, other_gradient = LinearEvidence(scaled, parts, standard, None if bend else fixed)(vector)
        assert other_value == pytest.approx(value, rel=1e-7)
        np.testing.assert_allclose(other_gradient, gradient, rtol=1e-6, atol=1e-5)


def test_the_prior_of_a_sum_does_not_depend_on_the_number_of_its_units():
    sums = []
    for name in ("trans_nas_bench_macro", "tiny_mbconv", "mnasnet"):  # one, three and seven units
        space = ab.space(name)
        description = Describer(space)(space.sample(20, seed=0))
        problem = Evidence(Scaling(description)(description), ("units",), np.random.default_rng(0).normal(size=20))
        sums.append(np.exp(2 * problem.centre[problem.places["a_units"]]).sum())
    np.testing.assert_allclose(sums, sums[0])


def test_learning_finds_the_better_of_two_explanations(monkeypatch):
    """Of a quantised U-Net, the sum over its layers is a local maximum of the likelihood, and predicts worse."""
    space = ab.space("quant:digits_unet")
    labels = ab.LabelledSet.read("digits_unet", space)
    rows = np.random.default_rng(1).permutation(len(labels))
    values, known = -np.log(labels.frame["fid"].to_numpy()), rows[:200]
    description = Describer(space)(labels.archs)
    others = np.setdiff1d(rows, known)

    def judged():
        process = fit_process(description.take(known), values[known], ("linear", "units", "joint", "whole"))
        return srcc(process.predict_mean(description.take(others)), values[others])

    both = judged()
    monkeypatch.setattr(process_module, "INTERACTING", {})
    assert both > judged() + 0.01


def test_the_search_finds_the_lowest_point_of_a_narrow_valley():
    def rosenbrock(x):
        slope = np.array([-400 * x[0] * (x[1] - x[0] ** 2) - 2 * (1 - x[0]), 200 * (x[1] - x[0] ** 2)])
        return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2, slope

    place, value, inverse = minimise(rosenbrock, np.array([-1.2, 1.0]), np.eye(2), 100, 1e-12)
    np.testing.assert_allclose(place, 1, atol=1e-4)
    assert value < 1e-9
    np.testing.assert_allclose(inverse, np.linalg.inv([[802, -400], [-400, 200]]), rtol=0.2)


@pytest.mark.parametrize("parts", [("linear",), ("linear", "units", "joint", "whole")])
def test_held_out_folds_are_those_of_refits_with_the_same_parameters(parts):
    archs, values = planted(160, 7, noise=0.1)
    description = Describer(SPACE)(archs)
    process = fit_process(description, values, parts, iterations=10)
    folds = np.array_split(np.random.default_rng(0).permutation(len(values)), 3)
    mean, sd = process.held_out(folds)
    scaled = Scaling(description)(description)
    parameters = {name: torch.as_tensor(value) for name, value in process.parameters.items()}
    for fold in folds:
        others = torch.from_numpy(np.setdiff1d(np.arange(len(values)), fold))
        refit = conditioned(scaled.rows(others), parameters, parts)
        weights = refit.weights(torch.from_numpy(process.warp.latent(values))[others])
        wanted, variance = refit.predict(scaled.rows(torch.from_numpy(fold)), weights, True)
        np.testing.assert_allclose(mean[fold], wanted, atol=1e-7)
        np.testing.assert_allclose(sd[fold] ** 2, variance + np.exp(2 * process.parameters["noise"]), rtol=1e-6)


def test_a_linear_process_solved_for_columns_is_the_one_solved_for_rows():
    archs, values = planted(90, 8, noise=0.2)
    description = Describer(SPACE)(archs)
    process = fit_process(description, values, ("linear",))
    scaling = Scaling(description)
    others = Describer(SPACE)(SPACE.sample(20, seed=4))
    noise = np.exp(2 * process.parameters["noise"])
    rows, new = scaling(description), scaling(others)
    parameters = {"a_linear": process.parameters["a_linear"]}
    inverse = np.linalg.inv(plain(parameters, rows, rows, ("linear",)) + (noise + JITTER) * np.eye(len(values)))
    cross = plain(parameters, new, rows, ("linear",))
    mean, sd = process.predict(others)
    np.testing.assert_allclose(mean, cross @ inverse @ process.warp.latent(values), atol=1e-7)
    variance = np.diag(plain(parameters, new, new, ("linear",)) - cross @ inverse @ cross.T) + noise
    np.testing.assert_allclose(sd, variance**0.5, rtol=1e-6)
    draws = process.deviations(others, 4000, np.random.default_rng(0))
    np.testing.assert_allclose(draws.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(draws.std(axis=0), (sd**2 - noise) ** 0.5, rtol=0.1)


def test_learning_from_few_rows_first_ends_where_all_rows_lead(monkeypatch):
    archs, values = planted(400, 9, noise=0.3)
    description, parts = Describer(SPACE)(archs), ("linear", "units", "joint", "whole")
    at_once = fit_process(description, values, parts)
    monkeypatch.setattr(process_module, "FIRST_ROWS", 200)
    told = []
    staged = fit_process(description, values, parts, on_step=lambda done, total: told.append((done, total)))
    assert staged.evidence == pytest.approx(at_once.evidence, abs=0.02)
    assert told == sorted(told)
    assert told[-1] == (80, 80)


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


@given(st.lists(st.floats(-1e3, 1e3), min_size=5, max_size=40), st.floats(-1, 1), st.floats(-4, 4))
def test_a_warp_by_ranks_is_monotone_and_inverts(values, bend, beyond):
    values = np.sort(np.array(values))
    assume(values.std() > 1e-6)
    warp = replace(Warp.of(values).by_ranks(values), bend=bend)
    latent = warp.latent(values)
    assert (np.diff(latent) >= -1e-12).all()  # of two labels that are one but for rounding
    np.testing.assert_allclose(warp.label(latent), values, rtol=1e-6, atol=1e-5 * warp.sd)
    outside = warp.latent(values[[0, -1]]) + np.array([-1, 1]) * abs(beyond)
    labels = warp.label(outside)
    below, above = (labels - values[[0, -1]]) / warp.sd
    assert below <= 1e-6
    assert above >= -1e-6
    np.testing.assert_allclose(warp.latent(labels), outside, atol=1e-5)


def test_labels_in_two_groups_are_mapped_by_their_ranks():
    """A few networks do not work. Normal labels keep a bend; among these, ranks tell the good networks apart."""
    archs, _ = planted(150, 9)
    good = smooth(archs)
    labels = np.where(np.arange(150) % 10 == 0, good - 40 * good.std(), good)
    ranked, straight = Warp.of(labels).by_ranks(labels), Warp.of(good)
    assert Warp.of(labels).worth_knots(labels)
    assert not straight.worth_knots(np.random.default_rng(0).normal(size=150))
    working = labels > good.min() - 1
    assert ranked.latent(labels)[working].std() > 5 * Warp.of(labels).latent(labels)[working].std()
    step = 1e-6 * ranked.sd
    inside = labels[2:-2] + step  # the sum of the logarithms of derivatives, against differences
    slopes = (ranked.latent(inside + step) - ranked.latent(inside - step)) / (2e-6)
    price = len(ranked.knots) * np.log(len(inside)) / 2
    assert ranked.log_slope(inside) == pytest.approx(np.log(slopes).sum() - price, rel=1e-3)


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
