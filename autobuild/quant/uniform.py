"""Uniform affine quantisation of many rows: a scale and a zero point of least squared error for every row.

A value ``w`` becomes ``scale * (code - zero)`` with codes ``0 ... 2^bits - 1`` and a whole-numbered zero point among
them, so that 0 stays 0. Ranges from the whole one down to a fifth are tried (as Nagel et al., 2021, section 3.1); then
scale and codes are improved in turn, each being optimal for the other.
"""

from __future__ import annotations

import numpy as np

from autobuild._typing import FloatArray
from autobuild.quant.clustering import Rows, over_rows, ranges, sorted_sums

SHARES = np.linspace(0.2, 1.0, 33)  # of the range of a row's values
TURNS = 12  # of improving scale and codes


def fit_uniform(values: Rows, bits: int) -> tuple[FloatArray, FloatArray]:
    """Scale and zero point of every row.

    Args:
        values: Finite numbers. Shape ``(rows, n)``.
        bits: Bits of a code.

    Returns:
        Scales, positive, and zero points, whole numbers from 0 to ``2^bits - 1``. Shapes ``(rows, 1)``.
    """
    parts = over_rows(values.shape, lambda part: _Fit(values[part], bits).best())
    return np.concatenate([scale for scale, _ in parts]), np.concatenate([zero for _, zero in parts])


class _Fit:
    """The search for one part of the rows."""

    def __init__(self, values: Rows, bits: int) -> None:
        self.ordered, self.sums = sorted_sums(values)
        self.levels = np.arange(2**bits, dtype=np.float64)[None]

    def best(self) -> tuple[FloatArray, FloatArray]:
        low, high = (np.array(edge, dtype=np.float64)[:, None] for edge in (self.ordered[:, 0], self.ordered[:, -1]))
        low, high = np.minimum(low, 0), np.maximum(high, 0)
        last = self.levels[0, -1]
        widest = np.where(high > low, high - low, 1.0)
        scale, zero = widest / last, np.round(-low / widest * last)
        error, _ = self.errors(scale, zero)
        for share in SHARES[:-1]:
            scale, zero, error = self.better(scale, zero, error, share * widest / last, np.round(-low / widest * last))
        scale, zero, error = self.improved(scale, zero)
        for step in (-1, 1):
            moved = np.clip(zero + step, 0, last)
            scale, zero, error = self.better(scale, zero, error, *self.improved(scale, moved)[:2])
        return scale, zero

    def better(
        self, scale: FloatArray, zero: FloatArray, error: FloatArray, new_scale: FloatArray, new_zero: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """For every row the pair of smaller error."""
        new_error, _ = self.errors(new_scale, new_zero)
        won = new_error < error
        return np.where(won, new_scale, scale), np.where(won, new_zero, zero), np.where(won, new_error, error)

    def improved(self, scale: FloatArray, zero: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Least-squares scales for the codes, and codes for the scales, in turn; zero points stay."""
        error, fitted = self.errors(scale, zero)
        for _ in range(TURNS):
            scale_before = scale
            scale, zero, error = self.better(scale, zero, error, fitted, zero)
            if np.array_equal(scale, scale_before):
                break
            _, fitted = self.errors(scale, zero)
        return scale, zero, error

    def errors(self, scale: FloatArray, zero: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Squared errors, up to each row's sum of squares, and the least-squares scales for the same codes."""
        codes = self.levels - zero
        _, counts, totals = ranges(self.ordered, self.sums, scale * (codes[:, 1:] - 0.5))
        cross = (codes * totals).sum(axis=1, keepdims=True)
        squares = (codes**2 * counts).sum(axis=1, keepdims=True)
        fitted = np.where((cross > 0) & (squares > 0), cross / np.maximum(squares, 1.0), scale)
        error: FloatArray = scale * (scale * squares - 2 * cross)
        return error, fitted
