"""Between labels and the scale on which a Gaussian process sees them: standardised, then bent by one number."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

FLOOR = 1e-3  # how near a bent latent value may come to the end of the formula's range
STRAIGHT = 1e-4  # bends below this are none: the formulas would cancel


@dataclass(frozen=True)
class Warp:
    r"""A monotone map from labels to latent values: a warped Gaussian process (Snelson et al., NIPS 2003).

    .. math:: z = (y - mean) / sd, \\qquad latent = (e^{bend z} - 1) / bend

    A positive bend stretches the top of the labels, as accuracies that saturate need it; a negative one the bottom; on
    the logarithm of a time, a bend of its standard deviation gives the time back.

    The formula holds where there are labels. Beyond the end that it squeezes (the least label for a positive bend, the
    greatest for a negative one) its inverse soon is infinite: there the map goes on as a straight line, a standard
    deviation of the labels a latent unit, so that what is predicted there is ordered and near the labels.

    Attributes:
        mean: Of the labels.
        sd: Standard deviation of the labels, above 0.
        bend: See above; 0 is the identity.
        low, high: The least and the greatest label.
    """

    mean: float
    sd: float
    bend: float = 0.0
    low: float = -math.inf
    high: float = math.inf

    @classmethod
    def of(cls, values: FloatArray, bend: float = 0.0) -> Warp:
        """A warp of these labels."""
        return cls(float(values.mean()), float(values.std()), bend, float(values.min()), float(values.max()))

    def latent(self, values: ArrayLike) -> FloatArray:
        """Labels to latent values, any shape."""
        z: FloatArray = (np.asarray(values, dtype=np.float64) - self.mean) / self.sd
        if abs(self.bend) < STRAIGHT:
            return z
        inside = self._inside(z)
        return np.expm1(self.bend * inside) / self.bend + (z - inside)

    def label(self, latent: ArrayLike) -> FloatArray:
        """Latent values to labels, any shape: the inverse of :meth:`latent`."""
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
        """Where the formula ends, in standardised labels."""
        last = math.log(FLOOR) / self.bend
        if self.bend > 0:
            return max((self.low - self.mean) / self.sd, last)
        return min((self.high - self.mean) / self.sd, last)

    def _inside(self, z: FloatArray) -> FloatArray:
        return np.maximum(z, self._end) if self.bend > 0 else np.minimum(z, self._end)
