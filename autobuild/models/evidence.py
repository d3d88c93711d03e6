"""The evidence of a Gaussian process (its marginal likelihood times the priors), its gradient, and its maximum."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from autobuild._typing import FloatArray
from autobuild.errors import ConfigError
from autobuild.models.kernel import PART_OF, PER_UNIT, PRIORS, Kernel, Parameters, Products, Scaled, Sides, tiles
from autobuild.models.warp import STRAIGHT
from autobuild.rank import kendall_tau

NOISE_PRIOR = (-2.0, 1.0)  # log of the noise's standard deviation relative to the target's: mean, deviation
BEND_PRIOR = (0.0, 0.5)
PRIOR_UNITS = 5  # units for which priors per unit are given
ALIKE = 0.5  # prior correlation of one parameter of two units
JITTER = 1e-5
LONGEST_STEP = 1.0  # largest change of a logarithm in one step
ARMIJO = 1e-4


class Evidence:
    """The negative logarithm of the evidence as a function of one vector of parameters.

    The vector holds the logarithms of amplitudes, lengthscales and noise by the names of :attr:`places`, and the bend
    of the labels, if it is learned.

    The priors do not depend on into how many units a space is cut: with more units, each one adds less and the
    lengthscales of their product are longer. One parameter of several units is correlated, so that all can move at the
    price of one.

    Args:
        scaled: The n architectures learned from.
        parts: Parts of the kernel.
        standard: Their standardised labels. Shape ``(n,)``.
        latent: Latent values with a fixed bend; None if the bend is learned. Shape ``(n,)``.
        residual: Added to the prior mean of the logarithm of every amplitude but those of the part ``known``.
    """

    def __init__(
        self,
        scaled: Scaled,
        parts: Sequence[str],
        standard: FloatArray,
        latent: FloatArray | None = None,
        residual: float = 0.0,
    ) -> None:
        self.parts, self.standard, self.fixed = tuple(parts), standard, latent
        priors = {name: PRIORS[name] for part in parts for name in PART_OF[part]} | {"noise": NOISE_PRIOR}
        for name in priors:
            if name.startswith("a_") and name not in PART_OF["known"]:
                priors[name] = (priors[name][0] + residual, priors[name][1])
        wider = 0.5 * math.log(max(1, len(scaled.choices)) / PRIOR_UNITS)
        for name, by in (("a_units", -wider), ("l_joint_choices", wider), ("l_joint_amounts", wider)):
            if name in priors:
                priors[name] = (priors[name][0] + by, priors[name][1])
        sizes = {name: len(scaled.choices) if name in PER_UNIT else 1 for name in priors}
        if latent is None:
            priors["bend"], sizes["bend"] = BEND_PRIOR, 1
        ends = np.cumsum(list(sizes.values()))
        self.places = {name: slice(end - sizes[name], end) for name, end in zip(sizes, ends, strict=True)}
        self.centre, self.spread = (
            np.concatenate([np.full(sizes[name], prior[i]) for name, prior in priors.items()]) for i in (0, 1)
        )
        self._prepare(scaled)

    def _prepare(self, scaled: Scaled) -> None:
        sides = Sides(scaled, self.parts)
        self.tiles = [
            (rows, columns, Products.of(sides, sides, rows, columns))
            for rows in tiles(sides.count)
            for columns in tiles(rows.stop)
        ]

    def parameters(self, vector: FloatArray) -> dict[str, FloatArray]:
        """Name -> parameter, without the bend; shape ``(units,)`` for those per unit, else a scalar."""
        own = {name: vector[place].copy() for name, place in self.places.items() if name != "bend"}
        return {name: value if name in PER_UNIT else value[0] for name, value in own.items()}

    def vector(self, parameters: Mapping[str, FloatArray | float]) -> FloatArray:
        """The vector of these parameters; the bend and what is missing at the mean of their priors."""
        out = self.centre.copy()
        for name, value in parameters.items():
            out[self.places[name]] = value
        return out

    def bend(self, vector: FloatArray) -> float | None:
        """The bend, if it is learned."""
        return float(vector[self.places["bend"]][0]) if "bend" in self.places else None

    def __call__(self, vector: FloatArray) -> tuple[float, FloatArray]:
        """The negative logarithm of the evidence, infinite if the covariance cannot be factorised, and its gradient."""
        latent, by_bend, log_slope = self._latent(self.bend(vector))
        tensors = {name: torch.as_tensor(value) for name, value in self.parameters(vector).items()}
        away = (vector - self.centre) / self.spread
        pull = self._pull(away)
        gradient = pull / self.spread
        try:
            value, own, solved = self._likelihood(tensors, torch.from_numpy(latent))
        except ConfigError:
            return math.inf, gradient
        value += 0.5 * float(away @ pull) - log_slope
        for name, slope in own.items():
            gradient[self.places[name]] += slope.numpy()
        if "bend" in self.places:
            gradient[self.places["bend"]] += float(solved.numpy() @ by_bend) - float(self.standard.sum())
        return value, gradient

    def _pull(self, away: FloatArray) -> FloatArray:
        """The inverse prior correlation of the parameters times their distances from the prior mean."""
        out = away.copy()
        for name, place in self.places.items():
            if name in PER_UNIT:
                own = away[place]
                shared = ALIKE / (1 - ALIKE + ALIKE * len(own))
                out[place] = (own - shared * own.sum()) / (1 - ALIKE)
        return out

    def _latent(self, bend: float | None) -> tuple[FloatArray, FloatArray, float]:
        """Latent values, their derivative by the bend, and the sum of the log derivatives by the labels."""
        if bend is None:
            assert self.fixed is not None
            return self.fixed, self.fixed, 0.0
        bend = bend if abs(bend) > STRAIGHT else bend + STRAIGHT
        latent = np.expm1(bend * self.standard) / bend
        by_bend = (self.standard * np.exp(bend * self.standard) - latent) / bend
        return latent, by_bend, bend * float(self.standard.sum())

    def _factor(self, parameters: Parameters) -> tuple[Tensor, Kernel, Tensor]:
        """Variance of the noise, kernel, and Cholesky factor of the covariance. Raises ConfigError."""
        noise, count = torch.exp(2 * parameters["noise"]), len(self.standard)
        kernel = Kernel(parameters, self.parts)
        matrix = torch.empty(count, count, dtype=torch.float64)
        for rows, columns, products in self.tiles:
            matrix[rows, columns] = kernel.covariance(products)
        return noise, kernel, cholesky(matrix, float(noise) + JITTER)

    def left_out(self, vector: FloatArray) -> float:
        """Log density of every label given all others, summed (Rasmussen and Williams, 2006, eq. 5.10 to 5.12)."""
        precision, solved, _ = self._given_others(vector)
        log_slope = self._latent(self.bend(vector))[2]
        return float(0.5 * (precision.log() - solved**2 / precision).sum()) + log_slope

    def ranked(self, vector: FloatArray) -> float:
        """Kendall's tau of the labels and their predictions, each given all other labels."""
        precision, solved, latent = self._given_others(vector)
        return kendall_tau((latent - solved / precision).numpy(), latent.numpy())

    def _given_others(self, vector: FloatArray) -> tuple[Tensor, Tensor, Tensor]:
        """Precision of every label given all others, the inverse covariance times the latent values, and these."""
        latent = torch.from_numpy(self._latent(self.bend(vector))[0])
        tensors = {name: torch.as_tensor(value) for name, value in self.parameters(vector).items()}
        inverse = torch.cholesky_inverse(self._factor(tensors)[2])
        return inverse.diagonal(), inverse @ latent, latent

    def _likelihood(self, parameters: Parameters, latent: Tensor) -> tuple[float, dict[str, Tensor], Tensor]:
        """Negative log-likelihood, its derivatives by the parameters, and the inverse covariance times ``latent``."""
        noise, kernel, root = self._factor(parameters)
        solved = torch.cholesky_solve(latent[:, None], root)[:, 0]
        value = 0.5 * float(latent @ solved) + float(root.diagonal().log().sum())
        inverse = torch.cholesky_inverse(root)
        out = {"noise": noise * (inverse.diagonal().sum() - solved @ solved)}
        for rows, columns, products in self.tiles:
            weights = torch.addr(inverse[rows, columns], solved[rows], solved[columns], alpha=-1)
            if rows == columns:
                weights *= 0.5  # the tile on the other side of the diagonal is the same as this one
            for name, slope in kernel.slopes(products, weights).items():
                out[name] = out[name] + slope if name in out else slope
        return value, out, solved


