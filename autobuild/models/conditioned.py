"""A Gaussian process with known parameters, conditioned on labelled rows: predictions, draws, held-out folds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from autobuild._typing import IntArray
from autobuild.models.evidence import JITTER, cholesky
from autobuild.models.kernel import Kernel, Scaled, Sides

BLOCK_BUDGET = 1_000_000  # largest number of entries of a matrix in a prediction


class Conditioned(Protocol):
    """What is computed once from the labelled rows; their latent values come in as ``weights``."""

    def weights(self, latent: Tensor) -> Tensor:
        """What a prediction multiplies. Shape ``(n,)`` of the latent values of the n rows."""
        ...

    def predict(self, scaled: Scaled, weights: Tensor, spread: bool) -> tuple[Tensor, Tensor]:
        """Means, and if ``spread`` variances without noise, of m architectures. Shapes ``(m,)``."""
        ...

    def deviations(self, scaled: Scaled, count: int, rng: np.random.Generator) -> Tensor:
        """Joint draws without noise, minus the mean, at m architectures. Shape ``(count, m)``."""
        ...

    def held_out(self, latent: Tensor, folds: Sequence[IntArray]) -> tuple[Tensor, Tensor]:
        """Means and variances, without noise, of every row, given the rows of the other folds. Shapes ``(n,)``."""
        ...


def conditioned(scaled: Scaled, parameters: Mapping[str, Tensor], parts: tuple[str, ...]) -> Conditioned:
    """Condition a process on labelled rows."""
    return OnColumns(scaled, parameters) if parts == ("linear",) else OnRows(scaled, parameters, parts)


class OnRows:
    """Solved for the n rows, with the Cholesky factor of their covariance.

    Args:
        scaled: The labelled rows.
        parameters: Parameters of the kernel, and the logarithm of the noise.
        parts: Parts of the kernel.
    """

    def __init__(self, scaled: Scaled, parameters: Mapping[str, Tensor], parts: tuple[str, ...]) -> None:
        self.kernel, self.scaled = Kernel(parameters, parts), scaled
        self.ridge = float(torch.exp(2 * parameters["noise"])) + JITTER
        self.root = cholesky(self.kernel.matrix(scaled), self.ridge)

    def weights(self, latent: Tensor) -> Tensor:
        """See :class:`Conditioned`."""
        return torch.cholesky_solve(latent[:, None], self.root)[:, 0]

    def predict(self, scaled: Scaled, weights: Tensor, spread: bool) -> tuple[Tensor, Tensor]:
        """See :class:`Conditioned`."""
        if not spread:
            return self.kernel.sums(scaled, self.scaled, weights), weights[:0]
        means, spreads = [torch.zeros(0, dtype=torch.float64)], [torch.zeros(0, dtype=torch.float64)]
        for block in _blocks(len(scaled), len(self.scaled)):
            new = scaled.rows(block)
            cross = self.kernel.matrix(new, self.scaled)
            means.append(cross @ weights)
            solved = torch.linalg.solve_triangular(self.root, cross.T, upper=False)
            own = self.kernel.variances(new)
            spreads.append((own - (solved * solved).sum(dim=0)).clamp(min=0))
        return torch.cat(means), torch.cat(spreads)

    def deviations(self, scaled: Scaled, count: int, rng: np.random.Generator) -> Tensor:
        """See :class:`Conditioned`."""
        cross = self.kernel.matrix(scaled, self.scaled)
        solved = torch.linalg.solve_triangular(self.root, cross.T, upper=False)
        spread = self.kernel.matrix(scaled) - solved.T @ solved
        noise = torch.from_numpy(rng.standard_normal((len(scaled), count)))
        return (cholesky(spread, JITTER).tril() @ noise).T

    def held_out(self, latent: Tensor, folds: Sequence[IntArray]) -> tuple[Tensor, Tensor]:
        """See :class:`Conditioned`.

        With the inverse covariance P and ``a = P y``, the values of a fold F given all other rows have the covariance
        ``(P_FF)^-1`` with noise, and the mean ``y_F - (P_FF)^-1 a_F`` (Rasmussen and Williams, 2006, eq. 5.12, for
        more than one row).
        """
        inverse = torch.cholesky_inverse(self.root)
        solved, means, spreads = inverse @ latent, torch.empty_like(latent), torch.empty_like(latent)
        for fold in folds:
            rows = torch.from_numpy(fold)
            root = cholesky(inverse[rows][:, rows], 0.0)
            means[rows] = latent[rows] - torch.cholesky_solve(solved[rows][:, None], root)[:, 0]
            spreads[rows] = torch.cholesky_inverse(root).diagonal() - self.ridge
        return means, spreads.clamp_(min=0)


class OnColumns:
    """A linear process, solved for its weights of the columns and a constant.

    Args:
        scaled: The labelled rows.
        parameters: ``a_linear`` and the logarithm of the noise.
    """

    def __init__(self, scaled: Scaled, parameters: Mapping[str, Tensor]) -> None:
        self.amplitude = float(torch.exp(parameters["a_linear"]))
        self.ridge = float(torch.exp(2 * parameters["noise"])) + JITTER
        self.columns = self._columns(scaled)
        self.gram = self.columns.T @ self.columns
        self.root = cholesky(self.gram.clone(), self.ridge)

    def _columns(self, scaled: Scaled) -> Tensor:
        columns = Sides(scaled, ("linear",)).linear[0]
        return torch.cat([columns * self.amplitude, columns.new_ones(len(columns), 1)], dim=1)

    def weights(self, latent: Tensor) -> Tensor:
        """See :class:`Conditioned`. Shape ``(columns + 1,)``."""
        return torch.cholesky_solve((latent @ self.columns)[:, None], self.root)[:, 0]

    def predict(self, scaled: Scaled, weights: Tensor, spread: bool) -> tuple[Tensor, Tensor]:
        """See :class:`Conditioned`."""
        columns = self._columns(scaled)
        return columns @ weights, self._variances(columns, self.root) if spread else columns[:0, 0]

    def deviations(self, scaled: Scaled, count: int, rng: np.random.Generator) -> Tensor:
        """See :class:`Conditioned`."""
        noise = torch.from_numpy(rng.standard_normal((len(self.root), count))) * self.ridge**0.5
        out: Tensor = (self._columns(scaled) @ torch.linalg.solve_triangular(self.root.T, noise, upper=True)).T
        return out

    def held_out(self, latent: Tensor, folds: Sequence[IntArray]) -> tuple[Tensor, Tensor]:
        """See :class:`Conditioned`."""
        means, spreads = torch.empty_like(latent), torch.empty_like(latent)
        both = latent @ self.columns
        for fold in folds:
            rows = torch.from_numpy(fold)
            own = self.columns[rows]
            root = cholesky(self.gram - own.T @ own, self.ridge)
            weights = torch.cholesky_solve((both - latent[rows] @ own)[:, None], root)[:, 0]
            means[rows], spreads[rows] = own @ weights, self._variances(own, root)
        return means, spreads

    def _variances(self, columns: Tensor, root: Tensor) -> Tensor:
        solved = torch.linalg.solve_triangular(root, columns.T, upper=False)
        out: Tensor = self.ridge * (solved * solved).sum(dim=0)
        return out


def _blocks(count: int, others: int) -> Iterator[slice]:
    size = max(16, BLOCK_BUDGET // max(1, others))
    for start in range(0, count, size):
        yield slice(start, start + size)
