"""The covariance of architectures, computed from their choices, amounts, costs and walks."""

from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autobuild._typing import FloatArray
from autobuild.models.describe import Description

Parameters = dict[str, Tensor]

PARTS = ("linear", "units", "joint", "whole", "walks", "known")
TOGETHER = ("whole", "walks", "known")  # parts with one kernel over all of their columns

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
    "a_known_linear": (0.0, 1.0),
    "a_known": (-1.0, 1.0),
    "l_known": (0.7, 0.7),
}
PART_OF = {
    "linear": ("a_linear",),
    "units": ("a_units", "l_units_choices", "l_units_amounts"),
    "joint": ("a_joint", "l_joint_choices", "l_joint_amounts"),
    "whole": ("a_whole_linear", "a_whole", "l_whole"),
    "walks": ("a_walks_linear", "a_walks", "l_walks"),
    "known": ("a_known_linear", "a_known", "l_known"),
}
LINEAR = {"linear": "a_linear", **{part: f"a_{part}_linear" for part in TOGETHER}}
CURVED = {
    "units": PART_OF["units"],
    "joint": PART_OF["joint"],
    **{part: (f"a_{part}", f"l_{part}") for part in TOGETHER},
}
PER_UNIT = ("a_units", "l_units_choices", "l_units_amounts", "l_joint_choices", "l_joint_amounts")
TILE = 192  # rows and columns of a tile


@dataclass(frozen=True)
class Scaled:
    """A description, standardised by the training rows. Shapes as in :class:`Description`; walks ``(n, V)``."""

    choices: list[Tensor]
    amounts: list[Tensor]
    whole: Tensor
    walks: Tensor
    known: Tensor

    def __len__(self) -> int:
        return len(self.whole)

    def rows(self, rows: slice | Tensor) -> Scaled:
        """The scaled description of some of the rows."""
        return Scaled(
            [part[rows] for part in self.choices],
            [part[rows] for part in self.amounts],
            self.whole[rows],
            self.walks[rows],
            self.known[rows],
        )