class LinearEvidence(Evidence):
    """The evidence of a linear process; no matrix of n x n entries is made.

    The columns have a mean of 0, as they are standardised by the same rows. So the eigenvectors of the covariance
    are a constant vector and the left singular vectors of the columns.
    """

    def _prepare(self, scaled: Scaled) -> None:
        columns = Sides(scaled, self.parts).linear[0]
        values, vectors = torch.linalg.eigh(columns.T @ columns)
        keep = values > 1e-10 * len(columns)
        constant = columns.new_full((len(columns), 1), len(columns) ** -0.5)
        self.values = torch.cat([values.new_zeros(1), values[keep]])
        self.vectors = torch.cat([constant, columns @ (vectors[:, keep] / values[keep].sqrt())], dim=1)
        self.constant = torch.zeros(len(self.values), dtype=torch.float64)
        self.constant[0] = len(columns)

    def _likelihood(self, parameters: Parameters, latent: Tensor) -> tuple[float, dict[str, Tensor], Tensor]:
        noise, squared = (torch.exp(2 * parameters[name]) for name in ("noise", "a_linear"))
        ridge = noise + JITTER
        eigenvalues = self.constant + squared * self.values + ridge
        turned = latent @ self.vectors
        left = latent - self.vectors @ turned
        others = len(latent) - len(turned)  # directions in which the covariance is the noise alone
        value = turned**2 @ (1 / eigenvalues) + left @ left / ridge + eigenvalues.log().sum() + others * ridge.log()
        by_eigenvalue = 0.5 / eigenvalues - 0.5 * (turned / eigenvalues) ** 2
        by_ridge = by_eigenvalue.sum() + 0.5 * others / ridge - 0.5 * (left @ left) / ridge**2
        slopes = {"a_linear": 2 * squared * (by_eigenvalue @ self.values), "noise": 2 * noise * by_ridge}
        return 0.5 * float(value), slopes, self.vectors @ (turned / eigenvalues) + left / ridge


