"""The map from labels to the latent scale of a Gaussian process: standardised, then bent by one parameter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

FLOOR = 1e-3  # smallest distance of a bent latent value from the end of the formula's range
STRAIGHT = 1e-4  # smaller bends are treated as 0, because the formulas would suffer from cancellation


@dataclass(frozen=True)
class Warp:
    r"""A monotone map from labels to latent values: a warped Gaussian process (Snelson et al., NIPS 2003).

    .. math:: z = (y - \mathrm{mean}) / \mathrm{sd}, \qquad \mathrm{latent} = (e^{b z} - 1) / b

    where b is the bend. A positive bend stretches the upper end of the labels, which suits accuracies that saturate; a
    negative one stretches the lower end. If the labels are logarithms of times, a bend equal to their standard
    deviation gives latent values that are linear in the time.

    The formula is used within the range of the labels. Beyond the end that it compresses (the smallest label for a
    positive bend, the largest for a negative one) its inverse diverges. There the map continues as a straight line, one
    standard deviation of the labels per latent unit, so that predictions stay ordered and near the labels.

    Attributes:
        mean: Mean of the labels.
        sd: Standard deviation of the labels, above 0.
        bend: The number b of the formula; 0 is the identity.
        low, high: The smallest and the largest label.
    """

    mean: float
    sd: float
    bend: float = 0.0
    low: float = -math.inf
    high: float = math.inf

    @classmethod
    def of(cls, values: FloatArray, bend: float = 0.0) -> Warp:
        """The warp for these labels, shape ``(n,)``."""
        return cls(float(values.mean()), float(values.std()), bend, float(values.min()), float(values.max()))

    def latent(self, values: ArrayLike) -> FloatArray:
        """Map labels to latent values, elementwise (any shape)."""
        z: FloatArray = (np.asarray(values, dtype=np.float64) - self.mean) / self.sd
        if abs(self.bend) < STRAIGHT:
            return z
        inside = self._inside(z)
        return np.expm1(self.bend * inside) / self.bend + (z - inside)

    def label(self, latent: ArrayLike) -> FloatArray:
        """Map latent values to labels, elementwise (any shape); the inverse of :meth:`latent`."""
        w = np.asarray(latent, dtype=np.float64)
        z = w
        if abs(self.bend) >= STRAIGHT:
            end = np.expm1(self.bend * self._end) / self.bend
            inside = np.maximum(w, end) if self.bend > 0 else np.minimum(w, end)
            z = np.log1p(self.bend * inside) / self.bend + (w - inside)
        out: FloatArray = z * self.sd + self.mean
        return out

    @property
    def _end(self) -> float:
        """Standardised label from which the map is a straight line."""
        last = math.log(FLOOR) / self.bend
        if self.bend > 0:
            return max((self.low - self.mean) / self.sd, last)
        return min((self.high - self.mean) / self.sd, last)

    def _inside(self, z: FloatArray) -> FloatArray:
        return np.maximum(z, self._end) if self.bend > 0 else np.minimum(z, self._end)