class Scaling:
    """Standardises descriptions by the training rows; columns that are constant there are left out.

    Args:
        description: Description of the training rows.
    """

    def __init__(self, description: Description) -> None:
        self._choices = [_moments(part) for part in description.choices]
        self._amounts = [_moments(part) for part in description.amounts]
        self._whole, self._known = _moments(description.whole), _moments(description.known)
        seen = Counter(walk for own in description.walks for walk in own)
        self._vocabulary = {walk: column for column, walk in enumerate(sorted(w for w, n in seen.items() if n > 1))}
        self._walks = _moments(self._counts(description.walks))
        self._last: tuple[Callable[[], Description | None], Scaled] | None = None

    def __call__(self, description: Description) -> Scaled:
        """Standardise a description; that of the last call is kept, because the members of an ensemble share it."""
        if self._last is None or self._last[0]() is not description:
            self._last = weakref.ref(description), self._scaled(description)
        return self._last[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_last": None}  # a weak reference does not pickle

    def _scaled(self, description: Description) -> Scaled:
        counts = self._counts(description.walks) if description.walks else np.zeros((len(description), 0))
        walks = _scale(counts, *self._walks) if description.walks else torch.from_numpy(counts)
        return Scaled(
            [_scale(part, *own) for part, own in zip(description.choices, self._choices, strict=True)],
            [_scale(part, *own) for part, own in zip(description.amounts, self._amounts, strict=True)],
            _scale(description.whole, *self._whole),
            walks,
            _scale(description.known, *self._known),
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
    out = values[:, keep] if not keep.all() else values.copy()
    out -= mean[keep]
    out /= sd[keep]
    return torch.from_numpy(out)


class Sides:
    """A set of n scaled architectures as matrices whose products are the distances of two sets.

    A squared distance is the inner product of ``(-2 x, |x|^2, 1)`` and ``(y, 1, |y|^2)``.

    Args:
        scaled: The architectures.
        parts: Parts of the kernel; what they do not need is left out.
    """

    def __init__(self, scaled: Scaled, parts: Sequence[str]) -> None:
        units = [*scaled.choices, *scaled.amounts] if {"units", "joint"} & set(parts) else []
        whole = [getattr(scaled, part) for part in TOGETHER if part in parts]
        choices = [torch.cat(scaled.choices, dim=1)] if "linear" in parts else []
        self.count, self.units = len(scaled), len(units) // 2
        self.linear = [values / max(1, values.shape[1]) ** 0.5 for values in [*choices, *whole]]
        self.left, self.right = [], []
        for values in [*units, *whole]:
            squares, ones = (values * values).sum(dim=1, keepdim=True), values.new_ones(len(values), 1)
            self.left.append(torch.cat([-2 * values, squares, ones], dim=1) / max(1, values.shape[1]))
            self.right.append(torch.cat([values, ones, squares], dim=1))


@dataclass(frozen=True)
class Products:
    """Distances and inner products of two sets of n and m scaled architectures, each a mean over columns.

    Attributes:
        units: Squared distances between the choices of each unit, then between the amounts of each unit. Shape
            ``(2 units, n * m)``, or no rows if no part of the kernel needs them.
        whole: Squared distances of the columns of each part in :data:`TOGETHER` that the kernel has. Shapes
            ``(n * m,)``.
        linear: Inner products of all choices, and of the same columns, if the parts need them. Shapes ``(n * m,)``.
        shape: n and m.
    """

    units: Tensor
    whole: list[Tensor]
    linear: list[Tensor]
    shape: tuple[int, int]

    @classmethod
    def of(cls, a: Sides, b: Sides, rows: slice = slice(None), columns: slice = slice(None)) -> Products:
        """Distances and inner products of some rows of ``a`` and some of ``b``."""
        shape = (len(range(a.count)[rows]), len(range(b.count)[columns]))
        distances = torch.empty(len(a.left), *shape, dtype=torch.float64)
        for out, x, y in zip(distances, a.left, b.right, strict=True):
            torch.mm(x[rows], y[columns].T, out=out)
        distances = distances.flatten(1)
        linear = [(x[rows] @ y[columns].T).flatten() for x, y in zip(a.linear, b.linear, strict=True)]
        return cls(distances[: 2 * a.units], list(distances[2 * a.units :]), linear, shape)


class Kernel:
    r"""Covariance of the latent values of architectures.

    With :math:`k_u` a squared-exponential kernel over the choices and amounts of unit u,

    .. math::
        k = 1 + a_l^2 \langle c, c' \rangle + \sum_u a_u^2 k_u + a_j^2 \prod_u k_u'
            + a_w^2 k_{whole} + a_p^2 k_{walks} + a_k^2 k_{known}

    The terms that add up over units are thereby separated from effects of the whole network (additive Gaussian
    processes, Duvenaud et al., NIPS 2011). The parts ``whole``, ``walks`` and ``known`` have a linear term beside
    the squared-exponential one.

    Args:
        parameters: Logarithms of amplitudes and lengthscales, by the names of :data:`PRIORS`; shape ``(units,)`` for
            those in :data:`PER_UNIT`, else a scalar.
        parts: The parts to add up, of :data:`PARTS`.
    """

    def __init__(self, parameters: Mapping[str, Tensor], parts: Sequence[str]) -> None:
        self.linear = [name for part, name in LINEAR.items() if part in parts]
        self.curved = [names for part, names in CURVED.items() if part in parts]
        # squared amplitudes, and inverse squared lengthscales
        self.squared = {name: torch.exp(value * (2 if name[:2] == "a_" else -2)) for name, value in parameters.items()}

    def covariance(self, products: Products) -> Tensor:
        """Covariances of two sets of n and m architectures. Shape ``(n, m)``."""
        total = torch.ones(math.prod(products.shape), dtype=torch.float64)
        for name, linear in zip(self.linear, products.linear, strict=True):
            total.add_(linear * self.squared[name])
        for (amplitude, *_), curved, _ in self._curved(products):
            squared = self.squared[amplitude]
            total.add_(squared @ curved if curved.ndim == 2 else curved * squared)
        return total.view(products.shape)

    def slopes(self, products: Products, weights: Tensor) -> dict[str, Tensor]:
        """Derivative of ``(weights * covariance).sum()`` by every parameter; shapes as those of the parameters.

        Args:
            products: Distances and inner products of two sets of n and m architectures.
            weights: Shape ``(n, m)``.
        """
        weights, out = weights.flatten(), {}
        for name, linear in zip(self.linear, products.linear, strict=True):
            out[name] = 2 * self.squared[name] * (weights @ linear)
        for (amplitude, *lengths), curved, distances in self._curved(products):
            curved.mul_(weights)
            out[amplitude] = 2 * self.squared[amplitude] * curved.sum(dim=-1)
            if curved.ndim == 2:  # each unit has its own kernel
                stretched = torch.einsum("cut,ut->cu", distances.view(2, *curved.shape), curved)
            else:
                stretched = (distances @ curved).view(len(lengths), -1)
            for name, own in zip(lengths, stretched * self.squared[amplitude], strict=True):
                out[name] = (self.squared[name] * own).view(self.squared[name].shape)
        return out

    def variances(self, scaled: Scaled) -> Tensor:
        """Variance of every architecture: the diagonal of the covariance of a set with itself. Shape ``(n,)``."""
        curved = [self.squared[amplitude].sum() for amplitude, *_ in self.curved]
        out = torch.full((len(scaled),), 1.0 + float(sum(curved)), dtype=torch.float64)
        for values in self._linear(scaled):
            out += (values * values).sum(dim=1)
        return out

    def matrix(self, a: Scaled, b: Scaled | None = None) -> Tensor:
        """Covariances of n and m architectures, or of the n with themselves. Shape ``(n, m)`` or ``(n, n)``.

        Computed in tiles that fit into the cache of a processor.
        """
        other = a if b is None else b
        out = torch.empty(len(a), len(other), dtype=torch.float64)
        linear = [torch.cat(self._linear(scaled), dim=1) for scaled in (a, other)] if self.linear else []
        curved, buffer = list(self._pairs(a, other)), out.new_empty(TILE * TILE)
        for rows in tiles(out.shape[0]):
            for columns in tiles(rows.stop if b is None else out.shape[1]):
                tile = torch.ones(rows.stop - rows.start, columns.stop - columns.start, dtype=out.dtype)
                own = buffer[: tile.numel()].view(tile.shape)
                if linear:
                    tile.addmm_(linear[0][rows], linear[1][columns].T)
                for squared, x, y in curved:
                    tile.add_(torch.mm(x[rows], y[columns].T, out=own).exp_(), alpha=squared)
                out[rows, columns] = tile
                if b is None:
                    out[columns, rows] = tile.T
        return out

    def sums(self, a: Scaled, b: Scaled, weights: Tensor) -> Tensor:
        """``covariance(a, b) @ weights``, without a matrix for the linear terms. Shape ``(n,)``.

        Args:
            a: n architectures.
            b: m architectures.
            weights: Shape ``(m,)``.
        """
        out = torch.full((len(a),), float(weights.sum()), dtype=torch.float64)
        for x, y in zip(self._linear(a), self._linear(b), strict=True):
            out += x @ (y.T @ weights)
        for squared, x, y in self._pairs(a, b):
            weighted = weights * squared
            for rows in tiles(len(x), TILE):
                for columns in tiles(len(y), 4 * TILE):
                    out[rows] += (x[rows] @ y[columns].T).exp_() @ weighted[columns]
        return out

    def _linear(self, scaled: Scaled) -> list[Tensor]:
        """Columns of each linear term; inner products are its covariances. Shapes ``(n, columns)``."""
        found = ((_linear_columns(scaled, name), self.squared[name]) for name in self.linear)
        return [values * (squared / max(1, values.shape[1])) ** 0.5 for values, squared in found]

    def _pairs(self, a: Scaled, b: Scaled) -> Iterator[tuple[float, Tensor, Tensor]]:
        """Squared-exponential kernels: squared amplitude, and columns whose inner products are their logarithms."""
        for (squared, x), (_, y) in zip(self._stretched(a), self._stretched(b), strict=True):
            left, right = ((values * values).sum(dim=1, keepdim=True) * -0.5 for values in (x, y))
            ones = (torch.ones_like(left), torch.ones_like(right))
            yield float(squared), torch.cat([x, left, ones[0]], dim=1), torch.cat([y, ones[1], right], dim=1)

    def _stretched(self, scaled: Scaled) -> Iterator[tuple[Tensor, Tensor]]:
        """Squared-exponential kernels: squared amplitude, and columns in lengthscales, shape ``(n, columns)``."""
        for names in self.curved:
            amplitude, *inverse = (self.squared[name] for name in names)
            if names not in (CURVED["units"], CURVED["joint"]):
                yield amplitude, _stretch(_linear_columns(scaled, names[0]), inverse[0])
                continue
            near, far = (torch.unbind(own) for own in inverse)
            stages = zip(scaled.choices, near, scaled.amounts, far, strict=True)
            units = [torch.cat([_stretch(x, i), _stretch(y, j)], dim=1) for x, i, y, j in stages]
            if names == CURVED["units"]:
                yield from zip(amplitude, units, strict=True)
            else:
                yield amplitude, torch.cat(units, dim=1)

    def _curved(self, products: Products) -> Iterator[tuple[tuple[str, ...], Tensor, Tensor]]:
        """Squared-exponential kernels: names of the amplitude and the lengthscales, values, and their distances.

        Values have the shape ``(units, n * m)`` if every unit has its own kernel, else ``(n * m,)``.
        """
        whole = iter(products.whole)
        for names in self.curved:
            inverse = [-0.5 * self.squared[name] for name in names[1:]]
            if names == CURVED["units"]:
                near, far = products.units.chunk(2)
                curved = (near * inverse[0][:, None]).addcmul_(far, inverse[1][:, None])
                yield names, curved.exp_(), products.units
            elif names == CURVED["joint"]:
                yield names, (torch.cat(inverse) @ products.units).exp_(), products.units
            else:
                distances = next(whole)
                yield names, (distances * inverse[0]).exp_(), distances[None]


def _stretch(values: Tensor, inverse: Tensor) -> Tensor:
    """Columns whose squared distances are those of ``values``, as a mean over columns, times ``inverse``."""
    return values * (inverse / max(1, values.shape[1])) ** 0.5


def _linear_columns(scaled: Scaled, amplitude: str) -> Tensor:
    """The columns of a part, by the name of an amplitude of it."""
    return torch.cat(scaled.choices, dim=1) if amplitude == "a_linear" else getattr(scaled, amplitude.split("_")[1])


def tiles(count: int, size: int | None = None) -> list[slice]:
    """Consecutive rows of one side of a tile, by default :data:`TILE`."""
    size = size or TILE
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
