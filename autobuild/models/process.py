"""A Gaussian process over architectures; kernel and warp are learned by maximising the marginal likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from autobuild._typing import FloatArray, IntArray
from autobuild.models.conditioned import Conditioned, conditioned
from autobuild.models.describe import Description
from autobuild.models.evidence import Evidence, LinearEvidence, minimise
from autobuild.models.kernel import PART_OF, Scaled, Scaling
from autobuild.models.threads import torch_threads
from autobuild.models.warp import Warp

LEARNING_BUDGET = 8_000_000  # largest number of kernel entries while learning; with more, rows are subsampled
FIRST_ROWS = 400  # rows from which the kernel is learned first; more rows then need few steps
LAST_STEPS = 20  # at most, from the parameters that the first rows gave
# Where the likelihood has two maxima, one explains the labels by sums over units and noise, the other by units that act
# on each other; the search starts near both. The first start is the mean of the priors, this is the second.
# With few units both searches have ended within half a nat of each other on every table tried, but not with ten rows.
FEW_UNITS, FEW_ROWS = 10, 50
INTERACTING = {"a_linear": -3.0, "a_units": -4.0, "a_joint": -0.7, "noise": -3.0}
TOLERANCE = 0.02  # logarithm of the evidence; a step that promises less is not made


@dataclass
class Process:
    """A fitted Gaussian process.

    Attributes:
        parts: Parts of the kernel (:data:`autobuild.models.kernel.PARTS`).
        parameters: Logarithms of amplitudes, lengthscales and the standard deviation ``noise``; float64.
        warp: Map from labels to latent values.
        description: Descriptions of the training rows.
        values: Labels of the training rows. Shape ``(n,)``.
        evidence: Logarithm of the marginal likelihood times the priors, divided by the number of rows learned from.
        curvature: Inverse of the second derivatives of the evidence by the parameters, from which a fit on other rows
            can start; None for a process read from disk. Shape ``(P, P)``.
    """

    parts: tuple[str, ...]
    parameters: dict[str, FloatArray]
    warp: Warp
    description: Description
    values: FloatArray
    evidence: float = math.nan
    curvature: FloatArray | None = field(default=None, repr=False)
    _state: dict[str, Any] = field(default_factory=dict, repr=False)

    def predict(self, description: Description) -> tuple[FloatArray, FloatArray]:
        """Latent mean and standard deviation (including noise) of m architectures. Shapes ``(m,)``, ``(m,)``."""
        with torch_threads(1), torch.inference_mode():
            mean, variance = self._solved.predict(self._scaled(description), self._weights, True)
        return mean.numpy(), self._noisy(variance)

    def predict_mean(self, description: Description) -> FloatArray:
        """Latent mean of m architectures, much faster than :meth:`predict`. Shape ``(m,)``."""
        with torch_threads(1), torch.inference_mode():
            out: FloatArray = self._solved.predict(self._scaled(description), self._weights, False)[0].numpy()
        return out

    def deviations(self, description: Description, count: int, rng: np.random.Generator) -> FloatArray:
        """Joint draws of the latent function, without noise, minus its mean. Shape ``(count, m)``."""
        with torch_threads(1), torch.inference_mode():
            out: FloatArray = self._solved.deviations(self._scaled(description), count, rng).numpy()
        return out

    def held_out(self, folds: Sequence[IntArray]) -> tuple[FloatArray, FloatArray]:
        """Latent mean and standard deviation (including noise) of every training row, given the other folds' labels.

        The parameters are those of all rows, so that this needs no fits.

        Args:
            folds: Rows of every fold; each row is in one of them.

        Returns:
            Shapes ``(n,)``, ``(n,)``.
        """
        with torch_threads(1), torch.inference_mode():
            mean, variance = self._solved.held_out(torch.from_numpy(self.warp.latent(self.values)), folds)
        return mean.numpy(), self._noisy(variance)

    def _noisy(self, variance: torch.Tensor) -> FloatArray:
        out: FloatArray = (variance + float(np.exp(2 * self.parameters["noise"]))).sqrt().numpy()
        return out

    def _scaled(self, description: Description) -> Scaled:
        scaling: Scaling = self._kept("scaling", lambda: Scaling(self.description))
        return scaling(description)

    @property
    def _solved(self) -> Conditioned:
        parameters = {name: torch.as_tensor(value) for name, value in self.parameters.items()}
        out: Conditioned = self._kept(
            "solved", lambda: conditioned(self._scaled(self.description), parameters, self.parts)
        )
        return out

    @property
    def _weights(self) -> torch.Tensor:
        latent = torch.from_numpy(self.warp.latent(self.values))
        out: torch.Tensor = self._kept("weights", lambda: self._solved.weights(latent))
        return out

    def _kept(self, name: str, compute: Any) -> Any:
        """Computed on first use; not stored on disk."""
        if name not in self._state:
            self._state[name] = compute()
        return self._state[name]


def fit_process(
    description: Description,
    values: FloatArray,
    parts: Sequence[str],
    *,
    start: Process | None = None,
    warp: Warp | None = None,
    scaling: Scaling | None = None,
    iterations: int = 60,
    seed: int = 0,
    residual: float = 0.0,
    on_step: Callable[[int, int], None] | None = None,
) -> Process:
    """Fit a Gaussian process: maximise the marginal likelihood of the labels times the priors of the parameters.

    Args:
        description: Descriptions of n architectures.
        values: Their labels, not constant. Shape ``(n,)``.
        parts: Parts of the kernel, of :data:`autobuild.models.kernel.PARTS`.
        start: An earlier process, fitted on more rows. Learning starts from its parameters, and its warp is kept.
        warp: The map from labels to latent values, if it is known. Otherwise its bend is learned; if the distribution
            of the labels is far from normal after any bend, a map by ranks is tried, too, and kept if the process then
            ranks each label better by the others.
        scaling: Standardises descriptions by the given ones; None computes it.
        iterations: Largest number of steps.
        seed: Seed of the subsample from which the kernel is learned if there are too many rows. Predictions use all
            rows in any case.
        residual: Added to the prior mean of the logarithm of every amplitude but those of the part ``known``: what is
            left to explain beside known columns is smaller.
        on_step: Called after every step of the learning with ``(steps done, steps at most)``.

    Returns:
        The fitted process.

    Raises:
        ConfigError: The covariance matrix cannot be factorised.
    """
    warp = start.warp if start else warp
    linear = tuple(parts) == ("linear",)
    warps = [warp or Warp.of(values)]
    if warp is None and not linear and warps[0].worth_knots(values):
        warps.append(warps[0].by_ranks(values))
    found = []
    for number, own in enumerate(warps):

        def say(done: int, total: int, number: int = number) -> None:
            if on_step:
                on_step(number * total + done, len(warps) * total)

        how: dict[str, Any] = {"iterations": iterations, "seed": seed, "residual": residual, "on_step": say}
        found.append(_fit_warped(description, values, parts, own, warp is None, start, scaling, **how))
    return max(found, key=lambda own: own[1]())[0] if len(found) > 1 else found[0][0]


def _fit_warped(
    description: Description,
    values: FloatArray,
    parts: Sequence[str],
    warp: Warp,
    bend: bool,
    start: Process | None,
    scaling: Scaling | None,
    *,
    iterations: int,
    seed: int,
    residual: float,
    on_step: Callable[[int, int], None],
) -> tuple[Process, Callable[[], float]]:
    """A process with this warp, whose bend may be learned; and how well it ranks each label given the others."""
    rng, count = np.random.default_rng(seed), len(values)
    order = rng.permutation(count)
    linear = tuple(parts) == ("linear",)
    most = count if linear else max(200, int((LEARNING_BUDGET / len(description.choices)) ** 0.5))
    stages = [FIRST_ROWS] if min(most, count) > FIRST_ROWS * 1.5 and not linear and start is None else []
    stages.append(min(most, count))
    scaling = scaling or Scaling(description)
    scaled = scaling(description)
    parameters = {name for part in parts for name in PART_OF[part]} | {"noise"}
    vector, curvature = np.zeros(0), np.zeros((0, 0))
    before, evidence = stages[0], math.nan
    allowed = [iterations, *(min(LAST_STEPS, iterations) for _ in stages[1:])]
    doubtful = len(description.choices) > FEW_UNITS or count <= FEW_ROWS
    twice = start is None and {"units", "joint"} <= set(parts) and doubtful
    made, total = 0, sum(allowed) + iterations * twice
    for size, steps in zip(stages, allowed, strict=True):
        rows = np.sort(order[:size])
        standard, latent = warp.standard(values[rows]), warp.latent(values[rows])
        own = scaled.rows(torch.from_numpy(rows)) if size < count else scaled
        problem = (LinearEvidence if linear else Evidence)(own, parts, standard, None if bend else latent, residual)
        if not len(vector):
            begins = [problem.vector(start.parameters if start else {})]
            if twice:
                begins.append(problem.vector({name: INTERACTING[name] for name in INTERACTING if name in parameters}))
            curvature = _curvature(problem, start)

        found = []
        with torch_threads(1), torch.inference_mode():
            for begin in begins:

                def say(done: int, made: int = made) -> None:
                    on_step(made + done, total)

                found.append(minimise(problem, begin, curvature * (before / size), steps, TOLERANCE, say))
                say(steps)
                made += steps
            best = max(found, key=lambda own: problem.left_out(own[0])) if len(found) > 1 else found[0]
        vector, negative, curvature = best
        begins = [vector]
        before, evidence = size, -negative / size
    learned = problem.bend(vector)
    slope = replace(warp, bend=0.0).log_slope(values) / count  # of the knots; that of the bend is in the evidence
    warp = warp if learned is None else replace(warp, bend=learned)
    out = Process(
        tuple(parts), problem.parameters(vector), warp, description, np.asarray(values), evidence + slope, curvature
    )
    out._state["scaling"] = scaling
    return out, lambda: problem.ranked(vector)


def _curvature(problem: Evidence, start: Process | None) -> FloatArray:
    """First guess of the inverse second derivatives: from an earlier process, or as if labels said what priors say."""
    if start is not None and start.curvature is not None:
        known = len(problem.centre)  # the bend, which is last, may be fixed now
        return start.curvature[:known, :known]
    return np.diag(problem.spread**2) / 10
