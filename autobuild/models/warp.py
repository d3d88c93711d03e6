"""Between labels and the scale on which a Gaussian process sees them: standardised, then bent by one number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

FLOOR = 1e-3  # how near a latent value may come to the end of the warp's range
STRAIGHT = 1e-4  # bends below this are none: the formulas would cancel


@dataclass(frozen=True)
class Warp:
    r"""A monotone map from labels to latent values: a warped Gaussian process (Snelson et al., NIPS 2003).

    .. math:: z = (y - mean) / sd, \\qquad latent = (e^{bend z} - 1) / bend

    A positive bend stretches the top of the labels, as accuracies that saturate need it; a negative one the bottom; on
    the logarithm of a time, a bend of its standard deviation gives the time back.

    Attributes:
        mean: Of the labels.
        sd: Standard deviation of the labels, above 0.
        bend: See above; 0 is the identity.
    """

    mean: float
    sd: float
    bend: float = 0.0

    def latent(self, values: ArrayLike) -> FloatArray:
        """Labels to latent values, any shape."""
        z: FloatArray = (np.asarray(values, dtype=np.float64) - self.mean) / self.sd
        return z if abs(self.bend) < STRAIGHT else np.expm1(self.bend * z) / self.bend

    def label(self, latent: ArrayLike) -> FloatArray:
        """Latent values to labels; what lies beyond the map's range is moved to its end. Any shape."""
        w = np.asarray(latent, dtype=np.float64)
        z = w if abs(self.bend) < STRAIGHT else np.log(np.maximum(1 + self.bend * w, FLOOR)) / self.bend
        out: FloatArray = z * self.sd + self.mean
        return out