def minimise(
    function: Callable[[FloatArray], tuple[float, FloatArray]],
    start: FloatArray,
    inverse: FloatArray,
    steps: int,
    tolerance: float,
    on_step: Callable[[int], None] = lambda done: None,
) -> tuple[FloatArray, float, FloatArray]:
    """Minimise a smooth function by the method of Broyden, Fletcher, Goldfarb and Shanno (BFGS).

    Args:
        function: Gives value and gradient.
        start: Where the search starts. Shape ``(P,)``.
        inverse: First guess of the inverse of the matrix of second derivatives. Shape ``(P, P)``.
        steps: Largest number of steps.
        tolerance: The search ends when a step promises less than this.
        on_step: Called after every step with the number of steps done.

    Returns:
        Where the value is smallest, the value, and the inverse of the second derivatives as learned so far.

    Raises:
        ConfigError: The function is infinite at the start.
    """
    place, (value, gradient) = start, function(start)
    if not math.isfinite(value):
        raise ConfigError("the Gaussian process cannot be solved: the labelled rows are too similar, or not finite")
    for done in range(steps):
        on_step(done)
        step = -inverse @ gradient
        step *= min(1.0, LONGEST_STEP / max(float(np.abs(step).max()), 1e-300))
        promised = -float(gradient @ step)
        if promised < 2 * tolerance:
            break
        share = 1.0
        while True:
            after, slope = function(place + share * step)
            if after <= value - ARMIJO * share * promised:
                break
            bent = 2 * (after - value + share * promised)
            share *= min(0.5, max(0.1, share * promised / bent)) if math.isfinite(bent) else 0.1
            if share < 1e-6:
                return place, value, inverse
        moved, turned = share * step, slope - gradient
        place, value, gradient = place + moved, after, slope
        along = float(moved @ turned)
        if along > 1e-10:
            mixed = inverse @ turned
            inverse = (
                inverse
                + (
                    (1 + float(turned @ mixed) / along) * np.outer(moved, moved)
                    - np.outer(mixed, moved)
                    - np.outer(moved, mixed)
                )
                / along
            )
    return place, value, inverse


def cholesky(matrix: Tensor, ridge: float) -> Tensor:
    """Cholesky factor of ``matrix + ridge I``; the ridge is increased if rounding errors make it fail.

    Only the lower triangle is read; the diagonal is changed.

    Raises:
        ConfigError: No ridge helps, or the matrix is not finite.
    """
    before = matrix.diagonal().clone()
    extra = float(before.mean()) * 1e-10
    for _ in range(12):
        matrix.diagonal().copy_(before + (ridge + extra))
        root: Tensor
        root, failed = torch.linalg.cholesky_ex(matrix)
        if not int(failed):
            return root
        extra *= 10
    raise ConfigError("the Gaussian process cannot be solved: the labelled rows are too similar, or not finite")
