"""A Gaussian process over architectures; kernel and warp are learned by maximising the marginal likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autobuild.errors import ConfigError
from autobuild.models.describe import Description
from autobuild.models.kernel import PART_OF, PER_UNIT, PRIORS, Parameters, Products, Scaled, Scaling, covariance
from autobuild.models.warp import STRAIGHT, Warp

FloatArray = NDArray[np.float64]

NOISE_PRIOR = (-2.0, 1.0)  # log of the noise's standard deviation relative to the target's: mean, deviation
BEND_PRIOR = (0.0, 0.5)
JITTER = 1e-5
LEARNING_BUDGET = 8_000_000  # largest number of kernel entries while learning; with more, rows are subsampled
BLOCK_BUDGET = 4_000_000  # largest number of kernel entries in one block of a prediction


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
    """

    parts: tuple[str, ...]
    parameters: dict[str, FloatArray]
    warp: Warp
    description: Description
    values: FloatArray
    evidence: float = math.nan
    _state: dict[str, Any] = field(default_factory=dict, repr=False)

    def predict(self, description: Description) -> tuple[FloatArray, FloatArray]:
        """Latent mean and standard deviation (including noise) of m architectures. Shapes ``(m,)``, ``(m,)``."""
        self._prepare()
        means, sds = [], []
        noise = float(np.exp(2 * self.parameters["noise"]))
        for block, own in self._blocks(description):
            cross = self._covariance(block, self._state["rows"])
            means.append(cross @ self._state["weights"])
            solved = torch.linalg.solve_triangular(self._state["root"], cross.T, upper=False)
            sds.append((own - (solved * solved).sum(dim=0)).clamp(min=0) + noise)
        if not means:
            return np.zeros(0), np.zeros(0)
        return torch.cat(means).numpy(), torch.cat(sds).sqrt().numpy()

    def predict_mean(self, description: Description) -> FloatArray:
        """Latent mean of m architectures, much faster than :meth:`predict`. Shape ``(m,)``."""
        self._prepare()
        means = [
            self._covariance(block, self._state["rows"]) @ self._state["weights"]
            for block, _ in self._blocks(description, own=False)
        ]
        return torch.cat(means).numpy() if means else np.zeros(0)

    def draw(self, description: Description, count: int, rng: np.random.Generator) -> FloatArray:
        """Joint draws of the latent function (without noise) at m architectures. Shape ``(count, m)``."""
        self._prepare()
        scaled = self._state["scaling"](description)
        cross = self._covariance(scaled, self._state["rows"])
        solved = torch.linalg.solve_triangular(self._state["root"], cross.T, upper=False)
        spread = self._covariance(scaled, scaled) - solved.T @ solved
        root = _root(spread, JITTER)
        noise = torch.from_numpy(rng.standard_normal((len(scaled), count)))
        out: FloatArray = ((cross @ self._state["weights"])[:, None] + root @ noise).T.numpy()
        return out

    def _prepare(self) -> None:
        """Compute the weights of the training rows on first use; they are not stored on disk."""
        if self._state:
            return
        scaling = Scaling(self.description)
        rows = scaling(self.description)
        latent = torch.from_numpy(self.warp.latent(self.values))
        noise = float(np.exp(2 * self.parameters["noise"])) + JITTER
        matrix = torch.cat([self._covariance(block, rows) for block, _ in self._blocks_of(rows, own=False)])
        root = _root(matrix, noise)
        weights = torch.cholesky_solve(latent[:, None], root)[:, 0]
        self._state = {"scaling": scaling, "rows": rows, "root": root, "weights": weights}

    def _covariance(self, a: Scaled, b: Scaled) -> Tensor:
        parameters = {name: torch.from_numpy(np.asarray(value)) for name, value in self.parameters.items()}
        with torch.inference_mode():
            out: Tensor = covariance(parameters, Products.of(a, b), self.parts)
        return out

    def _blocks(self, description: Description, own: bool = True) -> Any:
        return self._blocks_of(self._state["scaling"](description), own)

    def _blocks_of(self, scaled: Scaled, own: bool) -> Any:
        """Yield blocks of rows that fit into memory, each with its prior variances if ``own``."""
        size = max(16, BLOCK_BUDGET // max(1, len(self.values) * len(scaled.choices)))
        for start in range(0, len(scaled), size):
            block = scaled.rows(slice(start, start + size))
            yield block, self._variances(block) if own else None

    def _variances(self, block: Scaled) -> Tensor:
        alone = [self._covariance(block.rows(slice(i, i + 64)), block.rows(slice(i, i + 64))).diagonal()
                 for i in range(0, len(block), 64)]  # fmt: skip
        return torch.cat(alone)


def fit_process(
    description: Description,
    values: FloatArray,
    parts: Sequence[str],
    *,
    start: Process | None = None,
    iterations: int = 60,
    bend: bool = True,
    seed: int = 0,
) -> Process:
    """Fit a Gaussian process: maximise the marginal likelihood of the labels times the priors of the parameters.

    Args:
        description: Descriptions of n architectures.
        values: Their labels, not constant. Shape ``(n,)``.
        parts: Parts of the kernel, of :data:`autobuild.models.kernel.PARTS`.
        start: An earlier process, fitted on more rows. Learning starts from its parameters, and its warp is kept.
        iterations: Maximum number of L-BFGS steps.
        bend: Whether the bend of the labels is learned; otherwise they are only standardised.
        seed: Seed of the subsample from which the kernel is learned if there are too many rows. Predictions use all
            rows in any case.

    Returns:
        The fitted process.

    Raises:
        ConfigError: The covariance matrix cannot be factorised.
    """
    units = len(description.choices)
    rows = np.arange(len(values))
    most = max(200, int((LEARNING_BUDGET / units) ** 0.5))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:most])
    warp = start.warp if start else Warp.of(values)
    problem = _Problem(description, warp, values, rows, tuple(parts), start, bend and start is None)
    evidence = problem.maximise(iterations)
    parameters = {name: value.detach().numpy().copy() for name, value in problem.parameters.items()}
    if problem.bend is not None:
        warp = replace(warp, bend=float(problem.bend.detach()))
    return Process(tuple(parts), parameters, warp, description, np.asarray(values), evidence / len(rows))


