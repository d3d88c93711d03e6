"""The map from labels to the latent scale of a Gaussian process: standardised by moments or ranks, then bent."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

Knots = tuple[tuple[float, float], ...]

FLOOR = 1e-3  # smallest distance of a bent latent value from the end of the formula's range
STRAIGHT = 1e-4  # smaller bends are treated as 0, because the formulas would suffer from cancellation
CLOSEST = 0.01  # smallest distance of two knots, in standard deviations of the labels
FAR = 1e3  # the outer pieces of a map by knots go on to here
BENDS = np.linspace(-1.5, 1.5, 31)  # tried for labels without a model


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

    Labels in groups, or with a few far outside, are not normal after any bend. With knots, z is the label's normal
    score: the standard normal quantile of its rank, exact at the knots and linear between them (:meth:`by_ranks`).

    Attributes:
        mean: Mean of the labels.
        sd: Standard deviation of the labels, above 0.
        bend: The number b of the formula; 0 is the identity.
        low, high: The smallest and the largest label.
        knots: Standardised labels and their normal scores, both rising; empty: z is the standardised label.
    """

    mean: float
    sd: float
    bend: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    knots: Knots = ()

    @classmethod
    def of(cls, values: FloatArray, bend: float = 0.0) -> Warp:
        """The warp for these labels, shape ``(n,)``."""
        return cls(float(values.mean()), float(values.std()), bend, float(values.min()), float(values.max()))

    def by_ranks(self, values: FloatArray) -> Warp:
        """The warp of these n labels with knots: every root of n labels one, and the smallest and the largest label."""
        ordered, count = np.sort(self._moments(values)), len(values)
        places = np.unique(np.linspace(0, count - 1, math.isqrt(count) + 1).round().astype(np.int64))
        knots: list[tuple[float, float]] = []
        for place in places.tolist():
            label = float(ordered[place])
            first, last = np.searchsorted(ordered, [label, label + 1e-12], side="left")
            if not knots or label - knots[-1][0] > CLOSEST:
                knots.append((label, NormalDist().inv_cdf((first + max(last, first + 1)) / (2 * count))))
        return replace(self, bend=0.0, knots=tuple(knots) if len(knots) > 2 else ())

    def worth_knots(self, values: FloatArray) -> bool:
        """Whether knots describe the distribution of n labels better than a bend (Schwarz's criterion)."""
        ranked = self.by_ranks(values)
        gain = ranked.normality(values) - max(replace(self, bend=bend).normality(values) for bend in BENDS.tolist())
        return bool(ranked.knots) and gain > 0

    def normality(self, values: FloatArray) -> float:
        """Log density of labels whose latent values are normal, less half the logarithm of their number for each knot.

        Args:
            values: Shape ``(n,)``.
        """
        return self.log_slope(values) - len(values) * math.log(float(self.latent(values).std()))

    def log_slope(self, values: FloatArray) -> float:
        """Sum of the logarithms of the derivative of :meth:`latent` by the standardised label, less the price of knots.

        A knot is a parameter that is read off the labels, and costs half the logarithm of their number. Shape ``(n,)``.
        """
        z = self.standard(values)
        bent = self.bend * float(self._inside(z).sum()) if abs(self.bend) >= STRAIGHT else 0.0
        if not self.knots:
            return bent
        at, score = self._line
        piece = np.searchsorted(at, self._moments(values)).clip(1, len(at) - 1)
        slopes = (score[piece] - score[piece - 1]) / (at[piece] - at[piece - 1])
        return bent + float(np.log(slopes).sum()) - len(self.knots) * math.log(len(values)) / 2

    def standard(self, values: ArrayLike) -> FloatArray:
        """The number z of every label, elementwise (any shape)."""
        z = self._moments(values)
        return np.interp(z, *self._line) if self.knots else z

    def latent(self, values: ArrayLike) -> FloatArray:
        """Map labels to latent values, elementwise (any shape)."""
        z = self.standard(values)
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
        if self.knots:
            at, score = self._line
            z = np.interp(z, score, at)
        out: FloatArray = z * self.sd + self.mean
        return out

    def _moments(self, values: ArrayLike) -> FloatArray:
        out: FloatArray = (np.asarray(values, dtype=np.float64) - self.mean) / self.sd
        return out

    @property
    def _line(self) -> tuple[FloatArray, FloatArray]:
        """Knots, and beyond them lines with the mean slope from the middle knot to the end: labels, and their scores.

        The outermost piece alone would tell too little: where labels end abruptly, its slope leaves no way beyond them.
        """
        at, score = np.array(self.knots).T
        middle = len(at) // 2
        slopes = np.abs((score[[0, -1]] - score[middle]) / (at[[0, -1]] - at[middle]))
        ends = at[[0, -1]] + [-FAR, FAR]
        beyond = score[[0, -1]] + slopes * [-FAR, FAR]
        return np.array([ends[0], *at, ends[1]]), np.array([beyond[0], *score, beyond[1]])

    @property
    def _end(self) -> float:
        """Standardised label from which the map is a straight line."""
        last = math.log(FLOOR) / self.bend
        if self.bend > 0:
            return max(float(self.standard(self.low)), last)
        return min(float(self.standard(self.high)), last)

    def _inside(self, z: FloatArray) -> FloatArray:
        return np.maximum(z, self._end) if self.bend > 0 else np.minimum(z, self._end)
