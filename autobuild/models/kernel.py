"""The covariance of architectures, computed from their choices, amounts, costs and walks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autobuild.models.describe import Description

FloatArray = NDArray[np.float64]
Parameters = dict[str, Tensor]

PARTS = ("linear", "units", "joint", "whole", "walks")

# Log-normal priors of amplitudes (`a_`) and lengthscales (`l_`): mean and standard deviation of the logarithm. The unit
# of lengthscales is the root mean square standard deviation of their columns, that of amplitudes the standard deviation
# of the target.
PRIORS: dict[str, tuple[float, float]] = {
    "a_linear": (-0.3, 1.0),
    "a_units": (-1.5, 1.0),
    "l_units_choices": (1.0, 0.7),
    "l_units_amounts": (1.0, 0.7),
    "a_joint": (-1.0, 1.0),
    "l_joint_choices": (1.6, 0.7),
    "l_joint_amounts": (1.6, 0.7),
    "a_whole_linear": (-0.5, 1.0),
    "a_whole": (-0.7, 1.0),
    "l_whole": (0.7, 0.7),
    "a_walks_linear": (-0.5, 1.0),
    "a_walks": (-0.5, 1.0),
    "l_walks": (0.7, 0.7),
}
PART_OF = {
    "linear": ("a_linear",),
    "units": ("a_units", "l_units_choices", "l_units_amounts"),
    "joint": ("a_joint", "l_joint_choices", "l_joint_amounts"),
    "whole": ("a_whole_linear", "a_whole", "l_whole"),
    "walks": ("a_walks_linear", "a_walks", "l_walks"),
}
PER_UNIT = ("a_units", "l_units_choices", "l_units_amounts", "l_joint_choices", "l_joint_amounts")


@dataclass(frozen=True)
class Scaled:
    """A description, standardised by the training rows. Shapes as in :class:`Description`; walks ``(n, V)``."""

    choices: list[Tensor]
    amounts: list[Tensor]
    whole: Tensor
    walks: Tensor

    def __len__(self) -> int:
        return len(self.whole)

    def rows(self, rows: slice | Tensor) -> Scaled:
        """The scaled description of some of the rows."""
        return Scaled(
            [part[rows] for part in self.choices],
            [part[rows] for part in self.amounts],
            self.whole[rows],
            self.walks[rows],
        )


class Scaling:
    """Standardises descriptions by the training rows; columns that are constant there are left out.

    Args:
        description: Description of the training rows.
    """

    def __init__(self, description: Description) -> None:
        self._choices = [_moments(part) for part in description.choices]
        self._amounts = [_moments(part) for part in description.amounts]
        self._whole = _moments(description.whole)
        seen = Counter(walk for own in description.walks for walk in own)
        self._vocabulary = {walk: column for column, walk in enumerate(sorted(w for w, n in seen.items() if n > 1))}
        self._walks = _moments(self._counts(description.walks))

    def __call__(self, description: Description) -> Scaled:
        """Standardise a description."""
        counts = self._counts(description.walks) if description.walks else np.zeros((len(description), 0))
        walks = _scale(counts, *self._walks) if description.walks else torch.from_numpy(counts)
        return Scaled(
            [_scale(part, *own) for part, own in zip(description.choices, self._choices, strict=True)],
            [_scale(part, *own) for part, own in zip(description.amounts, self._amounts, strict=True)],
            _scale(description.whole, *self._whole),
            walks,
        )

    def _counts(self, walks: Sequence[Counter[str]]) -> FloatArray:
        out = np.zeros((len(walks), len(self._vocabulary)))
        for row, own in enumerate(walks):
            for walk, count in own.items():
                column = self._vocabulary.get(walk)
                if column is not None:
                    out[row, column] = count**0.5  # the number of walks grows multiplicatively with the number of paths
        return out


def _moments(values: FloatArray) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    if not len(values):
        return np.zeros(values.shape[1]), np.zeros(values.shape[1]), np.zeros(values.shape[1], dtype=bool)
    mean, sd = values.mean(axis=0), values.std(axis=0)
    return mean, sd, sd > 1e-9 * (1 + np.abs(mean))


def _scale(values: FloatArray, mean: FloatArray, sd: FloatArray, keep: NDArray[np.bool_]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray((values[:, keep] - mean[keep]) / sd[keep]))


@dataclass(frozen=True)
class Products:
    """Distances and inner products of two sets of n and m scaled architectures, each a mean over columns.

    Attributes:
        choices: Squared distances between the choices of each unit. Shape ``(units, n, m)``.
        amounts: Squared distances between the amounts of each unit. Shape ``(units, n, m)``.
        linear: Inner products of all choices. Shape ``(n, m)``.
        whole, whole_linear, walks, walks_linear: Squared distances and inner products of the columns that describe the
            whole network, and of walk counts. Shapes ``(n, m)``.
    """

    choices: Tensor
    amounts: Tensor
    linear: Tensor
    whole: Tensor
    whole_linear: Tensor
    walks: Tensor
    walks_linear: Tensor

    @classmethod
    def of(cls, a: Scaled, b: Scaled) -> Products:
        """Distances and inner products of ``a`` (n architectures) and ``b`` (m architectures)."""
        columns = max(1, sum(part.shape[1] for part in a.choices))
        linear = sum((x @ y.T for x, y in zip(a.choices, b.choices, strict=True)), torch.zeros(len(a), len(b)))
        return cls(
            torch.stack([_distances(x, y) for x, y in zip(a.choices, b.choices, strict=True)]),
            torch.stack([_distances(x, y) for x, y in zip(a.amounts, b.amounts, strict=True)]),
            linear.double() / columns,
            _distances(a.whole, b.whole),
            a.whole @ b.whole.T / max(1, a.whole.shape[1]),
            _distances(a.walks, b.walks),
            a.walks @ b.walks.T / max(1, a.walks.shape[1]),
        )


def _distances(a: Tensor, b: Tensor) -> Tensor:
    squares = (a * a).sum(dim=1)[:, None] + (b * b).sum(dim=1)[None] - 2 * a @ b.T
    return squares.clamp(min=0) / max(1, a.shape[1])


def covariance(parameters: Mapping[str, Tensor], products: Products, parts: Sequence[str]) -> Tensor:
    r"""Covariance of the latent values of two sets of n and m architectures.

    With :math:`k_u` a squared-exponential kernel over the choices and amounts of unit u,

    .. math::
        k = 1 + a_l^2 \langle c, c' \rangle + \sum_u a_u^2 k_u + a_j^2 \prod_u k_u'
            + a_w^2 k_{whole} + a_p^2 k_{walks}

    The terms that add up over units are thereby separated from effects of the whole network (additive Gaussian
    processes, Duvenaud et al., NIPS 2011). The parts ``whole`` and ``walks`` have a linear term beside the
    squared-exponential one.

    Args:
        parameters: Logarithms of amplitudes and lengthscales, by the names of :data:`PRIORS`; shape ``(units,)`` for
            those in :data:`PER_UNIT`, else a scalar.
        products: Distances and inner products of the two sets.
        parts: The parts to add up, of :data:`PARTS`.

    Returns:
        The covariance. Shape ``(n, m)``.
    """
    total = torch.ones_like(products.linear)
    squared = {name: torch.exp(2 * value) for name, value in parameters.items() if name.startswith("a_")}
    inverse = {name: torch.exp(-2 * value) for name, value in parameters.items() if name.startswith("l_")}
    if "linear" in parts:
        total = total + squared["a_linear"] * products.linear
    if "units" in parts:
        exponents = _stretched(products, inverse["l_units_choices"], inverse["l_units_amounts"])
        total = total + (squared["a_units"][:, None, None] * torch.exp(-0.5 * exponents)).sum(dim=0)
    if "joint" in parts:
        exponents = _stretched(products, inverse["l_joint_choices"], inverse["l_joint_amounts"])
        total = total + squared["a_joint"] * torch.exp(-0.5 * exponents.sum(dim=0))
    for part, distances, linear in (
        ("whole", products.whole, products.whole_linear),
        ("walks", products.walks, products.walks_linear),
    ):
        if part in parts:
            curved = squared[f"a_{part}"] * torch.exp(-0.5 * inverse[f"l_{part}"] * distances)
            total = total + curved + squared[f"a_{part}_linear"] * linear
    return total


def _stretched(products: Products, choices: Tensor, amounts: Tensor) -> Tensor:
    return products.choices * choices[:, None, None] + products.amounts * amounts[:, None, None]