class _Problem:
    """The negative logarithm of marginal likelihood and priors, as a function of the parameters."""

    def __init__(
        self,
        description: Description,
        warp: Warp,
        values: FloatArray,
        rows: NDArray[np.int64],
        parts: tuple[str, ...],
        start: Process | None,
        bend: bool,
    ) -> None:
        self.parts = parts
        scaled = Scaling(description)(description).rows(torch.from_numpy(rows))
        self.products = Products.of(scaled, scaled)
        self.standard = torch.from_numpy(Warp(warp.mean, warp.sd).latent(values[rows]))
        self.fixed = torch.from_numpy(warp.latent(values[rows]))
        units = len(description.choices)
        self.priors: dict[str, tuple[float, float]] = {name: PRIORS[name] for part in parts for name in PART_OF[part]}
        self.priors["noise"] = NOISE_PRIOR
        self.parameters: Parameters = {}
        for name, (centre, _) in self.priors.items():
            shape = (units,) if name in PER_UNIT else ()
            value = torch.full(shape, centre, dtype=torch.float64)
            if start is not None:
                value = torch.from_numpy(np.array(start.parameters[name]))
            self.parameters[name] = value.requires_grad_()
        self.bend = torch.zeros((), dtype=torch.float64, requires_grad=True) if bend else None

    def maximise(self, iterations: int) -> float:
        unknown = [*self.parameters.values(), *([self.bend] if self.bend is not None else [])]
        optimiser = torch.optim.LBFGS(
            unknown, max_iter=iterations, line_search_fn="strong_wolfe", tolerance_grad=1e-3, tolerance_change=1e-6
        )

        def loss() -> Tensor:
            optimiser.zero_grad()
            value = self.negative_evidence()
            torch.autograd.backward(value)
            return value

        optimiser.step(loss)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            return -float(self.negative_evidence())

    def negative_evidence(self) -> Tensor:
        latent, log_slope = self._latent()
        matrix = covariance(self.parameters, self.products, self.parts)
        root = _root(matrix, torch.exp(2 * self.parameters["noise"]) + JITTER)
        solved = torch.cholesky_solve(latent[:, None], root)[:, 0]
        value: Tensor = 0.5 * latent @ solved + root.diagonal().log().sum() - log_slope
        for name, (centre, spread) in self.priors.items():
            value = value + 0.5 * (((self.parameters[name] - centre) / spread) ** 2).sum()
        if self.bend is not None:
            value = value + 0.5 * ((self.bend - BEND_PRIOR[0]) / BEND_PRIOR[1]) ** 2
        return value

    def _latent(self) -> tuple[Tensor, Tensor]:
        """Bent labels, and the sum of the log derivatives of the bend, which is part of the labels' log density."""
        if self.bend is None:
            return self.fixed, self.fixed.new_zeros(())
        bend = self.bend if abs(float(self.bend.detach())) > STRAIGHT else self.bend + STRAIGHT
        return torch.expm1(bend * self.standard) / bend, (bend * self.standard).sum()


def _root(matrix: Tensor, ridge: Tensor | float) -> Tensor:
    """Cholesky factor of ``matrix + ridge I``; the ridge is increased if rounding errors make it fail."""
    eye = torch.eye(len(matrix), dtype=matrix.dtype)
    extra = float(matrix.detach().diagonal().mean()) * 1e-10
    for _ in range(12):
        root: Tensor
        root, failed = torch.linalg.cholesky_ex(matrix + (ridge + extra) * eye)
        if not int(failed):
            return root
        extra *= 10
    raise ConfigError("the Gaussian process cannot be solved: the labelled rows are too similar, or not finite")
